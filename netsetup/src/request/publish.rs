//! Published ports as people and runtimes write them.
//!
//! ```text
//! [hostIP:]hostPort[-last]:containerPort[-last][/tcp|/udp|/sctp]
//!
//! 8080:80                 tcp, all addresses of the host, both families
//! 0.0.0.0:8080:80         all IPv4 addresses
//! [::]:8080:80            all IPv6 addresses
//! 127.0.0.1:53:53/udp     one address
//! 8000-8009:9000-9009     ten ports, one by one
//! ```

use std::{collections::HashMap, fmt, net::IpAddr, ops::RangeInclusive};

use serde::Deserialize;

use super::{Proto, Publish};
use crate::error::{Error, Kind, Result};

/// An entry of CNI's `runtimeConfig.portMappings` (CONVENTIONS.md).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// Port on the host.
    pub host_port: i64,
    /// Port in the container.
    pub container_port: i64,
    /// `tcp`, `udp` or `sctp`, in any case; absent or empty = tcp.
    #[serde(default)]
    pub protocol: Option<String>,
    /// The host's address; absent or empty = all of them.
    #[serde(default, rename = "hostIP")]
    pub host_ip: Option<String>,
}

impl Publish {
    /// Reads docker's way of publishing ports, ranges expanded one by one.
    ///
    /// Errors: `Kind::Input`; `Kind::Unsupported` for what docker has and podkeel
    /// doesn't: host ports that the kernel chooses.
    pub fn parse(spec: &str) -> Result<Vec<Publish>> {
        read(spec).map_err(|(kind, why)| Error::new(kind, format!("publish {spec:?}"), why))
    }

    /// Reads several; a port that two of them want is an error.
    pub fn parse_all<'a>(specs: impl IntoIterator<Item = &'a str>) -> Result<Vec<Publish>> {
        let mut ports = Vec::new();
        for spec in specs {
            ports.extend(Publish::parse(spec)?);
        }
        Publish::check_distinct(&ports)?;
        Ok(ports)
    }

    /// Makes sure that no two want the same port of the same address. All
    /// addresses includes each of them. Errors: `Kind::Input` naming both.
    pub fn check_distinct(ports: &[Publish]) -> Result<()> {
        let mut by_port: HashMap<(Proto, u16), Vec<&Publish>> = HashMap::new();
        for port in ports {
            let others = by_port.entry((port.proto, port.host_port)).or_default();
            if let Some(other) =
                others.iter().find(|other| addresses_meet(port.host_ip, other.host_ip))
            {
                return Err(Error::input(
                    format!("publish {port}"),
                    format!("the host's port is already wanted by {other}"),
                ));
            }
            others.push(port);
        }
        Ok(())
    }
}

/// Whether some address is in both; `None` is all, unspecified all of a family.
fn addresses_meet(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
        }
        _ => true,
    }
}

type Refusal = (Kind, String);

fn input(why: impl Into<String>) -> Refusal {
    (Kind::Input, why.into())
}

fn read(spec: &str) -> Result<Vec<Publish>, Refusal> {
    let (ports, proto) = match spec.rsplit_once('/') {
        Some((_, "")) => return Err(input("the protocol after '/' is missing")),
        Some((ports, proto)) => (ports, read_proto(proto)?),
        None => (spec, Proto::Tcp),
    };
    let (host_ip, ports) = split_host(ports)?;
    let Some((host, container)) = ports.split_once(':') else {
        let why = "a host port is missing: write HOSTPORT:CONTAINERPORT, as in 8080:80";
        return Err(if read_ports(ports).is_ok() {
            input(why)
        } else {
            input(format!("{ports:?} is not a port"))
        });
    };
    if host.is_empty() {
        let why = "a host port that the kernel chooses is not supported yet: name one";
        return Err((Kind::Unsupported, why.to_owned()));
    }
    let (hosts, containers) = (read_ports(host)?, read_ports(container)?);
    if hosts.len() != containers.len() {
        return Err(input(format!(
            "{} ports on the host for {} in the container",
            hosts.len(),
            containers.len()
        )));
    }
    let publish =
        |(host_port, container_port)| Publish { proto, host_ip, host_port, container_port };
    Ok(hosts.zip(containers).map(publish).collect())
}

