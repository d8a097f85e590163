//! Where state lives. Every root is an option of the command line and an
//! environment variable, so that tests and users without root have their own.
//!
//! ```text
//! /run/podkeel/net/<network>/<container>/<ifname>.json  what an attachment made   PODKEEL_RUN_DIR
//! /run/podkeel/pins/<attachment>                        namespaces with something of the host's
//! /run/podkeel/leased/<leases>/<container>:<ifname>/    what host-local by its own name has leased
//! /run/netns/<name>                                     namespaces with names     PODKEEL_NETNS_DIR
//! /var/lib/cni/networks/<network>/<ip>                  leases of host-local      PODKEEL_LEASE_DIR
//! /etc/podkeel/net.d, /etc/cni/net.d                    network lists             PODKEEL_CONF_DIR (a:b)
//! ```

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::{env, io};

use crate::error::{Error, Result};
use crate::kernel::Netns;

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
    /// of a hash of the path, its file system and the thread's network namespace. That
    /// one's inode number will do: what wears the mark ends with the namespace.
    ///
    /// # Errors
    /// What can't be looked at is no id: what was made under a wrong one could never be
    /// taken away again.
    pub fn id(&self) -> Result<u32> {
        let fail = |e| Error::io(format!("tell whose records are in {}", self.run.display()), &e);
        let (path, device) = self.real().map_err(fail)?;
        let netns = Netns::own()?.inode;
        let text = format!("{}\0{device}\0{netns}", path.display());
        Ok((podkeel_keep::fnv1a64(text.as_bytes()) >> 40) as u32)
    }

    /// The run directory's path without links, as far as it is there, and the number of
    /// the file system that it is or will be on.
    fn real(&self) -> io::Result<(PathBuf, u64)> {
        for dir in self.run.ancestors() {
            // Another process may just be removing it, because it is empty.
            let real = dir.canonicalize().and_then(|real| Ok((real.metadata()?.dev(), real)));
            let (device, real) = match real {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            // Made of parts, so that one that is there and one that isn't yet are one.
            let rest = self.run.strip_prefix(dir).unwrap_or(&self.run);
            return Ok((real.components().chain(rest.components()).collect(), device));
        }
        Ok((self.run.clone(), 0))
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
        let before = one.id().unwrap();
        assert_ne!(before, other.id().unwrap(), "another directory");
        std::fs::create_dir_all(&one.run).unwrap();
        assert_eq!(before, one.id().unwrap());
        std::os::unix::fs::symlink(&one.run, dir.join("link")).unwrap();
        assert_eq!(before, roots(dir.join("link")).id().unwrap(), "the same by another name");
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(before < 1 << 24);
    }
}
