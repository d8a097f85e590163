//! Networks by name: the files of the configuration directories, and the one
//! that is built in.
//!
//! ```text
//! /etc/podkeel/net.d/        first directory of the list wins
//!   20-web.conflist          then *.conflist before *.conf and *.json, as libcni does,
//!   10-old.conf              then by file name; the name *inside* the file counts
//! /etc/cni/net.d/
//!   87-podman.conflist
//! bridge, none, host         built in: last, so that a file of the name replaces it
//! ```

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    Network, Source,
    json::{self, Node},
    parse_list, read_name,
};
use crate::{
    error::{Context, Error, Kind, Result},
    request::names::check_name,
    roots::Roots,
};

/// The network that is there without any file. IPv4 only, by choice: a unique
/// local IPv6 prefix is each site's own to draw (RFC 4193).
pub(super) const BUILTIN: &str = include_str!("../networks/bridge.conflist");

/// The networks that are there without any file.
const ALL: [(&str, &str); 3] = [
    ("bridge", BUILTIN),
    ("none", include_str!("../networks/none.conflist")),
    ("host", include_str!("../networks/host.conflist")),
];

/// No network list is anywhere near this long; a device file or a log is.
const LENGTH_MAX: u64 = 1 << 20;

/// Finds a network by its name, or reads a file: what contains a `/` or ends in
/// `.conflist`, `.conf` or `.json` is a file, everything else a name.
///
/// A file in a configuration directory that cannot be read hides no other: the
/// search goes on, and the file is mentioned only if nothing is found. A file
/// that has the wanted name but is wrong in it is an error.
///
/// Errors: `Kind::Missing` naming the networks that there are and the directories
/// that were looked in; otherwise as [`super::parse`].
pub fn find(name_or_file: &str, roots: &Roots) -> Result<Network> {
    let (text, source) = text_of(name_or_file, roots)?;
    load(&text, source)
}

/// The same, unread.
pub(super) fn text_of(name_or_file: &str, roots: &Roots) -> Result<(String, Source)> {
    let file = |path: &Path| Ok((read_text(path)?, Source::File(path.to_owned())));
    if is_file_name(name_or_file) {
        return file(Path::new(name_or_file));
    }
    check_name(name_or_file)
        .map_err(|why| Error::input("find network", format!("{name_or_file:?} {why}")))?;
    let mut seen = Vec::new();
    let mut broken = Vec::new();
    for candidate in candidates(roots) {
        match candidate.and_then(|path| Ok((name_in(&path)?, path))) {
            Ok((name, path)) if name == name_or_file => return file(&path),
            Ok(other) => seen.push(other),
            Err(error) => broken.push(error),
        }
    }
    if let Some((_, text)) = ALL.iter().find(|(name, _)| *name == name_or_file) {
        return Ok(((*text).to_owned(), Source::Builtin));
    }
    Err(missing(name_or_file, roots, seen, &broken))
}

/// The networks that [`find`] would find by name, each with where it is. What a
/// file holds beyond its name is not judged; files without a readable name are left out.
pub fn names(roots: &Roots) -> Vec<(String, Source)> {
    let named = candidates(roots).flatten().filter_map(|path| Some((name_in(&path).ok()?, path)));
    first_of_each(named)
}

fn is_file_name(text: &str) -> bool {
    text.contains('/') || Path::new(text).extension().is_some_and(is_conf_extension)
}

fn is_conf_extension(extension: &OsStr) -> bool {
    extension == "conflist" || extension == "conf" || extension == "json"
}

