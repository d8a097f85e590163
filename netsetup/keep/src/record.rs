//! A record: a claimed file whose flock says that somebody is at work on it.

use std::{
    fs::File,
    io::{Read, Seek},
    os::fd::{AsFd, BorrowedFd},
    path::{Component, Path, PathBuf},
    time::Duration,
};

use rustix::{fs::OFlags, io::Errno};

use crate::{
    Error, Modes, Result, Wait,
    claim::{Way, open_locked, publish, put, remove_temp},
    dir,
};

/// How long the temporary file of a record may be busy; only a claimer that is
/// about to fail with EEXIST can hold it.
const TEMP_WAIT: Wait = Wait::Until(Duration::from_secs(10));

/// A file below a root directory, locked by this process for as long as the value lives.
#[derive(Debug)]
pub struct Record {
    root: PathBuf,
    relative: PathBuf,
    file: File,
}

impl Record {
    /// Claims `root/relative` with all of `bytes`, locked before it becomes visible.
    /// Directories that are missing are made with mode 0700, the file has mode 0600.
    ///
    /// Fails with [`Error::is_taken`] if it exists, and with EINVAL if `relative`
    /// isn't made of plain components only.
    pub fn create(root: &Path, relative: &Path, bytes: &[u8]) -> Result<Record> {
        Record::create_by(root, relative, bytes, Way::Unnamed)
    }

    pub(crate) fn create_by(
        root: &Path,
        relative: &Path,
        bytes: &[u8],
        way: Way,
    ) -> Result<Record> {
        let (dir, name) = split(root, relative)?;
        let file = publish(&dir, name, bytes, Modes::PRIVATE, way)?;
        Ok(Record { root: root.to_owned(), relative: relative.to_owned(), file })
    }

    /// Opens and locks `root/relative`; ENOENT if it isn't there, or is removed by
    /// its holder while this waits.
    pub fn open_locked(root: &Path, relative: &Path, wait: Wait) -> Result<Record> {
        let (dir, name) = split(root, relative)?;
        let file = open_locked(&dir.join(name), OFlags::RDWR, wait)?;
        Ok(Record { root: root.to_owned(), relative: relative.to_owned(), file })
    }

    /// The path below the root.
    pub fn relative(&self) -> &Path {
        &self.relative
    }

    /// The whole path.
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.relative)
    }

    /// The bytes that are there: none, or the beginning of a record, after a power cut.
    pub fn read(&self) -> Result<Vec<u8>> {
        let mut file = &self.file;
        let mut bytes = Vec::new();
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .map_err(|e| Error::io("read", self.path(), &e))?;
        Ok(bytes)
    }

    /// Replaces all bytes at once; the lock is held on the new file before it has the name.
    pub fn replace(&mut self, bytes: &[u8]) -> Result<()> {
        let (dir, name) = split(&self.root, &self.relative)?;
        let at = dir::open(&dir)?;
        self.file = put(&at, &dir, name, bytes, Modes::PRIVATE.file, TEMP_WAIT)?;
        Ok(())
    }

    /// Gives the record's directory, `root/old`, another name, `root/to`, the record still
    /// locked: who waits for the lock under the old name finds nothing there.
    ///
    /// Fails with [`Error::is_taken`] if `to` is there with anything in it, and with EINVAL
    /// if the record isn't in a directory right below the root.
    pub fn rename_dir(&mut self, to: &str) -> Result<()> {
        let (dir, name) = split(&self.root, &self.relative)?;
        let relative = Path::new(to).join(name);
        let (target, _) = split(&self.root, &relative)?;
        if dir.parent() != Some(&*self.root) || target.parent() != Some(&*self.root) {
            return Err(Error::new("rename", dir, Errno::INVAL));
        }
        // An empty directory, left by somebody or in the making, is replaced: rename(2).
        match rustix::fs::rename(&dir, &target) {
            Err(Errno::NOTEMPTY) => return Err(Error::new("rename", target, Errno::EXIST)),
            Err(errno) => return Err(Error::new("rename", target, errno)),
            Ok(()) => self.relative = relative,
        }
        Ok(())
    }

    /// Removes the record, and the directories that it leaves empty, up to the root.
    ///
    /// A temporary file goes first: killed in between, the record still tells of the rest.
    pub fn remove(self) -> Result<()> {
        let (dir, name) = split(&self.root, &self.relative)?;
        remove_temp(&dir, name);
        let path = dir.join(name);
        match rustix::fs::unlink(&path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::new("remove", path, errno)),
        }
        dir::remove_empty_up_to(&dir, &self.root);
        Ok(())
    }
}

/// The open file: for what can be asked of a descriptor alone.
impl AsFd for Record {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Directory and file name of `root/relative`; EINVAL unless `relative` goes downward only.
fn split<'a>(root: &Path, relative: &'a Path) -> Result<(PathBuf, &'a str)> {
    let invalid = || Error::new("use the path", relative, Errno::INVAL);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(invalid());
    }
    let name = relative.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?;
    let dir = match relative.parent() {
        Some(parent) => root.join(parent),
        None => root.to_owned(),
    };
    Ok((dir, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_go_downward_only() {
        let root = Path::new("/nonexistent");
        for bad in ["", "..", "../x", "/etc/passwd", "a/../b", "./a"] {
            let error = split(root, Path::new(bad)).expect_err(bad);
            assert_eq!(error.errno(), Errno::INVAL.raw_os_error(), "{bad}");
        }
        let (dir, name) = split(root, Path::new("net/web/eth0.json")).unwrap();
        assert_eq!((dir.as_path(), name), (Path::new("/nonexistent/net/web"), "eth0.json"));
    }
}
