//! `netsetup install DIR`: one name for each plugin, all of them one file.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::cni::NAMES;
use crate::error::{Context, Error, Kind, Result};

/// Gives the program at `program` each plugin's name in `dir`, which is made if it is
/// missing: as a hard link, or across file systems as a symbolic one. A name that leads to
/// this very file stays; another file under one is replaced at once, never removed first.
/// Returns the names.
pub fn install(program: &Path, dir: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).ctx(|| format!("make directory {}", dir.display()))?;
    let program = program.canonicalize().ctx(|| format!("find {}", program.display()))?;
    NAMES.iter().map(|name| put(&program, &dir.join(name))).collect()
}

fn put(program: &Path, place: &Path) -> Result<PathBuf> {
    let what = || format!("install {}", place.display());
    let ours = fs::metadata(program).ctx(what)?;
    if let Ok(there) = fs::metadata(place) {
        if there.is_dir() {
            return Err(Error::new(Kind::Taken, what(), "it is a directory"));
        }
        if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) {
            return Ok(place.to_owned());
        }
    }
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = place.with_file_name(format!(".{name}.{}", std::process::id()));
    // Left by one that was killed, and had this number.
    let _ = fs::remove_file(&beside);
    match fs::hard_link(program, &beside) {
        Err(e) if e.raw_os_error() == Some(libc::EXDEV) => symlink(program, &beside).ctx(what)?,
        other => other.ctx(what)?,
    }
    fs::rename(&beside, place).ctx(what)?;
    Ok(place.to_owned())
}
