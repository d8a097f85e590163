//! What shim knows of a container: one file, complete before anything is made, so that
//! whatever happens next can be undone.
//!
//! ```text
//! /run/podkeel/pods/<name>/container.json   the record; its flock says that somebody is at work
//! /run/podkeel/pods/<name>/exit.json        how it ended, from the process that waited for it
//! /run/podkeel/pods/<name>/log              output of a detached one
//! /run/podkeel/bundles/<id>/config.json     for a runtime: the copy that it is given
//! /run/podkeel/bundles/<id>/pid             from the runtime: the first process
//! /run/podkeel/ns/<id>/{ipc,uts}            namespaces of a base, pinned
//! /run/podkeel/ns/<id>/shm                  its /dev/shm
//! /run/netns/<name>                         its network namespace, pinned
//! ```
//!
//! The directory is the claim on the name. The id is chosen once and stays; a container
//! that is renamed keeps it, and so do the attachments that are on record under it.

mod find;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use find::{all, by_id, find, read};
use podkeel_keep::{self as keep, Wait};
use podkeel_netsetup::error::{Error, Kind, Result};
use podkeel_netsetup::kernel::{NsId, NsKind};
use podkeel_netsetup::record::{Process, boot_id};
use podkeel_netsetup::request::names::check_name;
use podkeel_netsetup::roots::Roots;
use serde::{Deserialize, Serialize};

/// The record's file name.
const FILE: &str = "container.json";

/// The file with the exit status.
const EXIT: &str = "exit.json";

/// How long a verb waits for another that is at work on the same container.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The longest name: with it, every path that is made of it is a path.
const NAME_MAX: usize = 128;

/// How far a container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Intent: any of it may be there.
    Creating,
    /// All of it is there.
    Ready,
    /// It is being taken away: any of it may be gone.
    Removing,
}

/// What a container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Holds a pod's namespaces; its process is pause.
    Base,
    /// A process that joined.
    Member,
    /// A container of an OCI runtime that joined.
    Bundle {
        /// The runtime's program.
        runtime: String,
        /// The bundle that its user named.
        bundle: PathBuf,
    },
}

/// One namespace of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// As it was chosen: `private`, `host`, `container:base`, `ns:/run/netns/web`.
    pub how: String,
    /// The container whose it is, by id, where it is another's.
    pub of: Option<String>,
    /// Which it is.
    pub identity: Option<NsId>,
    /// Where it is pinned.
    pub pin: Option<PathBuf>,
    /// Where it is pinned, too, while the container is renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<PathBuf>,
}

/// One attachment to a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The network's name.
    pub network: String,
    /// The interface.
    pub ifname: String,
    /// Addresses with prefix lengths.
    pub addresses: Vec<String>,
}

/// The record of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Container {
    /// How far it has come. First, for those who read the file themselves.
    pub phase: Phase,
    /// Chosen once, and unique: netsetup's records call it so.
    pub id: String,
    /// As its user calls it.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// The id of the base whose pod it belongs to.
    pub pod: Option<String>,
    /// /proc/sys/kernel/random/boot_id: no process and no namespace survives a boot.
    pub boot: String,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
    /// Its first process.
    pub process: Option<Process>,
    /// Who waits for that one, and writes down how it ended.
    pub monitor: Option<Process>,
    /// Its namespaces.
    pub namespaces: BTreeMap<NsKind, Space>,
    /// Its networks.
    pub networks: Vec<Attached>,
    /// Its published ports, as they were asked for.
    pub ports: Vec<String>,
    /// Its command line.
    pub command: Vec<String>,
    /// Whether it has a pause at all (`--no-pause`).
    pub pause: bool,
    /// Its host name, where one was asked for.
    pub hostname: Option<String>,
    /// Whether its output goes to its log.
    pub log: bool,
}

/// How a container's first process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Whose: the file may have been left by another of the same name.
    pub id: String,
    /// As a shell tells it: 128 + the signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// What is known of a container's process now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its making or its removal was cut off; only taking it away is left.
    Broken,
    /// Somebody is at work on it.
    Busy,
    /// Its process lives.
    Running,
    /// It has no process by intent: the namespaces are all.
    Pinned,
    /// It ended; how is known if somebody waited for it.
    Exited(Option<Exit>),
}

