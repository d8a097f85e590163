//! An initramfs: files, folders and links in the form that the kernel unpacks.
//!
//! Written here, so that everything in it belongs to root whoever runs the tests.
//! Source: Documentation/driver-api/early-userspace/buffer-format.rst ("newc").

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What stands at a path.
#[derive(Debug)]
pub(super) enum Entry {
    Folder,
    /// The bytes of a file of the machine's.
    Copy(PathBuf, u32),
    /// Bytes, and permissions.
    Text(Vec<u8>, u32),
    /// A symbolic link.
    Link(PathBuf),
}

/// Everything by its absolute path; a folder comes before what is in it.
#[derive(Default)]
pub(super) struct Archive(BTreeMap<PathBuf, Entry>);

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

impl Archive {
    /// Adds an entry, and the folders that it is in. What is there already stays.
    pub(super) fn add(&mut self, path: &Path, entry: Entry) {
        for folder in path.ancestors().skip(1).filter(|p| p.parent().is_some()) {
            self.0.entry(folder.to_owned()).or_insert(Entry::Folder);
        }
        self.0.entry(path.to_owned()).or_insert(entry);
    }

    pub(super) fn write(&self, mut to: impl Write) -> io::Result<()> {
        let mut inode = 0;
        for (path, entry) in &self.0 {
            inode += 1;
            let (mode, bytes) = match entry {
                Entry::Folder => (S_IFDIR | 0o755, Vec::new()),
                Entry::Copy(from, mode) => (S_IFREG | mode, std::fs::read(from)?),
                Entry::Text(bytes, mode) => (S_IFREG | mode, bytes.clone()),
                Entry::Link(target) => {
                    (S_IFLNK | 0o777, target.to_string_lossy().into_owned().into())
                }
            };
            let name = path.strip_prefix("/").unwrap_or(path).to_string_lossy();
            member(&mut to, &name, inode, mode, &bytes)?;
        }
        member(&mut to, "TRAILER!!!", 0, 0, &[])?;
        to.flush()
    }
}

/// One member: thirteen numbers of eight hexadecimal digits, the name, the bytes, each
/// filled up to a multiple of four.
fn member(to: &mut impl Write, name: &str, inode: u32, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let too_long = |_| io::Error::other("a file of 4 GiB");
    let size = u32::try_from(bytes.len()).map_err(too_long)?;
    let length = u32::try_from(name.len() + 1).map_err(too_long)?;
    let [uid, gid, links, mtime, device, check] = [0, 0, 1, 0, 0, 0];
    let fields =
        [inode, mode, uid, gid, links, mtime, size, device, device, device, device, length, check];
    let numbers: String = fields.iter().map(|number| format!("{number:08X}")).collect();
    let head = format!("070701{numbers}{name}\0");
    to.write_all(head.as_bytes())?;
    to.write_all(&[0; 3][..fill(head.len())])?;
    to.write_all(bytes)?;
    to.write_all(&[0; 3][..fill(bytes.len())])
}

fn fill(length: usize) -> usize {
    length.next_multiple_of(4) - length
}
