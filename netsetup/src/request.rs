//! What a caller wants: one attachment of one container to one network.

pub mod matches;
pub mod names;
mod publish;
mod sysctl;
mod vlan;
mod wishes;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::{publish::PortMapping, vlan::Vlan, wishes::Wishes};

/// Transport protocols whose ports can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// One published port: `[hostIP:]hostPort:containerPort[/proto]`, ranges already expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Publish {
    /// Transport protocol.
    pub proto: Proto,
    /// The host's address that it is bound to. `None` = all of them, of both
    /// families; `0.0.0.0` and `::` = all of that one family.
    pub host_ip: Option<IpAddr>,
    /// Port on the host, 1 to 65535.
    pub host_port: u16,
    /// Port in the container, 1 to 65535.
    pub container_port: u16,
}

impl Publish {
    /// Whether it is for programs on the host alone.
    pub fn is_loopbacks(&self) -> bool {
        self.host_ip.is_some_and(|ip| ip.is_loopback())
    }
}

/// A link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

/// A sysctl to set in the pod. Its key begins with `net`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SysctlSetting {
    /// Path below /proc/sys, its parts apart: `["net", "ipv4", "conf", "eth0.100", "forwarding"]`.
    pub path: Vec<String>,
    /// The value as it is written to the file.
    pub value: String,
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Mac, String> {
        text.parse()
    }
}

impl Mac {
    /// Passes on an address that an interface can have: not a group's, not zero.
    pub fn unicast(self) -> Result<Mac, String> {
        if self.0[0] & 1 == 1 || self.0 == [0; 6] {
            return Err("no interface can have this address: it is a group's or zero".to_owned());
        }
        Ok(self)
    }
}

impl std::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let wrong = || "a MAC address is six pairs of hex digits".to_owned();
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            // The digits are looked at one by one: from_str_radix takes "+f", too.
            let hex = |p: &&str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(hex).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Mac(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses() {
        let mac: Mac = "02:aB:00:ff:09:01".parse().unwrap();
        assert_eq!(mac, Mac([2, 0xab, 0, 0xff, 9, 1]));
        assert_eq!(mac.to_string(), "02:ab:00:ff:09:01");
        assert_eq!(serde_json::from_str::<Mac>("\"02:ab:00:ff:09:01\"").unwrap(), mac);
        for bad in [
            "",
            "02",
            "02:ab:00:ff:09",
            "02:ab:00:ff:09:01:02",
            "02:ab:00:ff:09:+1",
            "02-ab-00-ff-09-01",
            "02:ab:00:ff:9:01",
            "02:ab:00:ff:09:é",
        ] {
            assert_eq!(
                bad.parse::<Mac>().unwrap_err(),
                "a MAC address is six pairs of hex digits",
                "{bad}"
            );
        }
        assert!(mac.unicast().is_ok());
        assert!(Mac([1, 0, 0x5e, 0, 0, 1]).unicast().is_err());
        assert!(Mac([0; 6]).unicast().is_err());
    }
}