impl State {
    /// The status of an OCI state, or a word of ours where that has none.
    pub fn word(&self) -> &'static str {
        match self {
            State::Broken => "broken",
            State::Busy => "creating",
            State::Running => "running",
            State::Pinned => "pinned",
            State::Exited(_) => "stopped",
        }
    }
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The directory of all containers.
pub fn pods(roots: &Roots) -> PathBuf {
    roots.run.join("pods")
}

/// Checks a container's name.
pub fn check(name: &str) -> Result<()> {
    let long = (name.len() > NAME_MAX).then_some("must not be longer than 128 bytes");
    match check_name(name).err().or(long) {
        None => Ok(()),
        Some(why) => Err(Error::input(format!("use {name:?} as name"), why)),
    }
}

/// A random part of names: six hex digits.
fn random() -> Result<String> {
    let mut bytes = [0; 3];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::errno("choose a random id", e.raw_os_error()))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// The name that was given, or a random one that begins so.
pub fn name_or(given: Option<&String>, begin: &str) -> Result<String> {
    match given {
        Some(name) => Ok(name.clone()),
        None => Ok(format!("{begin}-{}", random()?)),
    }
}

impl Container {
    /// A record of something that isn't made yet.
    pub fn new(name: &str, role: Role) -> Result<Container> {
        check(name)?;
        Ok(Container {
            phase: Phase::Creating,
            id: format!("{name}-{}", random()?),
            name: name.to_owned(),
            role,
            pod: None,
            boot: boot_id()?,
            created: now(),
            process: None,
            monitor: None,
            namespaces: BTreeMap::new(),
            networks: Vec::new(),
            ports: Vec::new(),
            command: Vec::new(),
            pause: false,
            hostname: None,
            log: false,
        })
    }

    /// The directory of its files.
    pub fn dir(&self, roots: &Roots) -> PathBuf {
        pods(roots).join(&self.name)
    }

    /// The file of its output.
    pub fn log_path(&self, roots: &Roots) -> PathBuf {
        self.dir(roots).join("log")
    }

    /// The directory of its pins.
    pub fn ns_dir(&self, roots: &Roots) -> PathBuf {
        roots.run.join("ns").join(&self.id)
    }

    /// The bundle that its runtime is given. By the id: the runtime remembers where it
    /// is, and a rename must not take it away.
    pub fn bundle_dir(&self, roots: &Roots) -> PathBuf {
        roots.run.join("bundles").join(&self.id)
    }

    /// Whether it is a base.
    pub fn is_base(&self) -> bool {
        self.role == Role::Base
    }

    /// Whether its first process lives, and is the one that was recorded.
    pub fn lives(&self, boot: &str) -> bool {
        self.boot == boot && self.process.is_some_and(|p| p.lives())
    }

    /// How it stands with it now.
    pub fn state(&self, roots: &Roots, boot: &str) -> State {
        if self.phase != Phase::Ready {
            let cut_off = Held::try_open(roots, &self.name).is_ok_and(|held| held.is_some());
            return if cut_off { State::Broken } else { State::Busy };
        }
        if self.lives(boot) {
            return State::Running;
        }
        match self.boot == boot && self.is_base() && !self.pause {
            true => State::Pinned,
            false => State::Exited(self.exit(roots)),
        }
    }

