//! Records, read without a lock: whoever is at work on them.

use std::io::ErrorKind;

use podkeel_netsetup::error::{Error, Result};
use podkeel_netsetup::roots::Roots;

use super::{Container, FILE, check, missing, parse, pods};

/// Reads one record, whoever is at work on it; `None` where there is none.
pub fn read(roots: &Roots, name: &str) -> Result<Option<Container>> {
    let path = pods(roots).join(name).join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => parse(name, &bytes).map(Some),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Error::io(format!("read {}", path.display()), &e)),
    }
}

/// Reads one record that must be there.
pub fn find(roots: &Roots, name: &str) -> Result<Container> {
    check(name)?;
    read(roots, name)?.ok_or_else(|| missing(name))
}

/// Finds a container by its id, whatever its name is now.
pub fn by_id(roots: &Roots, id: &str) -> Result<Option<Container>> {
    Ok(all(roots)?.0.into_iter().find(|c| c.id == id))
}

/// All containers, oldest first; and what could not be read.
pub fn all(roots: &Roots) -> Result<(Vec<Container>, Vec<Error>)> {
    let dir = pods(roots);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        Err(e) => return Err(Error::io(format!("list {}", dir.display()), &e)),
    };
    let (mut all, mut bad) = (Vec::new(), Vec::new());
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(format!("list {}", dir.display()), &e))?;
        match read(roots, &entry.file_name().to_string_lossy()) {
            Ok(container) => all.extend(container),
            Err(error) => bad.push(error),
        }
    }
    all.sort_by(|a: &Container, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    Ok((all, bad))
}
