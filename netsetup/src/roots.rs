//! Where state lives. Every root is an option of the command line and an
//! environment variable, so that tests and users without root have their own.
//!
//! ```text
//! /run/podkeel/net/<network>/<container>/<ifname>.json  what an attachment made   PODKEEL_RUN_DIR
//! /run/netns/<name>                                     namespaces with names     PODKEEL_NETNS_DIR
//! /var/lib/cni/networks/<network>/<ip>                  leases of host-local      PODKEEL_LEASE_DIR
//! /etc/podkeel/net.d, /etc/cni/net.d                    network lists             PODKEEL_CONF_DIR (a:b)
//! ```

use std::{env, path::PathBuf};

/// The roots of all state on disk.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Records; `net/` below it is netsetup's.
    pub run: PathBuf,
    /// Named network namespaces, as `ip netns` keeps them.
    pub netns: PathBuf,
    /// host-local's leases, one directory a network.
    pub leases: PathBuf,
    /// Directories of network lists; an earlier one wins.
    pub conf: Vec<PathBuf>,
}

impl Default for Roots {
    fn default() -> Roots {
        Roots {
            run: "/run/podkeel".into(),
            netns: "/run/netns".into(),
            leases: "/var/lib/cni/networks".into(),
            conf: vec!["/etc/podkeel/net.d".into(), "/etc/cni/net.d".into()],
        }
    }
}

impl Roots {
    /// The defaults, with what the environment says instead of them.
    pub fn from_env() -> Roots {
        let mut roots = Roots::default();
        let one = |name: &str, slot: &mut PathBuf| {
            if let Some(value) = env::var_os(name).filter(|v| !v.is_empty()) {
                *slot = value.into();
            }
        };
        one("PODKEEL_RUN_DIR", &mut roots.run);
        one("PODKEEL_NETNS_DIR", &mut roots.netns);
        one("PODKEEL_LEASE_DIR", &mut roots.leases);
        if let Some(value) = env::var_os("PODKEEL_CONF_DIR").filter(|v| !v.is_empty()) {
            roots.conf = env::split_paths(&value).collect();
        }
        roots
    }
}
