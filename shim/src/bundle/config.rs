//! config.json of a bundle, as a container of a pod gets it.
//!
//! It is read by the specification's types and written as it was read: what they don't
//! know stays. Only what joining needs is changed.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespace, Mount};
use podkeel_netsetup::error::{Error, Kind, Result};
use podkeel_netsetup::kernel::NsKind;
use serde_json::{Map, Value, json};

use crate::ns::{self, Mode};

/// The file of a bundle, and of the copy.
pub(super) const FILE: &str = "config.json";

/// Where POSIX shared memory is.
const SHM: &str = "/dev/shm";

/// Options of a mount that hold for a bind mount, too; the others are the tmpfs's own
/// (mount(8), tmpfs(5)).
const OF_ANY_MOUNT: [&str; 20] = [
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
];

/// What a bundle says of itself.
#[derive(Debug)]
pub(super) struct Config {
    json: Value,
    /// The bundle, absolute.
    dir: PathBuf,
    namespaces: Vec<LinuxNamespace>,
    mounts: Vec<Mount>,
}

impl Config {
    /// Reads a bundle's.
    ///
    /// # Errors
    /// No bundle there ([`Kind::Missing`]), or a config.json that no runtime could take
    /// for Linux ([`Kind::Input`]).
    pub(super) fn read(bundle: &Path) -> Result<Config> {
        let what = || format!("read bundle {}", bundle.display());
        let io = |e: &std::io::Error| {
            let error = Error::io(what(), e);
            if error.kind == Kind::Missing {
                return error.hint("a bundle is a directory with config.json in it");
            }
            error
        };
        let dir = bundle.canonicalize().map_err(|e| io(&e))?;
        let text = std::fs::read(dir.join(FILE)).map_err(|e| io(&e))?;
        Config::parse(dir, &text).map_err(|why| Error::input(what(), format!("{FILE}: {why}")))
    }

    fn parse(dir: PathBuf, text: &[u8]) -> std::result::Result<Config, String> {
        let json: Value = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let Some(linux) = json.get("linux").and_then(Value::as_object) else {
            return Err("it has no linux section".into());
        };
        let namespaces =
            listed(linux.get("namespaces")).map_err(|e| format!("linux.namespaces: {e}"))?;
        let mounts = listed(json.get("mounts")).map_err(|e| format!("mounts: {e}"))?;
        Ok(Config { dir, namespaces, mounts, json })
    }

    /// The bundle, absolute.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its program and that one's words.
    pub(super) fn command(&self) -> Vec<String> {
        let words = self.json["process"]["args"].as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    }

    /// Whether its program wants a terminal.
    pub(super) fn terminal(&self) -> bool {
        self.json["process"]["terminal"] == true
    }

    /// What it says of a kind of namespaces.
    pub(super) fn mode(&self, kind: NsKind) -> Mode {
        match self.namespaces.iter().find(|entry| is(entry, kind)).map(LinuxNamespace::path) {
            None => Mode::Host,
            Some(None) => Mode::Private,
            Some(Some(path)) => Mode::Path(path.clone()),
        }
    }

    /// Puts one entry in the place of all that it has of a kind; `None` is the host's.
    pub(super) fn set(&mut self, kind: NsKind, entry: Option<Entry>) {
        let entry = entry.map(|entry| match entry {
            Entry::Own => json!({"type": ns::oci_name(kind)}),
            Entry::At(path) => json!({"type": ns::oci_name(kind), "path": path}),
        });
        let Some(linux) = self.json["linux"].as_object_mut() else { return };
        let list = linux.entry("namespaces").or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        let Some(list) = list.as_array_mut() else { return };
        let place = self.namespaces.iter().position(|entry| is(entry, kind));
        let mut at = 0;
        list.retain(|_| {
            at += 1;
            !is(&self.namespaces[at - 1], kind)
        });
        if let Some(entry) = entry {
            list.insert(place.unwrap_or(list.len()), entry);
        }
        // The same change, as the specification reads it.
        self.namespaces = listed(Some(&Value::Array(list.clone()))).unwrap_or_default();
    }

    /// Whether it has a /dev/shm of its own.
    pub(super) fn has_own_shm(&self) -> bool {
        self.mounts.iter().any(is_own_shm)
    }

    /// Makes its own /dev/shm another's, which is mounted at this path.
    pub(super) fn share_shm(&mut self, source: &Path) {
        for (i, mount) in self.mounts.iter().enumerate().filter(|(_, mount)| is_own_shm(mount)) {
            let options = mount.options().iter().flatten();
            let kept = options.filter(|o| OF_ANY_MOUNT.contains(&o.as_str())).map(String::as_str);
            let options: Vec<&str> = ["bind"].into_iter().chain(kept).collect();
            let entry = &mut self.json["mounts"][i];
            entry["type"] = json!("bind");
            entry["source"] = json!(source);
            entry["options"] = json!(options);
        }
    }

    /// Takes out what would rename whoever shares the uts namespace; returns it.
    pub(super) fn leave_names(&mut self) -> Vec<String> {
        let Some(all) = self.json.as_object_mut() else { return Vec::new() };
        let keys = ["hostname", "domainname"];
        let taken = keys.into_iter().filter_map(|key| Some((key, all.shift_remove(key)?)));
        let said = taken.filter(|(_, value)| !value.is_null() && *value != "");
        said.map(|(key, value)| format!("{key} {value}")).collect()
    }

    /// Makes the paths absolute that are meant from the bundle's directory.
    pub(super) fn settle_paths(&mut self) {
        let dir = self.dir.clone();
        if let Some(root) = self.json.get_mut("root").and_then(Value::as_object_mut) {
            make_absolute(root, "path", &dir);
        }
        for (i, mount) in self.mounts.iter().enumerate() {
            // A source that is no path belongs to the file system's type.
            let options = mount.options().iter().flatten();
            let binds = mount.typ().as_deref() == Some("bind")
                || options.into_iter().any(|o| o == "bind" || o == "rbind");
            if let Some(entry) = self.json["mounts"][i].as_object_mut().filter(|_| binds) {
                make_absolute(entry, "source", &dir);
            }
        }
    }

    /// The whole, for a file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(&self.json).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

/// A namespace of its own, or the one at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Own,
    At(PathBuf),
}

fn listed<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> serde_json::Result<Vec<T>> {
    let all: Option<Vec<T>> = serde_json::from_value(value.cloned().unwrap_or(Value::Null))?;
    Ok(all.unwrap_or_default())
}

fn is(entry: &LinuxNamespace, kind: NsKind) -> bool {
    // Its numbers are those of clone(2), as ours are.
    entry.typ() as i32 == kind.flag()
}

fn is_own_shm(mount: &Mount) -> bool {
    // By parts: "/dev/shm/" is the same place.
    mount.typ().as_deref() == Some("tmpfs")
        && mount.destination().components().eq(Path::new(SHM).components())
}

fn make_absolute(object: &mut Map<String, Value>, key: &str, from: &Path) {
    if let Some(path) = object.get(key).and_then(Value::as_str).filter(|path| !path.is_empty()) {
        let path = from.join(path);
        object.insert(key.into(), json!(path));
    }
}

#[cfg(test)]
mod tests;
