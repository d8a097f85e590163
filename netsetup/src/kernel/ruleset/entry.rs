//! What a pod has in the table: elements of its sets and maps.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use podkeel_wire::nf::Elem;
use serde::{Deserialize, Serialize};

use crate::request::Proto;

/// What a pod has in the sets and maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// A port of the host leads to a port of the pod.
    Published {
        /// Transport protocol.
        proto: Proto,
        /// The host's address; `None` = every one of the pod's address's family.
        host_ip: Option<IpAddr>,
        /// Port on the host.
        host_port: u16,
        /// Address and port in the pod.
        to: SocketAddr,
        /// The name of the [`Terms`](super::Terms) that it is published on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<String>,
    },
    /// A port of 127.0.0.1 leads to a port of the pod, for the host's own processes.
    Local {
        /// Transport protocol.
        proto: Proto,
        /// Port on the host.
        host_port: u16,
        /// Address and port in the pod.
        to: SocketAddr,
        /// As of a published port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<String>,
    },
    /// Packets from here to a published port get the mark of its terms: they are to be
    /// masqueraded.
    Marked {
        /// Who sends.
        from: IpNet,
        /// The host's address that the port is published on; `None` = every one.
        host_ip: Option<IpAddr>,
        /// Transport protocol.
        proto: Proto,
        /// Port on the host.
        host_port: u16,
        /// The name of the terms.
        terms: String,
    },
    /// The pod sees the host's address behind all that a published port leads to it.
    Hidden {
        /// Transport protocol.
        proto: Proto,
        /// Address and port in the pod.
        to: SocketAddr,
    },
    /// The pod's address is hidden behind the host's on its way out.
    Masqueraded(IpAddr),
    /// A network whose members see each other's true addresses.
    Own(IpNet),
    /// A part of a network whose members another part sees by their true addresses.
    Across {
        /// Who sends.
        from: IpNet,
        /// Who sees.
        to: IpNet,
    },
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Published { proto, host_ip, host_port, to, terms } => {
                let any = if to.is_ipv4() { "0.0.0.0".parse() } else { "::".parse() };
                let host = host_ip.or(any.ok()).map(|ip| SocketAddr::new(ip, *host_port));
                write!(
                    f,
                    "port {}/{} to {to}",
                    host.map(|h| h.to_string()).unwrap_or_default(),
                    proto.name()
                )?;
                on_terms(f, terms.as_deref())
            }
            Entry::Local { proto, host_port, to, terms } => {
                write!(f, "port 127.0.0.1:{host_port}/{} to {to}", proto.name())?;
                on_terms(f, terms.as_deref())
            }
            Entry::Marked { from, host_port, proto, terms, .. } => {
                write!(
                    f,
                    "mark of what {from} sends to port {host_port}/{} ({terms})",
                    proto.name()
                )
            }
            Entry::Hidden { proto, to } => write!(f, "masquerade of all to {to}/{}", proto.name()),
            Entry::Masqueraded(ip) => write!(f, "masquerade of {ip}"),
            Entry::Own(net) => write!(f, "true addresses within {net}"),
            Entry::Across { from, to } => write!(f, "true addresses from {from} to {to}"),
        }
    }
}

fn on_terms(f: &mut fmt::Formatter<'_>, terms: Option<&str>) -> fmt::Result {
    terms.map_or(Ok(()), |terms| write!(f, " ({terms})"))
}

impl Proto {
    /// "tcp", "udp" or "sctp".
    pub const fn name(self) -> &'static str {
        match self {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
            Proto::Sctp => "sctp",
        }
    }

    /// IPPROTO_*.
    pub const fn number(self) -> u8 {
        match self {
            Proto::Tcp => libc::IPPROTO_TCP as u8,
            Proto::Udp => libc::IPPROTO_UDP as u8,
            Proto::Sctp => libc::IPPROTO_SCTP as u8,
        }
    }
}