/// Parts the host's address, if there is one, from `host:container`.
fn split_host(text: &str) -> Result<(Option<IpAddr>, &str), Refusal> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, ports)) = rest.split_once("]:") else {
            return Err(input("\"]:\" is missing after the address"));
        };
        let address = read_address(address)?;
        return if address.is_ipv6() {
            Ok((Some(address), ports))
        } else {
            Err(input(format!("only IPv6 addresses stand in brackets, not {address}")))
        };
    }
    match text.split(':').collect::<Vec<_>>()[..] {
        [first, _] if first.parse::<IpAddr>().is_ok() => {
            Err(input(format!("a host port is missing: write {first}:HOSTPORT:CONTAINERPORT")))
        }
        [_] | [_, _] => Ok((None, text)),
        ["", _, _] => Ok((None, &text[1..])),
        [address, _, _] => Ok((Some(read_address(address)?), &text[address.len() + 1..])),
        _ => Err(input("too many ':'; an IPv6 address stands in brackets, as in [::1]:8080:80")),
    }
}

fn read_address(text: &str) -> Result<IpAddr, Refusal> {
    let address: IpAddr = text.parse().map_err(|_| input(format!("{text:?} is not an address")))?;
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_multicast() || broadcast {
        return Err(input(format!("{address} cannot be an address of the host")));
    }
    Ok(address.to_canonical())
}

/// One port, or `first-last`.
fn read_ports(text: &str) -> Result<RangeInclusive<u16>, Refusal> {
    let port = |text: &str| match text.parse::<u16>() {
        // The digits are looked at, too: parse takes "+80".
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(input(format!("{text:?} is not a port: 1 to 65535"))),
    };
    let Some((first, last)) = text.split_once('-') else {
        return port(text).map(|port| port..=port);
    };
    let (first, last) = (port(first)?, port(last)?);
    if last < first {
        return Err(input(format!("{first}-{last} ends before it begins")));
    }
    Ok(first..=last)
}

fn read_proto(text: &str) -> Result<Proto, Refusal> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Proto::Tcp),
        "udp" => Ok(Proto::Udp),
        "sctp" => Ok(Proto::Sctp),
        _ => Err(input(format!("{text:?} is not a protocol: tcp, udp, sctp"))),
    }
}

