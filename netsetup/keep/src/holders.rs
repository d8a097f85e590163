//! Who still needs a shared thing: reference counting that survives its counters.
//!
//! ```text
//! <root>/<key>/<holder> -> target
//! ```
//!
//! One directory for each thing, one symbolic link in it for each holder, pointing
//! at what proves that the holder is alive (its record). Names go through
//! [`file_name`]. The directory tells of the last holder by itself: rmdir(2) fails
//! while there is another.
//!
//! Making the thing and dropping it must exclude each other: callers hold one
//! [`crate::Lock`] from before [`hold`] until the thing is made, and from before
//! [`release`] until it is dropped.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::{Error, Result, dir, file_name, list, lock::ROUNDS};

/// Notes that `holder` needs `key`. Held already: fine; then `target` (not empty) is
/// what counts from now on.
pub fn hold(root: &Path, key: &str, holder: &str, target: &str) -> Result<()> {
    let dir = root.join(file_name(key));
    let link = dir.join(file_name(holder));
    for _ in 0..ROUNDS {
        match rustix::fs::symlink(target, &link) {
            Ok(()) => return Ok(()),
            // Missing, or removed by the release of the last holder just now.
            Err(Errno::NOENT) if !target.is_empty() => drop(dir::make(&dir, 0o700)?),
            Err(Errno::EXIST) if fs::read_link(&link).is_ok_and(|old| old == Path::new(target)) => {
                return Ok(());
            }
            Err(Errno::EXIST) => unlink(&link)?,
            Err(errno) => return Err(Error::new("hold", link, errno)),
        }
    }
    Err(Error::new("hold", link, Errno::AGAIN))
}

/// Notes that `holder` no longer needs `key`; true if nobody does now. Released
/// already: fine, with the same answer, so that what was interrupted between release
/// and drop can be done again.
pub fn release(root: &Path, key: &str, holder: &str) -> Result<bool> {
    release_file(root, &file_name(key), &file_name(holder))
}

/// [`release`] by the names that [`keys`] and [`holders_of_file`] list: a name that went
/// through [`file_name`] once must not go through it again.
pub fn release_file(root: &Path, key: &str, holder: &str) -> Result<bool> {
    let dir = root.join(key);
    unlink(&dir.join(holder))?;
    match rustix::fs::rmdir(&dir) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(Error::new("remove directory", dir, errno)),
    }
}

/// The holders of `key` (as [`file_name`] has them) with their targets, sorted.
pub fn holders(root: &Path, key: &str) -> Result<Vec<(String, PathBuf)>> {
    holders_of_file(root, &file_name(key))
}

/// [`holders`] of a key by the name that [`keys`] lists.
pub fn holders_of_file(root: &Path, key: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in list::entries(&root.join(key))? {
        // A link that is gone by now, or no link at all, holds nothing.
        if let (Ok(target), Ok(name)) =
            (fs::read_link(entry.path()), entry.file_name().into_string())
        {
            found.push((name, target));
        }
    }
    found.sort();
    Ok(found)
}

/// All keys (as [`file_name`] has them: for [`holders_of_file`] and [`release_file`]),
/// sorted; also one whose holder was killed before it had its link: it has no holders.
pub fn keys(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in list::entries(root)? {
        if let (true, Ok(name)) =
            (entry.file_type().is_ok_and(|kind| kind.is_dir()), entry.file_name().into_string())
        {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

fn unlink(link: &Path) -> Result<()> {
    match rustix::fs::unlink(link) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::new("release", link, errno)),
    }
}