impl Entry {
    /// The set or map that it is in.
    pub fn set(&self) -> Cow<'static, str> {
        match self {
            Entry::Published { terms: Some(terms), host_ip, .. } => {
                format!("{terms}-{}", if host_ip.is_some() { "bound" } else { "ports" }).into()
            }
            Entry::Local { terms: Some(terms), .. } => format!("{terms}-local").into(),
            Entry::Marked { terms, .. } => format!("{terms}-mark").into(),
            Entry::Published { host_ip: None, to, .. } => by_family(to.ip(), "ports4", "ports6"),
            Entry::Published { host_ip: Some(_), to, .. } => by_family(to.ip(), "bound4", "bound6"),
            Entry::Local { .. } => "local4".into(),
            Entry::Hidden { to, .. } => by_family(to.ip(), "hidden4", "hidden6"),
            Entry::Masqueraded(ip) => by_family(*ip, "masq4", "masq6"),
            Entry::Own(net) | Entry::Across { from: net, .. } => {
                by_family(net.addr(), "own4", "own6")
            }
        }
    }

    /// The element, with a comment that names its owner.
    pub fn elem(&self, owner: &str) -> Elem {
        let comment = Some(owner.to_owned());
        match self {
            Entry::Published { proto, host_ip, host_port, to, .. } => Elem {
                key: join(&[
                    &host_ip.map(bytes_of).unwrap_or_default(),
                    &[proto.number()],
                    &host_port.to_be_bytes(),
                ]),
                key_end: None,
                data: Some(join(&[&bytes_of(to.ip()), &to.port().to_be_bytes()])),
                comment,
            },
            Entry::Marked { from, host_ip, proto, host_port, .. } => {
                let any = everywhere(from);
                let to = host_ip.map_or(any, IpNet::from);
                let port = join(&[&[proto.number()], &host_port.to_be_bytes()]);
                let pair = between(from, &to, comment);
                Elem {
                    key: [&pair.key[..], &port].concat(),
                    key_end: pair.key_end.map(|end| [&end[..], &port].concat()),
                    ..pair
                }
            }
            Entry::Local { proto, host_port, to, .. } => Elem {
                key: join(&[&[proto.number()], &host_port.to_be_bytes()]),
                key_end: None,
                data: Some(join(&[&bytes_of(to.ip()), &to.port().to_be_bytes()])),
                comment,
            },
            Entry::Hidden { proto, to } => {
                let key = join(&[&bytes_of(to.ip()), &[proto.number()], &to.port().to_be_bytes()]);
                Elem { key, comment, ..Elem::default() }
            }
            Entry::Masqueraded(ip) => Elem { key: bytes_of(*ip), comment, ..Elem::default() },
            Entry::Own(net) => between(net, net, comment),
            Entry::Across { from, to } => between(from, to, comment),
        }
    }

    /// The network of an element of `own4` or `own6`; `None` for anything unreadable.
    pub fn read_own(elem: &Elem) -> Option<Entry> {
        let end = elem.key_end.as_ref()?;
        let (from, from_end) = elem.key.split_at_checked(elem.key.len() / 2)?;
        let (to, to_end) = end.split_at_checked(end.len() / 2)?;
        let (from, to) = (net_of(from, to)?, net_of(from_end, to_end)?);
        Some(if from == to { Entry::Own(from) } else { Entry::Across { from, to } })
    }

    /// The port of a published entry in a dump of one of the maps; `None` for anything unreadable.
    pub fn read_published(set: &str, elem: &Elem) -> Option<Entry> {
        // bound4, terms6-0123abcd-ports
        let v4 = set.ends_with('4') || set.starts_with("terms4");
        let len = if v4 { 4 } else { 16 };
        let (host, rest) =
            elem.key.split_at_checked(if set.contains("bound") { len } else { 0 })?;
        let [proto, _, _, _, high, low, ..] = *rest else { return None };
        let proto =
            [Proto::Tcp, Proto::Udp, Proto::Sctp].into_iter().find(|p| p.number() == proto)?;
        let (addr, port) = elem.data.as_ref()?.split_at_checked(len)?;
        let to = SocketAddr::new(ip_of(addr)?, u16::from_be_bytes(*port.first_chunk()?));
        Some(Entry::Published {
            proto,
            host_ip: ip_of(host),
            host_port: u16::from_be_bytes([high, low]),
            to,
            terms: terms_of(set),
        })
    }
}

/// The terms that a set belongs to.
fn terms_of(set: &str) -> Option<String> {
    set.rsplit_once('-').map(|(terms, _)| terms.to_owned())
}

/// Every address of a network's family.
fn everywhere(net: &IpNet) -> IpNet {
    match net {
        IpNet::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpNet::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

/// An element of `own4` or `own6`: source and destination, each a range.
fn between(from: &IpNet, to: &IpNet, comment: Option<String>) -> Elem {
    let first = join(&[&bytes_of(from.network()), &bytes_of(to.network())]);
    let last = join(&[&bytes_of(from.broadcast()), &bytes_of(to.broadcast())]);
    Elem { key: first, key_end: Some(last), data: None, comment }
}

/// The network from its first to its last address.
fn net_of(first: &[u8], last: &[u8]) -> Option<IpNet> {
    let (first, last) = (ip_of(first)?, ip_of(last)?);
    let bits = if first.is_ipv4() { 32 } else { 128 };
    let nets = (0..=bits).filter_map(|prefix| IpNet::new(first, prefix).ok());
    nets.rev().find(|net| net.network() == first && net.broadcast() == last)
}

fn by_family(ip: IpAddr, v4: &'static str, v6: &'static str) -> Cow<'static, str> {
    if ip.is_ipv4() { v4 } else { v6 }.into()
}

pub(super) fn bytes_of(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Fields of a concatenation, each padded to four bytes.
fn join(fields: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::new();
    for field in fields {
        key.extend_from_slice(field);
        key.resize(key.len().next_multiple_of(4), 0);
    }
    key
}