impl PortMapping {
    /// The port to publish. Errors as from [`Publish::parse`].
    pub fn publish(&self) -> Result<Publish> {
        let port = |key: &str, port: i64| match u16::try_from(port) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(input(format!("{key}: {port} is not a port: 1 to 65535"))),
        };
        let read = || {
            Ok(Publish {
                proto: read_proto(
                    self.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("tcp"),
                )?,
                host_ip: self
                    .host_ip
                    .as_deref()
                    .filter(|ip| !ip.is_empty())
                    .map(read_address)
                    .transpose()?,
                host_port: port("hostPort", self.host_port)?,
                container_port: port("containerPort", self.container_port)?,
            })
        };
        read().map_err(|(kind, why)| Error::new(kind, "read runtimeConfig.portMappings", why))
    }

    /// All of a runtime's entries; a port that two of them want is an error.
    pub fn publish_all(mappings: &[PortMapping]) -> Result<Vec<Publish>> {
        let ports = mappings.iter().map(PortMapping::publish).collect::<Result<Vec<_>>>()?;
        Publish::check_distinct(&ports)?;
        Ok(ports)
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In the form that [`Publish::parse`] reads back to the same.
impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            None => {}
        }
        write!(f, "{}:{}/{}", self.host_port, self.container_port, self.proto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_specs() {
        for (spec, read) in [
            ("8080:80", "8080:80/tcp"),
            ("8080:80/udp", "8080:80/udp"),
            ("8080:80/TCP", "8080:80/tcp"),
            ("8080:80/sctp", "8080:80/sctp"),
            (":8080:80", "8080:80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("0.0.0.0:8080:80", "0.0.0.0:8080:80/tcp"),
            ("[::]:8080:80", "[::]:8080:80/tcp"),
            ("[::1]:8080:80/udp", "[::1]:8080:80/udp"),
            ("[2001:db8::1]:8080:80", "[2001:db8::1]:8080:80/tcp"),
            ("65535:1", "65535:1/tcp"),
            ("5-5:6", "5:6/tcp"),
        ] {
            let ports = Publish::parse(spec).unwrap();
            assert_eq!(ports.len(), 1, "{spec}");
            assert_eq!(ports[0].to_string(), read, "{spec}");
            assert_eq!(Publish::parse(read).unwrap(), ports, "{spec}");
        }
    }

    #[test]
    fn all_addresses_and_all_of_a_family_are_told_apart() {
        let host_ip = |spec| Publish::parse(spec).unwrap()[0].host_ip;
        assert_eq!(host_ip("1:1"), None);
        assert_eq!(host_ip("0.0.0.0:1:1"), Some("0.0.0.0".parse().unwrap()));
        assert_eq!(host_ip("[::]:1:1"), Some("::".parse().unwrap()));
    }

    #[test]
    fn ranges_are_expanded() {
        let shown =
            |spec| Publish::parse(spec).unwrap().iter().map(Publish::to_string).collect::<Vec<_>>();
        assert_eq!(
            shown("8000-8002:9000-9002/udp"),
            ["8000:9000/udp", "8001:9001/udp", "8002:9002/udp"]
        );
        assert_eq!(shown("10.0.0.1:1-2:7-8"), ["10.0.0.1:1:7/tcp", "10.0.0.1:2:8/tcp"]);
        assert_eq!(Publish::parse("1-65535:1-65535").unwrap().len(), 65535);
    }

    #[test]
    fn bad_specs() {
        use Kind::{Input, Unsupported};
        for (spec, kind, why) in [
            ("80", Input, "a host port is missing: write HOSTPORT:CONTAINERPORT, as in 8080:80"),
            ("", Input, "\"\" is not a port"),
            ("web", Input, "\"web\" is not a port"),
            (
                "127.0.0.1::80",
                Unsupported,
                "a host port that the kernel chooses is not supported yet: name one",
            ),
            (
                "[::1]::80",
                Unsupported,
                "a host port that the kernel chooses is not supported yet: name one",
            ),
            (
                ":80",
                Unsupported,
                "a host port that the kernel chooses is not supported yet: name one",
            ),
            (
                "127.0.0.1:80",
                Input,
                "a host port is missing: write 127.0.0.1:HOSTPORT:CONTAINERPORT",
            ),
            (
                "[::1]:80",
                Input,
                "a host port is missing: write HOSTPORT:CONTAINERPORT, as in 8080:80",
            ),
            ("0:80", Input, "\"0\" is not a port: 1 to 65535"),
            ("8080:0", Input, "\"0\" is not a port: 1 to 65535"),
            ("65536:80", Input, "\"65536\" is not a port: 1 to 65535"),
            ("+80:80", Input, "\"+80\" is not a port: 1 to 65535"),
            ("80:-80", Input, "\"\" is not a port: 1 to 65535"),
            ("8080:", Input, "\"\" is not a port: 1 to 65535"),
            (" 80:80", Input, "\" 80\" is not a port: 1 to 65535"),
            ("1-3:1-2", Input, "3 ports on the host for 2 in the container"),
            ("1-3:1", Input, "3 ports on the host for 1 in the container"),
            ("3-1:3-1", Input, "3-1 ends before it begins"),
            ("8080:80/", Input, "the protocol after '/' is missing"),
            ("8080:80/icmp", Input, "\"icmp\" is not a protocol: tcp, udp, sctp"),
            (
                "::1:8080:80",
                Input,
                "too many ':'; an IPv6 address stands in brackets, as in [::1]:8080:80",
            ),
            ("[::1:8080:80", Input, "\"]:\" is missing after the address"),
            ("[10.0.0.1]:8080:80", Input, "only IPv6 addresses stand in brackets, not 10.0.0.1"),
            ("[fe80::1%eth0]:8080:80", Input, "\"fe80::1%eth0\" is not an address"),
            ("localhost:8080:80", Input, "\"localhost\" is not an address"),
            ("224.0.0.1:8080:80", Input, "224.0.0.1 cannot be an address of the host"),
            ("255.255.255.255:8080:80", Input, "255.255.255.255 cannot be an address of the host"),
        ] {
            let error = Publish::parse(spec).unwrap_err();
            assert_eq!(error.kind, kind, "{spec}");
            assert_eq!(error.to_string(), format!("cannot publish {spec:?}: {why}"));
        }
    }

    #[test]
    fn one_port_is_published_once() {
        for good in [
            ["8080:80", "8080:80/udp"],
            ["8080:80", "8081:80"],
            ["10.0.0.1:8080:80", "10.0.0.2:8080:80"],
            ["0.0.0.0:8080:80", "[::]:8080:80"],
            ["0.0.0.0:8080:80", "[fd00::1]:8080:80"],
        ] {
            assert_eq!(Publish::parse_all(good).unwrap().len(), 2, "{good:?}");
        }
        for (bad, says) in [
            (
                ["8080:80", "8080:81"],
                "cannot publish 8080:81/tcp: the host's port is already wanted by 8080:80/tcp",
            ),
            (["8080:80", "8080:80"], "wanted by 8080:80/tcp"),
            (["8080:80", "127.0.0.1:8080:80"], "cannot publish 127.0.0.1:8080:80/tcp"),
            (["[::1]:8080:80", "8080:80"], "wanted by [::1]:8080:80/tcp"),
            (["0.0.0.0:8080:80", "10.0.0.1:8080:80"], "wanted by 0.0.0.0:8080:80/tcp"),
            (["8000-8010:8000-8010", "8005:80"], "wanted by 8005:8005/tcp"),
        ] {
            let error = Publish::parse_all(bad).unwrap_err();
            assert_eq!(error.kind, Kind::Input);
            assert!(error.to_string().contains(says), "{bad:?}: {error}");
        }
    }

    #[test]
    fn the_mappings_of_a_runtime() {
        let read = |json: &str| {
            let mappings: Vec<PortMapping> = serde_json::from_str(json).unwrap();
            PortMapping::publish_all(&mappings)
                .map(|p| p.iter().map(Publish::to_string).collect::<Vec<_>>())
        };
        let json = r#"[{"hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": "10.0.0.1"},
                       {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": ""},
                       {"hostPort": 8081, "containerPort": 81, "range": 1}]"#;
        assert_eq!(read(json).unwrap(), ["10.0.0.1:8080:80/tcp", "53:53/udp", "8081:81/tcp"]);
        for (json, kind, why) in [
            (
                r#"[{"hostPort": 0, "containerPort": 80}]"#,
                Kind::Input,
                "hostPort: 0 is not a port: 1 to 65535",
            ),
            (
                r#"[{"hostPort": 80, "containerPort": 65536}]"#,
                Kind::Input,
                "containerPort: 65536 is not a port: 1 to 65535",
            ),
            (
                r#"[{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}]"#,
                Kind::Input,
                "\"icmp\" is not a protocol: tcp, udp, sctp",
            ),
            (
                r#"[{"hostPort": 80, "containerPort": 80, "hostIP": "x"}]"#,
                Kind::Input,
                "\"x\" is not an address",
            ),
        ] {
            let error = read(json).unwrap_err();
            assert_eq!(error.kind, kind, "{json}");
            assert_eq!(error.to_string(), format!("cannot read runtimeConfig.portMappings: {why}"));
        }
        let twice =
            r#"[{"hostPort": 80, "containerPort": 80}, {"hostPort": 80, "containerPort": 81}]"#;
        assert!(read(twice).unwrap_err().to_string().contains("already wanted by 80:80/tcp"));
    }
}
