//! What is there, and what dead processes left.

use std::{
    fs::{self, DirEntry},
    io,
    path::{Path, PathBuf},
};

use crate::{Error, Result, claim::remove_abandoned, dir};

/// How deep below the root directories are read.
const DEPTH: usize = 4;

/// All regular files below `root` as sorted paths relative to it, at most four
/// levels deep. Hidden files are left out, symbolic links aren't followed, and what
/// disappears meanwhile, even the root, counts as not there.
pub fn list(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(root, DEPTH, &mut |path, kind| {
        if kind == Kind::File && !is_hidden(path) {
            found.push(path.strip_prefix(root).unwrap_or(path).to_owned());
        }
    })?;
    found.sort();
    Ok(found)
}

/// Removes what killed processes left below `root`: temporary files that nobody has
/// locked and empty directories that nobody has locked, but not `root` itself.
/// Returns what it removed. Records are never touched.
pub fn sweep(root: &Path) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    walk(root, DEPTH, &mut |path, kind| {
        let gone = match kind {
            Kind::File => is_temp(path) && remove_abandoned(path),
            Kind::Left => path != root && dir::remove_if_unused(path),
        };
        if gone {
            removed.push(path.to_owned());
        }
    })?;
    Ok(removed)
}

/// As [`sweep`], but the temporary files of this one directory only: for a directory
/// that other programs use too.
pub fn sweep_temps(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    walk(dir, 1, &mut |path, kind| {
        if kind == Kind::File && is_temp(path) && remove_abandoned(path) {
            removed.push(path.to_owned());
        }
    })?;
    Ok(removed)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A regular file.
    File,
    /// A directory, after all that is in it.
    Left,
}

fn walk(dir: &Path, depth: usize, visit: &mut dyn FnMut(&Path, Kind)) -> Result<()> {
    for entry in entries(dir)? {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_file() => visit(&path, Kind::File),
            Ok(kind) if kind.is_dir() && depth > 1 => walk(&path, depth - 1, visit)?,
            // Links, sockets and the like, or gone by now.
            _ => {}
        }
    }
    visit(dir, Kind::Left);
    Ok(())
}

/// The entries of a directory; none if it isn't there.
pub(crate) fn entries(dir: &Path) -> Result<Vec<DirEntry>> {
    let fail = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(Error::io("read directory", dir, &e)),
    };
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>().or_else(fail),
        Err(error) => fail(error),
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_temp(path: &Path) -> bool {
    is_hidden(path) && path.extension().is_some_and(|end| end == "tmp")
}