    /// How its first process ended, if somebody waited for it.
    pub fn exit(&self, roots: &Roots) -> Option<Exit> {
        let text = std::fs::read(self.dir(roots).join(EXIT)).ok()?;
        serde_json::from_slice(&text).ok().filter(|exit: &Exit| exit.id == self.id)
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).map_err(|e| {
            Error::new(Kind::Failed, format!("write the record of {}", self.name), e.to_string())
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// Writes down how a container ended. The directory is given open, for the container
/// may be renamed meanwhile.
pub fn write_exit(dir: &Path, exit: &Exit) -> Result<()> {
    let bytes = serde_json::to_vec(exit).unwrap_or_default();
    keep::replace(dir, EXIT, &bytes, keep::Modes::PRIVATE, Wait::Until(PATIENCE))
        .map_err(|e| kept(format!("write {}", dir.join(EXIT).display()), &e))
}

/// A failure of a record's file in shim's words.
pub fn kept(what: String, error: &keep::Error) -> Error {
    Error::errno(what, error.errno())
}

/// A record that this process is at work on: nobody else is.
#[derive(Debug)]
pub struct Held {
    record: keep::Record,
    /// What it says.
    pub container: Container,
}

impl Held {
    /// Claims the container's name. One who was cut off in the middle has no name any
    /// more once `undo` has taken away what there is of it.
    ///
    /// # Errors
    /// [`Kind::Taken`], naming who has it.
    pub fn claim(
        roots: &Roots,
        container: Container,
        undo: impl Fn(Held) -> Result<()>,
    ) -> Result<Held> {
        let name = container.name.clone();
        let what = || format!("make container {name}");
        let relative = Path::new(&name).join(FILE);
        let bytes = container.bytes()?;
        // Others may take the name between our looks at it.
        for _ in 0..10 {
            match keep::Record::create(&pods(roots), &relative, &bytes) {
                Ok(record) => return Ok(Held { record, container }),
                Err(e) if e.is_taken() => {}
                Err(e) => return Err(kept(what(), &e)),
            }
            match Held::try_open(roots, &name)? {
                Some(held) if held.container.phase == Phase::Ready => {
                    let since = held.container.state(roots, &boot_id()?).word();
                    return Err(Error::new(
                        Kind::Taken,
                        what(),
                        format!("there is one of that name, and it is {since}"),
                    )
                    .hint(format!("another --name, or: shim rm {name}")));
                }
                Some(held) => undo(held)?,
                None if pods(roots).join(&relative).exists() => {
                    let why = "another shim is at work on one of that name";
                    return Err(Error::new(Kind::Taken, what(), why));
                }
                None => {}
            }
        }
        Err(Error::new(Kind::Taken, what(), "others come and go with that name"))
    }

    /// Opens a record to work on it; waits for others who are.
    ///
    /// # Errors
    /// [`Kind::Missing`] where there is none of that name.
    pub fn open(roots: &Roots, name: &str) -> Result<Held> {
        check(name)?;
        Held::open_within(roots, name, Wait::Until(PATIENCE))?.ok_or_else(|| missing(name))
    }

    /// The same without waiting: `None` where there is none, or somebody is at work on it.
    pub fn try_open(roots: &Roots, name: &str) -> Result<Option<Held>> {
        Held::open_within(roots, name, Wait::No)
    }

    fn open_within(roots: &Roots, name: &str, wait: Wait) -> Result<Option<Held>> {
        let record =
            match keep::Record::open_locked(&pods(roots), &Path::new(name).join(FILE), wait) {
                Ok(record) => record,
                Err(e) if e.is_missing() => return Ok(None),
                Err(e) if e.is_busy() && matches!(wait, Wait::No) => return Ok(None),
                Err(e) => return Err(kept(format!("work on container {name}"), &e)),
            };
        let bytes = record.read().map_err(|e| kept(format!("read the record of {name}"), &e))?;
        let container = parse(name, &bytes)?;
        Ok(Some(Held { record, container }))
    }

    /// Puts what the container is now in the place of what it was.
    pub fn write(&mut self) -> Result<()> {
        let what = || format!("write the record of {}", self.container.name);
        self.record.replace(&self.container.bytes()?).map_err(|e| kept(what(), &e))
    }

    /// Gives the container another name; what is pinned under the old one is the caller's.
    ///
    /// # Errors
    /// [`Kind::Taken`]: somebody has that name. All is as it was then.
    pub fn rename(&mut self, to: &str) -> Result<()> {
        let what = || format!("rename {} to {to}", self.container.name);
        self.record.rename_dir(to).map_err(|e| kept(what(), &e))?;
        to.clone_into(&mut self.container.name);
        self.write()
    }

    /// Removes the record, and with it the claim on the name. The last step of all.
    pub fn remove(self, roots: &Roots) -> Result<()> {
        let dir = self.container.dir(roots);
        let what = || format!("remove {}", dir.display());
        for file in ["log", EXIT] {
            match std::fs::remove_file(dir.join(file)) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(what(), &e)),
                _ => {}
            }
        }
        // Of one who was killed while he wrote there.
        let _ = keep::sweep_temps(&dir);
        self.record.remove().map_err(|e| kept(what(), &e))
    }
}

fn parse(name: &str, bytes: &[u8]) -> Result<Container> {
    let mut container: Container = serde_json::from_slice(bytes).map_err(|e| {
        Error::new(Kind::Failed, format!("read the record of {name}"), e.to_string())
            .hint("was it written by another version of shim?")
    })?;
    // The directory is the name, also when a rename was cut off behind it.
    name.clone_into(&mut container.name);
    Ok(container)
}

/// There is no such container.
pub fn missing(name: &str) -> Error {
    Error::new(Kind::Missing, format!("find container {name}"), "there is none of that name")
        .hint("shim ps lists all")
}
