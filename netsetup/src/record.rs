//! What an attachment leaves on disk: one file, complete before the first
//! change is made, so that whatever happens next can be undone.
//!
//! ```text
//! /run/podkeel/net/<network>/<container>/<ifname>.json   the attachment
//! /run/podkeel/held/<object>/<attachment>                who holds what is shared
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use podkeel_keep as keep;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conf::Chain;
use crate::error::{Error, Kind, Result};
use crate::kernel::NetnsId;
use crate::names::Mark;
use crate::plan::{Object, Plan, Pod, Side};
use crate::request::{Mac, Wishes};
use crate::roots::Roots;

/// Which attachment: the three words that name it everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id {
    /// Network.
    pub network: String,
    /// Container id.
    pub container: String,
    /// Interface in the pod.
    pub ifname: String,
    /// Which plugin of a chain, where a runtime calls each by itself and it isn't the one
    /// that makes the interface: `portmap`, `tuning`. No interface's name has a ':'.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub part: String,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container, self.last())
    }
}

impl Id {
    /// Where its record is, below [`Roots::net`].
    pub fn relative(&self) -> PathBuf {
        let name = |text: &str| keep::file_name(text);
        PathBuf::from(name(&self.network))
            .join(name(&self.container))
            .join(name(&self.last()) + ".json")
    }

    /// Interface and part: `eth0`, `eth0:portmap`.
    fn last(&self) -> String {
        match self.part.as_str() {
            "" => self.ifname.clone(),
            part => format!("{}:{part}", self.ifname),
        }
    }

    /// The mark of one life of it.
    pub fn mark(&self, root: u32, random: u64) -> Mark {
        Mark::new(root, random, &self.network, &self.container, &self.last())
    }
}

/// How far an attachment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Intent: any of its plan may be there.
    Adding,
    /// All of its plan is there.
    Complete,
    /// It is being taken away: any of its plan may be gone.
    Deleting,
}

impl State {
    /// How a verb was cut off, if nobody is at work on a record that says this.
    pub fn cut_off(self) -> Option<&'static str> {
        match self {
            State::Adding => Some("its add was cut off"),
            State::Deleting => Some("its del was cut off"),
            State::Complete => None,
        }
    }
}

/// A process, so that another one with its pid is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    pub start: u64,
}

impl Process {
    /// Reads a living process; `None` where there is none, or a zombie.
    pub fn read(pid: i32) -> Option<Process> {
        Process::find(pid).ok().flatten()
    }

    /// The same, where what can't be read must not pass for what isn't there.
    ///
    /// # Errors
    /// Those of reading /proc, but for the two that say that there is no such process.
    pub fn find(pid: i32) -> std::io::Result<Option<Process>> {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => Ok(Process::parse(pid, &stat)),
            // It may end between the two calls.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn parse(pid: i32, stat: &str) -> Option<Process> {
        // The name in parentheses may hold anything; the last ')' ends it.
        let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
        let state = fields.next()?;
        let start = fields.nth(18)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Process { pid, start })
    }

    /// Whether it still runs.
    pub fn lives(&self) -> bool {
        Process::read(self.pid).as_ref() == Some(self)
    }
}

/// The record of an attachment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attachment {
    /// How far it has come. First, for those who read the file themselves.
    pub state: State,
    /// Which attachment.
    pub id: Id,
    /// Where the network's list came from.
    pub source: String,
    /// By which its objects are known.
    pub mark: Mark,
    /// /proc/sys/kernel/random/boot_id: nothing of the kernel's survives a boot.
    pub boot: String,
    /// The pod's namespace.
    pub netns: NetnsId,
    /// The id by which the host's namespace knows the pod's, once a veth links them.
    pub nsid: Option<u32>,
    /// The container's first process, where it is known.
    pub process: Option<Process>,
    /// The container's bundle, where a runtime's hook made it: ids are unique
    /// among the containers of one runtime's root only.
    pub bundle: Option<String>,
    /// What was asked for.
    pub wishes: Wishes,
    /// Everything that is made, and what was before.
    pub plan: Plan,
    /// What `add` answered: a CNI result.
    pub result: Value,
    /// The handles of the rules that accept an address's packets: found without a list of
    /// those of all pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accepts: BTreeMap<IpAddr, Vec<u64>>,
    /// The plugins that were called one by one so far, where some of them aren't ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
}

