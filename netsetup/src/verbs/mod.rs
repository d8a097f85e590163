//! The verbs, written once for every driver.

mod add;
mod alive;
pub mod chain;
mod check;
mod del;
mod earlier;
pub mod gc;
mod group;
pub mod map;
pub mod ns;
mod plugin;
mod reclaim;
mod status;
mod sweep;
mod theirs;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub use add::{Added, Outcome, Prepared, add, explain};
pub use check::{Checked, check};
pub use del::{Deleted, del, del_container, del_with};
pub use plugin::{Valid, check_part, collect, has_record};
use podkeel_keep::{self as keep, Lock, Wait};
pub use status::{Unable, status};
pub use theirs::{Remains, TheirLink, TheirRules, detach};

use crate::conf::{self, Network};
use crate::error::{Error, Kind, Result};
use crate::ipam::Leases;
use crate::kernel::Netns;
use crate::record::{Id, Process, kept};
use crate::request::{SysctlSetting, Wishes};
use crate::result::CniResult;
use crate::roots::Roots;

/// How long one netsetup waits for another that is at work on the same thing.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest that an RCU grace period, in which nftables frees what was removed, is
/// likely to take.
const GRACE: Duration = Duration::from_millis(100);

/// How often one who waits looks whether a signal came.
const SIGNAL_EVERY: Duration = Duration::from_millis(100);

/// What every verb needs to know.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where state lives.
    pub roots: Roots,
    /// The signal that asks for an end, or 0. Whoever sets it gets a rollback.
    pub signal: Arc<AtomicUsize>,
    /// How plugins of a list are called one by one; `None` where that isn't to be.
    pub call: Option<chain::Caller>,
    root: OnceLock<u32>,
}

impl Context {
    /// A context that no signal interrupts.
    pub fn new(roots: Roots) -> Context {
        Context { roots, signal: Arc::default(), call: None, root: OnceLock::new() }
    }

    /// The same with a way to call plugins.
    #[must_use]
    pub fn calling(self, call: chain::Caller) -> Context {
        Context { call: Some(call), ..self }
    }

    /// [`Roots::id`], as it was when it was first asked for: the caller stays in one network
    /// namespace as long as this value lives.
    fn root(&self) -> Result<u32> {
        if let Some(id) = self.root.get() {
            return Ok(*id);
        }
        let id = self.roots.id()?;
        Ok(*self.root.get_or_init(|| id))
    }

    /// Where the holders of what this namespace's attachments share are.
    fn held(&self) -> Result<std::path::PathBuf> {
        Ok(self.roots.held(self.root()?))
    }

    /// Fails once a signal asked for an end.
    pub fn go_on(&self) -> Result<()> {
        match self.signal.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => {
                let why = format!("signal {signal} came; all was rolled back");
                Err(Error::new(Kind::Interrupted(signal as i32), "finish", why))
            }
        }
    }

    /// The lock around find-or-make of what attachments share. No signal ends the wait
    /// for it: what is being taken away must go on.
    fn lock(&self) -> Result<Lock> {
        self.lock_within(PATIENCE).map_err(|e| self.not_locked(&e))
    }

    /// The same where nothing has been changed yet: a signal ends the wait.
    fn lock_unless_signal(&self) -> Result<Lock> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.go_on()?;
            match self.lock_within(SIGNAL_EVERY) {
                Err(e) if e.is_busy() && Instant::now() < end => {}
                other => return other.map_err(|e| self.not_locked(&e)),
            }
        }
    }

    fn lock_within(&self, time: Duration) -> keep::Result<Lock> {
        Lock::exclusive(&self.roots.run, Wait::Until(time))
    }

    /// Records say what root is to undo: nobody else may write them.
    pub fn trust(&self) -> Result<()> {
        use std::os::unix::fs::MetadataExt;
        let run = &self.roots.run;
        let what = || format!("use {} for records", run.display());
        match std::fs::metadata(run) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io(what(), &e)),
            Ok(m) if m.uid() != rustix::process::geteuid().as_raw() && m.uid() != 0 => {
                let why = format!("it belongs to user {}", m.uid());
                Err(Error::new(Kind::Denied, what(), why))
            }
            Ok(m) if m.mode() & 0o022 != 0 => {
                Err(Error::new(Kind::Denied, what(), "others may write to it").hint("chmod go-w"))
            }
            Ok(_) => Ok(()),
        }
    }

    /// Notes that something was removed from nftables just now: whoever closes an nftables
    /// socket within the next moments would have to wait. The note is the time of the last
    /// access to the run directory, which nobody else needs; without it an add is slower.
    fn note_removal(&self) {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
        let set = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        let times = Timestamps { last_access: set(UTIME_NOW), last_modification: set(UTIME_OMIT) };
        let _ = utimensat(CWD, &self.roots.run, &times, AtFlags::empty());
    }

    /// Whether something was removed from nftables within the last moments.
    fn removed_lately(&self) -> bool {
        let accessed = std::fs::metadata(&self.roots.run).and_then(|run| run.accessed());
        accessed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < GRACE))
    }

    fn not_locked(&self, error: &keep::Error) -> Error {
        kept(format!("lock {}", self.roots.run.display()), error)
    }
}