/// The files that may hold a network, in the order in which they count. A
/// directory that isn't there holds none.
fn candidates(roots: &Roots) -> impl Iterator<Item = Result<PathBuf>> {
    roots.conf.iter().flat_map(|dir| match files_in(dir) {
        Ok(files) => files.into_iter().map(Ok).collect(),
        Err(error) if error.kind == Kind::Missing => Vec::new(),
        Err(error) => vec![Err(error)],
    })
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("read directory {}", dir.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).ctx(what)? {
        let path = entry.ctx(what)?.path();
        if path.extension().is_some_and(is_conf_extension) && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort_by_key(|path| (path.extension() != Some(OsStr::new("conflist")), path.clone()));
    Ok(files)
}

fn read_text(path: &Path) -> Result<String> {
    let what = || format!("read network list {}", path.display());
    // Asked before opening: opening a fifo would wait for its writer.
    if !fs::metadata(path).ctx(what)?.is_file() {
        return Err(Error::input(what(), "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path).ctx(what)?.take(LENGTH_MAX + 1).read_to_end(&mut bytes).ctx(what)?;
    if bytes.len() as u64 > LENGTH_MAX {
        return Err(Error::input(what(), format!("longer than {LENGTH_MAX} bytes")));
    }
    String::from_utf8(bytes)
        .map_err(|e| Error::input(what(), format!("not UTF-8: {}", e.utf8_error())))
}

/// The name that a file gives its network.
fn name_in(path: &Path) -> Result<String> {
    let text = read_text(path)?;
    let named = json::value(&text).and_then(|value| {
        let root = Node::root(&value).object()?;
        read_name(&root).map(str::to_owned)
    });
    named.map_err(|fault| {
        Error::new(fault.kind, format!("read network list {}", path.display()), fault.why)
    })
}

/// Reads a list whose plugins are all ours.
pub(super) fn load(text: &str, source: Source) -> Result<Network> {
    let list = parse_list(text, source)?;
    if let (true, Source::File(path)) = (list.open_ended, &list.network.source) {
        refuse_plugin_folder(path, &list.network.name)?;
    }
    Ok(list.network)
}

/// libcni from 1.3 on takes more plugins of a list from files beside it,
/// `<name>/*.conf`, unless the list says `loadOnlyInlinedPlugins`. Leaving them
/// out silently would be another network than the one that was written down.
pub(super) fn refuse_plugin_folder(path: &Path, name: &str) -> Result<()> {
    let folder = path.with_file_name(name);
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(()) };
    if entries.flatten().any(|entry| entry.path().extension() == Some(OsStr::new("conf"))) {
        let what = format!("read network {name:?} ({})", path.display());
        let why = format!(
            "plugins in files of their own ({}/*.conf) are not supported yet",
            folder.display()
        );
        let hint =
            "write them into the list's plugins, or set loadOnlyInlinedPlugins to leave them out";
        return Err(Error::new(Kind::Unsupported, what, why).hint(hint));
    }
    Ok(())
}

/// What a name means when it is given more than once: its first file.
fn first_of_each(named: impl IntoIterator<Item = (String, PathBuf)>) -> Vec<(String, Source)> {
    let mut known: Vec<(String, Source)> = Vec::new();
    for (name, path) in named {
        if known.iter().all(|(other, _)| *other != name) {
            known.push((name, Source::File(path)));
        }
    }
    for (builtin, _) in ALL {
        if known.iter().all(|(name, _)| name != builtin) {
            known.push((builtin.to_owned(), Source::Builtin));
        }
    }
    known
}

fn missing(name: &str, roots: &Roots, seen: Vec<(String, PathBuf)>, broken: &[Error]) -> Error {
    let known = first_of_each(seen);
    let known: Vec<String> =
        known.iter().map(|(name, source)| format!("{name} ({source})")).collect();
    let dirs: Vec<String> = roots.conf.iter().map(|dir| dir.display().to_string()).collect();
    let mut why = format!(
        "there is none of that name in {}; there are: {}",
        dirs.join(", "),
        known.join(", ")
    );
    for error in broken {
        why += &format!("; cannot {}: {}", error.what, error.why);
    }
    Error::new(Kind::Missing, format!("find network {name:?}"), why)
}