impl Attachment {
    /// The record's text.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let what = || format!("write the record of {}", self.id);
        let mut bytes = serde_json::to_vec(self)
            .map_err(|e| Error::new(Kind::Failed, what(), e.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The shared objects that it holds.
    pub fn shared(&self) -> impl Iterator<Item = &Object> {
        self.plan.steps.iter().filter(|s| s.is_held()).map(|s| &s.what)
    }

    /// Its interface in the pod: name and link-layer address.
    pub fn peer(&self) -> Option<(&str, Mac)> {
        self.plan.steps.iter().find_map(|step| match &step.what {
            Object::Veth(veth) => Some((veth.peer.as_str(), veth.peer_mac)),
            Object::Device(device) if step.at == Side::Pod => {
                Some((device.name.as_str(), device.address()?))
            }
            Object::Lent(lent) => Some((lent.to.as_str(), lent.mac?)),
            _ => None,
        })
    }

    /// Whether an open namespace is the pod's.
    pub fn is_in(&self, pod: &mut Pod) -> Result<bool> {
        // Which can be told without asking what it is.
        Ok(self.netns.inode == pod.netns.inode && self.netns.is(&pod.id()?))
    }

    /// The pins that keep its namespace.
    pub fn pins(&self) -> impl Iterator<Item = PathBuf> {
        self.plan.steps.iter().filter_map(|step| match &step.what {
            Object::Pin { dir, name } => Some(dir.join(name)),
            _ => None,
        })
    }

    /// Its name among the holders of what is shared.
    pub fn holder(&self) -> String {
        self.mark.id()
    }
}

impl Roots {
    /// Where attachments are.
    pub fn net(&self) -> PathBuf {
        self.run.join("net")
    }

    /// Where the namespaces of pods are pinned that have something of the host's.
    pub fn pins(&self) -> PathBuf {
        self.run.join("pins")
    }

    /// Where the holders of shared objects are, by [`Roots::id`]: what has one
    /// name in two network namespaces is two objects.
    pub fn held(&self, root: u32) -> PathBuf {
        self.run.join("held").join(format!("{root:06x}"))
    }
}

/// What a file among the records holds.
#[derive(Debug)]
pub enum Read {
    /// A record.
    Whole(Box<Attachment>),
    /// The beginning of one, or nothing: whoever wrote it was cut off.
    Torn,
    /// A record of a version that says more than this one knows; its mark, if it has one.
    Unknown(Option<Mark>),
}

impl Read {
    /// Reads a record's text.
    pub fn new(bytes: &[u8]) -> Read {
        match serde_json::from_slice(bytes) {
            Ok(attachment) => Read::Whole(Box::new(attachment)),
            Err(error) if error.is_data() => {
                let mark = serde_json::from_slice::<Value>(bytes).ok().map(|v| v["mark"].clone());
                Read::Unknown(mark.and_then(|mark| serde_json::from_value(mark).ok()))
            }
            Err(_) => Read::Torn,
        }
    }

    /// The record, if it is whole.
    pub fn whole(self) -> Option<Attachment> {
        match self {
            Read::Whole(attachment) => Some(*attachment),
            Read::Torn | Read::Unknown(_) => None,
        }
    }

    /// The mark of the record's objects, if it can be read.
    pub fn mark(&self) -> Option<&Mark> {
        match self {
            Read::Whole(attachment) => Some(&attachment.mark),
            Read::Unknown(mark) => mark.as_ref(),
            Read::Torn => None,
        }
    }
}

/// What is among the records under a container's name: its own directory of
/// each network, and so no other container's unless both names are long.
pub fn of_container(roots: &Roots, container: &str) -> Result<Vec<Read>> {
    let mut found = Vec::new();
    let networks = match std::fs::read_dir(roots.net()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        other => other.map_err(|e| Error::io("list networks with attachments", &e))?,
    };
    for network in networks {
        let network = network.map_err(|e| Error::io("list networks with attachments", &e))?;
        let dir = network.path().join(keep::file_name(container));
        for file in keep::list(&dir).map_err(|e| kept("list records", &e))? {
            found.extend(read(&dir.join(file))?);
        }
    }
    Ok(found)
}

/// All records of attachments to a network, as they can be read.
pub fn of_network(roots: &Roots, network: &str) -> Result<Vec<Read>> {
    let dir = roots.net().join(keep::file_name(network));
    let mut found = Vec::new();
    for file in keep::list(&dir).map_err(|e| kept("list records", &e))? {
        found.extend(read(&dir.join(file))?);
    }
    Ok(found)
}

/// Reads one file among the records; `None` where it is gone by now.
fn read(path: &Path) -> Result<Option<Read>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(Read::new(&bytes))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(format!("read record {}", path.display()), &e)),
    }
}

/// All records that are whole.
pub fn whole(roots: &Roots) -> Result<Vec<Attachment>> {
    Ok(all(roots)?.into_iter().filter_map(|(_, read)| read.whole()).collect())
}

/// An error about a record of another version.
pub fn unknown(what: impl Into<String>) -> Error {
    Error::new(Kind::Unsupported, what, "its record was written by another version of podkeel")
        .hint("use that version's netsetup")
}

/// An error about an attachment that was made from another network namespace.
pub fn elsewhere(what: impl Into<String>, attachment: &Attachment) -> Error {
    let why =
        "it was made from another network namespace of the host, or for another run directory";
    Error::new(Kind::Taken, what, why)
        .hint(format!("its objects wear the mark {:?}", attachment.mark.to_string()))
}

/// Reads all records that are there, torn ones too.
pub fn all(roots: &Roots) -> Result<Vec<(PathBuf, Read)>> {
    let net = roots.net();
    let mut found = Vec::new();
    for relative in keep::list(&net).map_err(|e| kept("list records", &e))? {
        if let Some(there) = read(&net.join(&relative))? {
            found.push((relative, there));
        }
    }
    Ok(found)
}

/// This boot's id.
pub fn boot_id() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read the boot id", &e))?;
    Ok(text.trim().to_owned())
}

/// An error of the records on disk, in our words.
pub fn kept(what: impl Into<String>, error: &keep::Error) -> Error {
    let out = Error::errno(what, error.errno());
    let text = error.to_string();
    // It may say the same already: "cannot lock /run/podkeel: ...".
    let why = text.strip_prefix(&format!("cannot {}: ", out.what)).unwrap_or(&text).to_owned();
    Error { why, ..out }
}