impl Context {
    /// Removes the roots of records once nothing is in them any more.
    pub fn tidy(&self) {
        remove_unused(&self.roots.net());
        remove_unused(&self.roots.pins());
        // Best effort: the next one removes what is empty.
        if let Ok(held) = self.held() {
            held.ancestors().take(3).for_each(remove_unused);
        }
    }

    /// The same for the directories of one container, in every network: who was killed
    /// between making a directory and the record in it left them.
    fn tidy_container(&self, container: &str) {
        for network in std::fs::read_dir(self.roots.net()).into_iter().flatten().flatten() {
            remove_unused(&network.path().join(keep::file_name(container)));
            remove_unused(&network.path());
        }
        self.tidy();
    }
}

/// Removes a directory that is empty and that nobody has locked.
fn remove_unused(dir: &std::path::Path) {
    // Locking one that is missing would make it.
    if !matches!(dir.try_exists(), Ok(false))
        && let Ok(lock) = Lock::exclusive(dir, Wait::No)
    {
        lock.tidy();
    }
}

/// An attachment that somebody wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The network.
    pub network: Network,
    /// Container id.
    pub container: String,
    /// Name of the interface in the pod.
    pub ifname: String,
    /// What the caller asks for beyond the network's list.
    pub wishes: Wishes,
    /// Whether a default route may be set.
    pub default_route: bool,
    /// The container's bundle, where a runtime's hook asks.
    pub bundle: Option<String>,
    /// What a call as CNI plugin brings along.
    pub part: Option<Part>,
}

/// A runtime's call of one plugin of a chain.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Its name among the parts of the attachment, empty where it makes the interface.
    pub name: String,
    /// By what it was asked for: two calls that mean the same have the same.
    pub asked: String,
    /// Addresses that come from elsewhere: another address manager, or `prevResult`.
    pub given: Option<Leases>,
    /// What the plugins before this one have made.
    pub prev: Option<CniResult>,
}

impl Wanted {
    /// The sysctls to set, for this interface: the list's and the caller's. Of two
    /// values for one key the last one counts, and that is the caller's.
    pub fn sysctls(&self) -> Vec<SysctlSetting> {
        let mut last: Vec<SysctlSetting> = Vec::new();
        for setting in self.network.sysctls().chain(&self.wishes.sysctls) {
            let setting = setting.clone().on_interface(&self.ifname);
            last.retain(|earlier| earlier.path != setting.path);
            last.push(setting);
        }
        last
    }

    /// Fails for sysctls that the host's administrator doesn't let networks set.
    fn is_allowed(&self) -> Result<()> {
        conf::allow(self.network.sysctls().chain(&self.wishes.sysctls))
    }

    /// Whether the pod gets an interface of this name from it.
    pub fn makes_interface(&self) -> bool {
        self.network.makes_interface()
    }

    /// The chain of iptables by which packets to its ports are to be marked.
    fn asks_for_marks_of(&self) -> Option<&str> {
        let conf = self.network.portmap().filter(|_| !self.wishes.ports.is_empty())?;
        match conf.mark.as_ref().filter(|_| conf.snat)? {
            conf::MarkBy::Chain(chain) => Some(chain),
            conf::MarkBy::Bit(_) => None,
        }
    }

    /// What its record says of where it came from.
    pub fn source(&self) -> String {
        match &self.part {
            Some(part) => part.asked.clone(),
            None => self.network.source.to_string(),
        }
    }

    /// The three words that name it.
    pub fn id(&self) -> Id {
        let (network, container) = (self.network.name.clone(), self.container.clone());
        let part = self.part.as_ref().map(|part| part.name.clone()).unwrap_or_default();
        Id { network, container, ifname: self.ifname.clone(), part }
    }
}

/// Sets lo up in a namespace that is attached to nothing: 127.0.0.1 and ::1 are all it has.
pub fn loopback(netns: &Netns) -> Result<()> {
    netns.visit(crate::kernel::Rtnl::open)?.set_up("lo")
}

/// The pod that is to be attached.
#[derive(Debug)]
pub struct Target {
    /// Its namespace.
    pub netns: Netns,
    /// Its first process, where it is known.
    pub process: Option<Process>,
}

impl Target {
    /// The pod of a process.
    pub fn of_process(pid: i32) -> Result<Target> {
        let process = Process::read(pid);
        let netns = Netns::of_process(pid)?;
        // Read again: the namespace is that of this process and no later one.
        match process.filter(|p| p.lives()) {
            Some(process) => Ok(Target { netns, process: Some(process) }),
            None => {
                let what = format!("find the network namespace of process {pid}");
                Err(Error::new(Kind::Missing, what, "no such process, or it has ended"))
            }
        }
    }

    /// Whether it is the namespace that netsetup itself is in.
    pub fn is_host(&self) -> Result<bool> {
        Ok(Netns::own()?.same(&self.netns))
    }

    /// The pod behind a namespace's path.
    pub fn of_path(path: &std::path::Path) -> Result<Target> {
        Ok(Target { netns: Netns::open(path)?, process: None })
    }
}
