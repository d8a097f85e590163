//! What a container's annotations ask for. A bundle's hook has no other way to
//! be told something for one container only.
//!
//! ```text
//! dev.podkeel.network     web,bridge              networks by name, in order
//! dev.podkeel.publish     8080:80,53:53/udp       published ports
//! dev.podkeel.ip          10.89.0.7,fd00::7       addresses to have
//! dev.podkeel.mac         02:00:00:00:00:07       link-layer address to have
//! dev.podkeel.sysctl.KEY  VALUE                   sysctls in the pod
//! ```

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Mac, Publish, SysctlSetting, names::check_name};
use crate::error::{Error, Result};

/// All of our annotations begin so.
const PREFIX: &str = "dev.podkeel.";
const KNOWN: &str = "network, publish, ip, mac, sysctl.KEY";

/// What the annotations of one container ask for; empty = nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// Networks, by name only: whoever may write an annotation may not
    /// therefore point at any file of the host.
    pub networks: Vec<String>,
    /// Published ports, no two the same.
    pub ports: Vec<Publish>,
    /// Addresses to have.
    pub ips: Vec<IpAddr>,
    /// Link-layer address to have.
    pub mac: Option<Mac>,
    /// Sysctls in the pod, by key.
    pub sysctls: Vec<SysctlSetting>,
}

impl Wishes {
    /// Reads annotations, passing over those that aren't ours. One of ours that
    /// isn't known is an error: a typo must not leave a container with less than
    /// was asked for. Errors: `Kind::Input`, or as from [`Publish::parse`].
    pub fn from_annotations<'a>(
        annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Wishes> {
        let mut ours: Vec<(&str, &str)> = Vec::new();
        for (key, value) in annotations {
            ours.extend(key.strip_prefix(PREFIX).map(|key| (key, value.as_str())));
        }
        // A map has no order of its own; the same annotations give the same wishes.
        ours.sort_unstable();
        let mut wishes = Wishes::default();
        for (key, value) in ours {
            wishes.read(key, value).map_err(|e| within(key, e))?;
        }
        Ok(wishes)
    }

    fn read(&mut self, key: &str, value: &str) -> Result<()> {
        if let Some(key) = key.strip_prefix("sysctl.") {
            return self.add_sysctl(SysctlSetting::new(key, value.trim())?);
        }
        match key {
            "network" => {
                self.networks = list(value, |name| match check_name(name) {
                    Ok(()) => Ok(name.to_owned()),
                    Err(why) => Err(wrong(format!("{name:?} {why}"))),
                })?;
                distinct(&self.networks)
            }
            "publish" => {
                self.ports = list(value, Publish::parse)?.concat();
                Publish::check_distinct(&self.ports)
            }
            "ip" => {
                self.ips = list(value, read_ip)?;
                distinct(&self.ips)
            }
            "mac" => {
                let mac: Result<Mac, String> = value.trim().parse().and_then(Mac::unicast);
                self.mac = Some(mac.map_err(|why| wrong(format!("{value:?}: {why}")))?);
                Ok(())
            }
            _ => Err(wrong(format!("there is no such annotation; {PREFIX}* has: {KNOWN}"))),
        }
    }

    fn add_sysctl(&mut self, setting: SysctlSetting) -> Result<()> {
        // net.core.x and net/core/x are two annotations and one key.
        if self.sysctls.iter().any(|other| other.path == setting.path) {
            return Err(wrong("this sysctl is set twice"));
        }
        self.sysctls.push(setting);
        Ok(())
    }
}

/// A fault of the annotation itself; [`within`] says which annotation.
fn wrong(why: impl Into<String>) -> Error {
    Error::input("", why)
}

fn within(key: &str, error: Error) -> Error {
    let why =
        if error.what.is_empty() { error.why } else { format!("{}: {}", error.what, error.why) };
    Error { what: format!("read annotation {PREFIX}{key}"), why, ..error }
}

fn list<T>(value: &str, read: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    let item = |item: &str| match item.trim() {
        "" => Err(wrong(format!("{value:?} has an empty item"))),
        item => read(item),
    };
    value.split(',').map(item).collect()
}

fn read_ip(text: &str) -> Result<IpAddr> {
    let ip: IpAddr = text.parse().map_err(|_| wrong(format!("{text:?} is not an address")))?;
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return Err(wrong(format!("{ip} cannot be a pod's address")));
    }
    Ok(ip.to_canonical())
}

