//! Where state lives. Every root is an option of the command line and an
//! environment variable, so that tests and users without root have their own.
//!
//! ```text
//! /run/podkeel/net/<network>/<container>/<ifname>.json  what an attachment made   PODKEEL_RUN_DIR
//! /run/netns/<name>                                     namespaces with names     PODKEEL_NETNS_DIR
//! /var/lib/cni/networks/<network>/<ip>                  leases of host-local      PODKEEL_LEASE_DIR
//! /etc/podkeel/net.d, /etc/cni/net.d                    network lists             PODKEEL_CONF_DIR (a:b)
//! ```

use std::os::unix::fs::MetadataExt;
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
    /// By which the objects of these records are told from those of others: of
    /// another run directory, of one with the same name in another mount
    /// namespace, or of the same one seen from another network namespace. 24 bits
    /// of a hash of the path, its file system and the thread's network namespace.
    pub fn id(&self) -> u32 {
        let there = self.run.ancestors().find_map(|dir| Some((dir, dir.canonicalize().ok()?)));
        let (dir, real) = there.unwrap_or((&self.run, self.run.clone()));
        // Made of parts, so that a directory that is there and one that isn't yet are one.
        let rest = self.run.strip_prefix(dir).unwrap_or(&self.run);
        let path: PathBuf = real.components().chain(rest.components()).collect();
        let device = std::fs::metadata(&real).map_or(0, |m| m.dev());
        let netns = std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |m| m.ino());
        let text = format!("{}\0{device}\0{netns}", path.display());
        (podkeel_keep::fnv1a64(text.as_bytes()) >> 40) as u32
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_same_before_and_after_the_directory_is_made() {
        let dir = env::temp_dir().join(format!("podkeel-roots-{}", std::process::id()));
        let roots = |run: PathBuf| Roots { run, ..Roots::default() };
        let (one, other) = (roots(dir.join("a/b")), roots(dir.join("a/c")));
        let before = one.id();
        assert_ne!(before, other.id(), "another directory");
        std::fs::create_dir_all(&one.run).unwrap();
        assert_eq!(before, one.id());
        std::os::unix::fs::symlink(&one.run, dir.join("link")).unwrap();
        assert_eq!(before, roots(dir.join("link")).id(), "the same by another name");
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(before < 1 << 24);
    }
}
