//! Which addresses an interface has from host-local by its own name: found without a look into
//! every lease.
//!
//! ```text
//! /run/podkeel/leased/<directory of leases>/<container>:<interface>/<address> -> the directory
//! ```
//!
//! A lease says whose it is, but not the other way round; the reference reads them all, at each
//! ADD and DEL. An attachment of ours has a record that tells; here another's plugin made the
//! interface. A note is made before its lease, so that whoever has notes at all has one for each;
//! and what a note says is only believed where the lease says the same: the reference may have
//! deleted it. Without notes (the reference's leases, those of before a boot) the leases are read.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use podkeel_keep as keep;

use super::Lease;
use crate::error::Result;
use crate::roots::Roots;

/// The notes of one interface in one directory of leases.
#[derive(Debug)]
pub struct Notes<'a> {
    roots: &'a Roots,
    dir: &'a Path,
    id: &'a str,
    ifname: &'a str,
}

fn top(roots: &Roots) -> PathBuf {
    roots.run.join("leased")
}

fn key(id: &str, ifname: &str) -> String {
    format!("{id}:{ifname}")
}

impl<'a> Notes<'a> {
    /// Those of this interface.
    pub fn of(roots: &'a Roots, dir: &'a Path, id: &'a str, ifname: &'a str) -> Notes<'a> {
        Notes { roots, dir, id, ifname }
    }

    fn root(&self) -> PathBuf {
        top(self.roots).join(keep::file_name(&self.dir.to_string_lossy()))
    }

    fn key(&self) -> String {
        key(self.id, self.ifname)
    }

    /// The leases that are noted, and that are its own.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        let mut found = Vec::new();
        for ip in self.addresses()? {
            let (id, ifname) = (self.id.to_owned(), self.ifname.to_owned());
            let lease = Lease { dir: self.dir.to_owned(), ip, id, ifname, set: 0 };
            let owner = lease.find()?;
            found.extend(
                owner.is_some_and(|o| o.0 == self.id && o.1 == self.ifname).then_some(lease),
            );
        }
        Ok(found)
    }

    fn addresses(&self) -> Result<Vec<IpAddr>> {
        let noted = keep::holders(&self.root(), &self.key())?;
        Ok(noted.into_iter().filter_map(|(name, _)| name.parse().ok()).collect())
    }

    /// Notes these addresses.
    ///
    /// # Errors
    /// There is no place for notes; then nothing must be leased.
    pub fn make(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<()> {
        let (root, key, dir) = (self.root(), self.key(), self.dir.to_string_lossy());
        for ip in addresses {
            keep::hold(&root, &key, &ip.to_string(), &dir)?;
        }
        Ok(())
    }

    /// Removes them all. What can't be removed is not believed without its lease.
    pub fn drop(&self) {
        let (root, key) = (self.root(), self.key());
        for ip in self.addresses().unwrap_or_default() {
            let _ = keep::release(&root, &key, &ip.to_string());
        }
        tidy(self.roots, &root);
    }
}

/// Removes the directories that nothing is in; the run directory is its lock's.
fn tidy(roots: &Roots, root: &Path) {
    let _ = std::fs::remove_dir(root).and_then(|()| std::fs::remove_dir(top(roots)));
}

/// Removes notes of leases that are gone, or another's by now.
pub fn sweep(roots: &Roots) -> Result<()> {
    for entry in std::fs::read_dir(top(roots)).into_iter().flatten().flatten() {
        let root = entry.path();
        for file in keep::keys(&root)? {
            for (holder, dir) in keep::holders_of_file(&root, &file)? {
                let Ok(ip) = holder.parse() else { continue };
                let lease = Lease { dir, ip, id: String::new(), ifname: String::new(), set: 0 };
                let is_its =
                    |(id, ifname): (String, String)| keep::file_name(&key(&id, &ifname)) == file;
                if !lease.find()?.is_some_and(is_its) {
                    keep::release_file(&root, &file, &holder)?;
                }
            }
        }
        tidy(roots, &root);
    }
    Ok(())
}
