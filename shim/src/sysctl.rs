//! Sysctls of a pod: those that docker allows, because a namespace holds them.
//!
//! ```text
//! net.*                                                  the network namespace
//! kernel.{msgmax,msgmnb,msgmni,sem,shm*}, fs.mqueue.*    the ipc namespace
//! ```

use podkeel_netsetup::error::{Error, Result};
use podkeel_netsetup::kernel::NsKind;
use podkeel_netsetup::kernel::sysctl::ProcSys;
use podkeel_netsetup::request::SysctlSetting;

/// What an ipc namespace holds. Source: ipc_namespaces(7).
const IPC: [&str; 8] =
    ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];

/// One setting, and the kind of namespace that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    path: Vec<String>,
    value: String,
    /// Which kind of namespace it belongs to.
    pub kind: NsKind,
}

impl Setting {
    /// Reads `key=value`.
    ///
    /// # Errors
    /// A key that no namespace holds: it would be the host's.
    pub fn parse(text: &str) -> Result<Setting> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let parts: Vec<&str> = key.trim().split(['.', '/']).collect();
        let ipc = match parts[..] {
            ["kernel", name] => IPC.contains(&name),
            ["fs", "mqueue", name] => {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            }
            _ => false,
        };
        if ipc && text.contains('=') && !value.contains(['\0', '\n']) {
            let path = parts.into_iter().map(str::to_owned).collect();
            return Ok(Setting { path, value: value.trim().to_owned(), kind: NsKind::Ipc });
        }
        if !ipc && parts[0] != "net" {
            let why = "no namespace of a pod holds it, so it would be the host's";
            return Err(Error::input(format!("use sysctl {:?}", key.trim()), why)
                .hint("net.*, fs.mqueue.*, and of kernel: msgmax, msgmnb, msgmni, sem, shmall, shmmax, shmmni, shm_rmid_forced"));
        }
        let SysctlSetting { path, value } = SysctlSetting::parse(text)?;
        Ok(Setting { path, value, kind: NsKind::Net })
    }

    /// Writes it, in the namespaces of this process.
    pub fn apply(&self, sys: &ProcSys) -> Result<()> {
        sys.write(&self.path, &self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_namespace_holds_them() {
        for (text, kind, path, value) in [
            ("net.ipv4.tcp_keepalive_time=600", NsKind::Net, "net/ipv4/tcp_keepalive_time", "600"),
            (
                "net.ipv4.conf.eth0/1.rp_filter=2",
                NsKind::Net,
                "net/ipv4/conf/eth0.1/rp_filter",
                "2",
            ),
            ("kernel.sem = 250 32000 100 128", NsKind::Ipc, "kernel/sem", "250 32000 100 128"),
            ("fs.mqueue.msg_max=20", NsKind::Ipc, "fs/mqueue/msg_max", "20"),
        ] {
            let setting = Setting::parse(text).unwrap();
            let found = (setting.kind, setting.path.join("/"), setting.value);
            assert_eq!(found, (kind, path.to_owned(), value.to_owned()), "{text}");
        }
        for bad in [
            "",
            "kernel.sem",
            "kernel.panic=1",
            "vm.swappiness=1",
            "fs.mqueue.=1",
            "fs.mqueue...=1",
            "kernel.hostname=x",
            "net=1",
            "net.ipv4.ip_forward",
        ] {
            assert!(Setting::parse(bad).is_err(), "{bad:?}");
        }
    }
}
