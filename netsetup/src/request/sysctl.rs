//! Sysctls as people write them. The rule for separators is sysctl.d(5)'s: the
//! first one, '.' or '/', says which separates; after a '.' the two are
//! exchanged, so that a part can have a dot in it.
//!
//! ```text
//! net.ipv4.conf.eth0/100.forwarding   /proc/sys/net/ipv4/conf/eth0.100/forwarding
//! net/ipv4/conf/eth0.100/forwarding   the same
//! ```

use std::fmt;

use super::SysctlSetting;
use crate::error::{Error, Result};

/// Stands for the pod's interface in the lists of the tuning plugin.
const IFNAME: &str = "IFNAME";

impl SysctlSetting {
    /// Reads `key=value`; blanks around either are dropped, as by sysctl(8).
    /// Errors: `Kind::Input`, saying what is wrong with the key or the value.
    pub fn parse(text: &str) -> Result<SysctlSetting> {
        match text.split_once('=') {
            Some((key, value)) => SysctlSetting::new(key.trim(), value.trim()),
            None => Err(Error::input(
                format!("read sysctl {text:?}"),
                "there is no '=': write KEY=VALUE",
            )),
        }
    }

    /// The same from key and value. Only `net.*`: everything else belongs to
    /// the whole machine or to another kind of namespace.
    pub fn new(key: &str, value: &str) -> Result<SysctlSetting> {
        let wrong = |why: String| Error::input(format!("read sysctl {key:?}"), why);
        let path = split(key).map_err(&wrong)?;
        if value.contains(['\0', '\n']) {
            return Err(wrong(format!("the value {value:?} has a line break or a NUL in it")));
        }
        Ok(SysctlSetting { path, value: value.to_owned() })
    }

    /// The key in the dotted form.
    pub fn key(&self) -> String {
        let parts: Vec<String> = self.path.iter().map(|part| part.replace('.', "/")).collect();
        parts.join(".")
    }

    /// The setting for one interface: the first part that is `IFNAME` becomes
    /// its name, as in the lists of the tuning plugin.
    pub fn on_interface(mut self, ifname: &str) -> SysctlSetting {
        if let Some(part) = self.path.iter_mut().find(|part| *part == IFNAME) {
            ifname.clone_into(part);
        }
        self
    }
}

fn split(key: &str) -> Result<Vec<String>, String> {
    let path: Vec<String> = match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'.') => key.split('.').map(|part| part.replace('/', ".")).collect(),
        _ => key.split('/').map(str::to_owned).collect(),
    };
    if path[0] != "net" {
        return Err("only net.* can be set for a pod's network".to_owned());
    }
    if path.len() < 2 {
        return Err("that is all of net, not one setting".to_owned());
    }
    for part in &path {
        if part.is_empty() || part == "." || part == ".." {
            return Err(format!("{part:?} cannot be a part of a key"));
        }
        if part.contains(|c: char| c == '*' || c.is_whitespace() || c.is_control()) {
            return Err(format!(
                "{part:?} cannot be a part of a key: no patterns, blanks or control characters"
            ));
        }
    }
    Ok(path)
}

/// In the dotted form, which [`SysctlSetting::parse`] reads back to the same.
impl fmt::Display for SysctlSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key(), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn keys_and_values() {
        let forwarding = ["net", "ipv4", "conf", "eth0.100", "forwarding"].as_slice();
        for (text, path, value) in [
            ("net.ipv4.conf.eth0/100.forwarding=1", forwarding, "1"),
            ("net/ipv4/conf/eth0.100/forwarding=1", forwarding, "1"),
            (" net.ipv4.ping_group_range = 0 100 ", &["net", "ipv4", "ping_group_range"], "0 100"),
            ("net.ipv4.ip_local_reserved_ports=", &["net", "ipv4", "ip_local_reserved_ports"], ""),
            ("net/core/somaxconn=a=b", &["net", "core", "somaxconn"], "a=b"),
        ] {
            let setting = SysctlSetting::parse(text).unwrap();
            assert_eq!(setting.path, path, "{text}");
            assert_eq!(setting.value, value, "{text}");
            assert_eq!(SysctlSetting::parse(&setting.to_string()).unwrap(), setting, "{text}");
        }
        let shown =
            SysctlSetting::parse("net/ipv4/conf/eth0.100/forwarding=1").unwrap().to_string();
        assert_eq!(shown, "net.ipv4.conf.eth0/100.forwarding=1");
    }

    #[test]
    fn what_is_refused() {
        for (text, says) in [
            ("net.core.somaxconn", "there is no '='"),
            ("kernel.hostname=x", "only net.*"),
            ("vm/swappiness=1", "only net.*"),
            ("=1", "only net.*"),
            ("/net/core/x=1", "only net.*"),
            ("netx.core=1", "only net.*"),
            ("net=1", "all of net"),
            ("net.=1", "\"\" cannot be a part"),
            ("net..core=1", "\"\" cannot be a part"),
            ("net/core/=1", "\"\" cannot be a part"),
            ("net/../kernel/hostname=x", "\"..\" cannot be a part"),
            ("net/./core/x=1", "\".\" cannot be a part"),
            ("net.//.kernel=1", "\"..\" cannot be a part"),
            ("net./.core=1", "\".\" cannot be a part"),
            ("net.ipv4.conf.*.forwarding=1", "no patterns"),
            ("net.core.a b=1", "no patterns, blanks"),
            ("net.core.a\0=1", "control characters"),
            ("net.core.x=1\n2", "a line break or a NUL"),
            ("net.core.x=1\0", "a line break or a NUL"),
        ] {
            let error = SysctlSetting::parse(text).unwrap_err();
            assert_eq!(error.kind, Kind::Input, "{text}");
            assert!(error.to_string().contains(says), "{text:?}: {error}");
        }
        let error = SysctlSetting::parse("kernel.hostname=x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read sysctl \"kernel.hostname\": only net.* can be set for a pod's network"
        );
    }

    #[test]
    fn the_interface_of_the_pod() {
        let setting = SysctlSetting::parse("net.ipv4.conf.IFNAME.arp_filter=1")
            .unwrap()
            .on_interface("eth0.5");
        assert_eq!(setting.path, ["net", "ipv4", "conf", "eth0.5", "arp_filter"]);
        let other = SysctlSetting::parse("net.ipv4.conf.MYIFNAME.arp_filter=1").unwrap();
        assert_eq!(other.clone().on_interface("eth0"), other);
    }
}