fn distinct<T: PartialEq + std::fmt::Display>(items: &[T]) -> Result<()> {
    for (i, item) in items.iter().enumerate() {
        if items[..i].contains(item) {
            return Err(wrong(format!("{item} is named twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;
    use crate::error::Kind;

    fn read(pairs: &[(&str, &str)]) -> Result<Wishes> {
        let map: HashMap<String, String> =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Wishes::from_annotations(&map)
    }

    #[test]
    fn everything_at_once() {
        let wishes = read(&[
            ("dev.podkeel.network", "web, bridge"),
            ("dev.podkeel.publish", "8080:80,53-54:53-54/udp"),
            ("dev.podkeel.ip", "10.89.0.7,fd00::7"),
            ("dev.podkeel.mac", "02:00:00:00:00:07"),
            ("dev.podkeel.sysctl.net.ipv4.ip_forward", "1"),
            ("dev.podkeel.sysctl.net/ipv4/conf/eth0.1/arp_filter", " 1 "),
            ("dev.podkeelx", "other"),
            ("io.kubernetes.cri.sandbox-id", "x"),
        ])
        .unwrap();
        assert_eq!(wishes.networks, ["web", "bridge"]);
        let ports: Vec<String> = wishes.ports.iter().map(Publish::to_string).collect();
        assert_eq!(ports, ["8080:80/tcp", "53:53/udp", "54:54/udp"]);
        assert_eq!(wishes.ips, ["10.89.0.7", "fd00::7"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(wishes.mac.unwrap().to_string(), "02:00:00:00:00:07");
        let sysctls: Vec<String> = wishes.sysctls.iter().map(SysctlSetting::to_string).collect();
        assert_eq!(sysctls, ["net.ipv4.ip_forward=1", "net.ipv4.conf.eth0/1.arp_filter=1"]);
    }

    #[test]
    fn nothing_is_asked_for() {
        assert_eq!(read(&[("org.x", "y")]).unwrap(), Wishes::default());
        assert_eq!(Wishes::from_annotations(&BTreeMap::new()).unwrap(), Wishes::default());
    }

    #[test]
    fn what_is_refused() {
        use Kind::Input;
        let none =
            "there is no such annotation; dev.podkeel.* has: network, publish, ip, mac, sysctl.KEY";
        for (key, value, kind, why) in [
            ("networks", "web", Input, none),
            ("", "web", Input, none),
            ("sysctl", "net.x.y=1", Input, none),
            ("network", "", Input, "\"\" has an empty item"),
            ("network", "web,", Input, "\"web,\" has an empty item"),
            ("network", "web,web", Input, "web is named twice"),
            (
                "network",
                "/etc/shadow",
                Input,
                "\"/etc/shadow\" must begin with a letter or digit and go on with letters, digits, '_', '.', '-'",
            ),
            (
                "publish",
                "80",
                Input,
                "publish \"80\": a host port is missing: write HOSTPORT:CONTAINERPORT, as in 8080:80",
            ),
            (
                "publish",
                "1:1/icmp",
                Input,
                "publish \"1:1/icmp\": \"icmp\" is not a protocol: tcp, udp, sctp",
            ),
            (
                "publish",
                "1:1,1:2",
                Input,
                "publish 1:2/tcp: the host's port is already wanted by 1:1/tcp",
            ),
            ("ip", "10.89.0.300", Input, "\"10.89.0.300\" is not an address"),
            ("ip", "10.89.0.7/16", Input, "\"10.89.0.7/16\" is not an address"),
            ("ip", "127.0.0.1", Input, "127.0.0.1 cannot be a pod's address"),
            ("ip", "10.0.0.1,::ffff:10.0.0.1", Input, "10.0.0.1 is named twice"),
            ("mac", "1", Input, "\"1\": a MAC address is six pairs of hex digits"),
            (
                "mac",
                "01:00:5e:00:00:01",
                Input,
                "\"01:00:5e:00:00:01\": no interface can have this address: it is a group's or zero",
            ),
            (
                "sysctl.kernel.hostname",
                "x",
                Input,
                "read sysctl \"kernel.hostname\": only net.* can be set for a pod's network",
            ),
        ] {
            let error = read(&[(&format!("dev.podkeel.{key}"), value)]).unwrap_err();
            assert_eq!(error.kind, kind, "{key}={value}");
            assert_eq!(
                error.to_string(),
                format!("cannot read annotation dev.podkeel.{key}: {why}")
            );
        }
        let twice =
            [("dev.podkeel.sysctl.net.core.x", "1"), ("dev.podkeel.sysctl.net/core/x", "1")];
        assert!(read(&twice).unwrap_err().to_string().contains("this sysctl is set twice"));
    }
}
