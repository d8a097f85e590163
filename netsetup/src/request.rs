//! What a caller wants: one attachment of one container to one network.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Transport protocols whose ports can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One published port: `[hostIP:]hostPort:containerPort[/proto]`, ranges already expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Publish {
    /// Transport protocol.
    pub proto: Proto,
    /// The host's address that it is bound to; `None` = all of them, of both families.
    pub host_ip: Option<IpAddr>,
    /// Port on the host, 1 to 65535.
    pub host_port: u16,
    /// Port in the container, 1 to 65535.
    pub container_port: u16,
}

/// A link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

/// A sysctl to set in the pod: key in dotted or slashed form, and its value.
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

impl std::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or("a MAC address is six pairs of hex digits")?;
            *byte = u8::from_str_radix(part, 16).map_err(|e| e.to_string())?;
        }
        if parts.next().is_some() {
            return Err("a MAC address is six pairs of hex digits".to_owned());
        }
        Ok(Mac(bytes))
    }
}
