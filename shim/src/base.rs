//! A base: pause in namespaces of its own, its networks, and what keeps it all together.
//!
//! ```text
//!   claim the name ─► record ─► pause waits inside ─► record: pid, namespaces
//!                                      │
//!        pins ◄────────────────────────┤
//!        networks (netsetup) ◄─────────┤
//!                                      ▼
//!                                 sysctls, exec ─► record: ready
//! ```
//!
//! The record says what will be there before it is. Whoever is killed in between leaves a
//! record that nobody holds, and `undo` takes away what it names, whether it came to be or not.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use podkeel_keep as keep;
use podkeel_netsetup::conf::{self, Network};
use podkeel_netsetup::error::{Context as _, Error, Kind, Result};
use podkeel_netsetup::kernel::{Netns, Ns, NsId, NsKind};
use podkeel_netsetup::pins::{self, Pin};
use podkeel_netsetup::record::Process;
use podkeel_netsetup::request::{Publish, Wishes};
use podkeel_netsetup::verbs::{self, Outcome, Target, Wanted};

use crate::Shim;
use crate::alive::Living;
use crate::enter::{self, Entry, Waiting};
use crate::inside::Pause;
use crate::ns::{self, Mode};
use crate::process::{self, Child};
use crate::record::{Attached, Container, Held, Phase, Role, Space};
use crate::sysctl::Setting;

/// The kinds of namespaces that are pinned: these outlive their processes. A pid
/// namespace doesn't outlive its first process, pinned or not (pid_namespaces(7)).
const PINNED: [NsKind; 3] = [NsKind::Net, NsKind::Ipc, NsKind::Uts];

/// What is asked for.
#[derive(Debug)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Networks, or one of none and host.
    pub net: Vec<Mode>,
    /// Its own namespace, or the host's.
    pub ipc: Mode,
    /// The same.
    pub pid: Mode,
    /// The same.
    pub uts: Mode,
    /// Published ports.
    pub publish: Vec<String>,
    /// Sysctls.
    pub sysctls: Vec<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Whether there is a pause.
    pub pause: bool,
    /// Whether pause's output goes to the log.
    pub log: bool,
    /// Size of /dev/shm, in the words of tmpfs(5).
    pub shm_size: String,
}

/// What was understood of it; all that can be wrong with words is found before anything is made.
#[derive(Debug)]
struct Plan {
    private: Vec<NsKind>,
    networks: Vec<Network>,
    ports: Vec<Publish>,
    sysctls: Vec<Setting>,
}

fn read(shim: &Shim, wish: &Wish) -> Result<Plan> {
    let (networks, own_net) = read_net(shim, &wish.net)?;
    let mut private = Vec::new();
    for (kind, mode) in
        [(NsKind::Ipc, &wish.ipc), (NsKind::Uts, &wish.uts), (NsKind::Pid, &wish.pid)]
    {
        match mode {
            Mode::Private => private.push(kind),
            Mode::Host => {}
            other => {
                return Err(Error::input(
                    format!("use --{kind} {other} for a base"),
                    "a base has namespaces of its own: private, or host",
                )
                .hint("shim join is for those of others"));
            }
        }
    }
    if own_net {
        private.push(NsKind::Net);
    }
    if !wish.pause {
        private.retain(|kind| *kind != NsKind::Pid);
    }
    let has = |kind| private.contains(&kind);
    if networks.is_empty() && !wish.publish.is_empty() {
        return Err(Error::input("publish ports", "the pod is on no network"));
    }
    if wish.hostname.is_some() && !has(NsKind::Uts) {
        return Err(Error::input("set --hostname", "it would be the host's: --uts is host"));
    }
    let sysctls: Vec<Setting> =
        wish.sysctls.iter().map(|s| Setting::parse(s)).collect::<Result<_>>()?;
    if let Some(other) = sysctls.iter().find(|s| !has(s.kind)) {
        let what = format!("set sysctls of {}", other.kind);
        return Err(Error::input(
            what,
            format!("they would be the host's: --{} is host", other.kind),
        ));
    }
    let ports = Publish::parse_all(wish.publish.iter().map(String::as_str))?;
    Ok(Plan { private, networks, ports, sysctls })
}

fn read_net(shim: &Shim, modes: &[Mode]) -> Result<(Vec<Network>, bool)> {
    let what = || "choose the network".to_owned();
    let mut networks: Vec<Network> = Vec::new();
    for mode in modes {
        let alone = modes.len() == 1;
        match mode {
            Mode::Host if alone => return Ok((Vec::new(), false)),
            Mode::None if alone => return Ok((Vec::new(), true)),
            Mode::Host | Mode::None => {
                return Err(Error::input(what(), format!("--net {mode} stands alone")));
            }
            Mode::Private => networks.push(Network::builtin()?),
            Mode::Network(name) => networks.push(conf::find(name, &shim.context.roots)?),
            Mode::Container(_) | Mode::Path(_) => {
                return Err(Error::input(
                    what(),
                    format!("a base has a network namespace of its own; {mode} is another's"),
                )
                .hint("shim join is for those of others"));
            }
        }
    }
    if networks.is_empty() {
        networks.push(Network::builtin()?);
    }
    let mut names: Vec<&str> = networks.iter().map(|n| n.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::input(what(), format!("network {} is named twice", pair[0]))),
        None => Ok((networks, true)),
    }
}

/// A base that runs.
#[derive(Debug)]
pub struct Running {
    /// Its record, released.
    pub container: Container,
    /// pause, if there is one.
    pub child: Option<Child>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Makes a base: all of it, or nothing.
pub fn run(shim: &Shim, wish: &Wish) -> Result<Running> {
    let plan = read(shim, wish)?;
    let mut container = Container::new(&wish.name, Role::Base)?;
    container.pause = wish.pause;
    container.log = wish.log;
    container.hostname.clone_from(&wish.hostname);
    container.ports.clone_from(&wish.publish);
    container.command = if wish.pause { vec!["pause".into()] } else { Vec::new() };
    for kind in ns::SHARED {
        let own = plan.private.contains(&kind);
        let how = match own {
            true => "private",
            // No process, no pid namespace: who asks for this one doesn't get the host's.
            false if kind == NsKind::Pid && wish.pid == Mode::Private => "none",
            false => "host",
        };
        let how = how.to_owned();
        let pin = (own && PINNED.contains(&kind)).then(|| pin_path(shim, &container, kind));
        container.namespaces.insert(kind, Space { how, of: None, identity: None, pin, also: None });
    }
    let mut held = Held::claim(&shim.context.roots, container, |held| undo(shim, held))?;
    match make(shim, wish, &plan, &mut held) {
        Ok((child, warnings)) => Ok(Running { container: held.container.clone(), child, warnings }),
        Err(error) => Err(match undo(shim, held) {
            Ok(()) => error,
            Err(second) => error.hint(format!("taking back what was made failed too: {second}")),
        }),
    }
}

fn make(
    shim: &Shim,
    wish: &Wish,
    plan: &Plan,
    held: &mut Held,
) -> Result<(Option<Child>, Vec<String>)> {
    let shm = plan.private.contains(&NsKind::Ipc);
    prepare_dir(shim, &held.container, shm.then_some(wish.shm_size.as_str()))?;
    let mut new = plan.private.iter().fold(CloneFlags::empty(), |all, kind| all | ns::flag(*kind));
    if wish.pause {
        new |= CloneFlags::CLONE_NEWNS;
    }
    let mut job = pause(shim, &held.container, wish.pause)?;
    job.hostname.clone_from(&wish.hostname);
    job.sysctls.clone_from(&plan.sysctls);
    let waiting = enter::start(Entry { joined: Vec::new(), new }, |gate| job.run(gate))?;
    note(held, &waiting, plan.private.iter().copied())?;
    pin_all(shim, held, waiting.child.pid())?;
    let warnings = connect(shim, plan, held, waiting.child.pid())?;
    shim.context.go_on()?;
    let child = waiting.go().map_err(enter::Refused::into_error)?;
    let child = if wish.pause {
        Some(child)
    } else {
        held.container.process = None;
        ended_well(child)?;
        None
    };
    held.container.phase = Phase::Ready;
    held.write()?;
    Ok((child, warnings))
}

fn ended_well(child: Child) -> Result<()> {
    match child.wait() {
        Ok(nix::sys::wait::WaitStatus::Exited(_, 0)) => Ok(()),
        other => Err(Error::new(Kind::Failed, "make the namespaces", format!("{other:?}"))),
    }
}

/// The job of a new pause.
fn pause(shim: &Shim, container: &Container, program: bool) -> Result<Pause> {
    let what = || "prepare pause".to_owned();
    let roots = &shim.context.roots;
    let program = match program {
        true => Some(process::in_memory("pause", shim.pause).ctx(what)?),
        false => None,
    };
    let log = match container.log {
        true => Some(crate::log::open(&container.log_path(roots))?),
        false => None,
    };
    let own_mounts = program.is_some();
    Ok(Pause {
        program,
        root: own_mounts.then(|| container.ns_dir(roots)),
        shm: Some(shm_path(shim, container)).filter(|path| own_mounts && path.exists()),
        hostname: None,
        sysctls: Vec::new(),
        log,
        mask: shim.mask,
    })
}

/// Writes down the process and its namespaces, before anything refers to them.
fn note(held: &mut Held, waiting: &Waiting, kinds: impl Iterator<Item = NsKind>) -> Result<()> {
    let pid = waiting.child.pid();
    held.container.process = Process::read(pid);
    for kind in kinds {
        let id = Ns::of_process(pid, kind)?.id();
        if let Some(space) = held.container.namespaces.get_mut(&kind) {
            space.identity = Some(id);
        }
    }
    held.write()
}

fn owner(container: &Container) -> String {
    format!("shim {}", container.id)
}

fn pin_path(shim: &Shim, container: &Container, kind: NsKind) -> PathBuf {
    match kind {
        NsKind::Net => shim.context.roots.netns.join(&container.name),
        kind => container.ns_dir(&shim.context.roots).join(kind.name()),
    }
}

/// The pod's /dev/shm.
pub fn shm_path(shim: &Shim, container: &Container) -> PathBuf {
    container.ns_dir(&shim.context.roots).join("shm")
}

/// The pin of a path that is on record.
fn pin_at(container: &Container, path: &std::path::Path) -> Result<Pin> {
    let (dir, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
    Pin::new(dir, &name.to_string_lossy(), &owner(container))
}

/// Takes a pin away. Where somebody else has the name there is none of ours.
fn unpin(container: &Container, path: &std::path::Path, identity: Option<&NsId>) -> Result<()> {
    match pin_at(container, path)?.remove(identity) {
        Err(error) if error.kind != Kind::Taken => Err(error),
        _ => Ok(()),
    }
}

fn pin_all(shim: &Shim, held: &Held, pid: i32) -> Result<()> {
    for (kind, space) in &held.container.namespaces {
        let Some(path) = &space.pin else { continue };
        pin(shim, &held.container, *kind, path, pid)?;
    }
    Ok(())
}

/// Pins a namespace of a process that can't end meanwhile.
fn pin(
    shim: &Shim,
    container: &Container,
    kind: NsKind,
    path: &std::path::Path,
    pid: i32,
) -> Result<()> {
    if kind == NsKind::Net {
        pins::share(&shim.context.roots.netns)?;
    }
    let claim = pin_at(container, path)?.claim()?;
    claim.mount(Ns::of_process(pid, kind)?)
}

/// The directory of its pins, with /dev/shm in it.
fn prepare_dir(shim: &Shim, container: &Container, shm_size: Option<&str>) -> Result<()> {
    let shm = shm_path(shim, container);
    let what = || format!("make {}", shm.display());
    make_dir(&container.ns_dir(&shim.context.roots)).ctx(what)?;
    let Some(size) = shm_size else { return Ok(()) };
    std::fs::create_dir(&shm).ctx(what)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let data = format!("mode=1777,size={size}");
    mount(Some("shm"), &shm, Some("tmpfs"), flags, Some(data.as_str())).map_err(|errno| {
        Error::errno(format!("mount {} with size={size}", shm.display()), errno as i32)
    })
}

/// Others remove what they find empty, between two of its parts.
fn make_dir(dir: &std::path::Path) -> std::io::Result<()> {
    let mut made = std::fs::create_dir_all(dir);
    for _ in 0..100 {
        match made {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                made = std::fs::create_dir_all(dir)
            }
            other => return other,
        }
    }
    made
}

/// Attaches the networks; or sets lo up, where there is none.
fn connect(shim: &Shim, plan: &Plan, held: &mut Held, pid: i32) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if plan.networks.is_empty() {
        if plan.private.contains(&NsKind::Net) {
            verbs::loopback(&Netns::of_process(pid)?)?;
        }
        return Ok(warnings);
    }
    for (i, network) in plan.networks.iter().enumerate() {
        let first = i == 0;
        let ports = if first { plan.ports.clone() } else { Vec::new() };
        let wanted = Wanted {
            network: network.clone(),
            container: held.container.id.clone(),
            ifname: format!("eth{i}"),
            wishes: Wishes { ports, ..Wishes::default() },
            default_route: first,
            bundle: None,
        };
        // By its pin: it leads there for as long as the pod is.
        let path = pin_path(shim, &held.container, NsKind::Net);
        let mut target = Target::of_path(&path)?;
        target.process = held.container.process;
        match verbs::add(&shim.context, &wanted, target)? {
            Outcome::Added(added) => {
                warnings.extend(added.warnings);
                held.container.networks.push(Attached {
                    network: network.name.clone(),
                    ifname: wanted.ifname,
                    addresses: addresses(&added.attachment.result),
                });
            }
            Outcome::Already(there) => {
                let why = "it is attached already";
                return Err(Error::new(Kind::Taken, format!("attach {}", there.id), why));
            }
        }
    }
    Ok(warnings)
}

fn addresses(result: &serde_json::Value) -> Vec<String> {
    let ips = result["ips"].as_array().into_iter().flatten();
    ips.filter_map(|ip| ip["address"].as_str().map(str::to_owned)).collect()
}

/// Starts a new pause for a base whose last one has ended. Namespaces that are pinned
/// are entered; the pid namespace is a new one.
pub fn restart(shim: &Shim, held: &mut Held) -> Result<Child> {
    let what = format!("start {}", held.container.name);
    if !held.container.pause {
        let why = "it is a pod of pinned namespaces, without a pause";
        return Err(Error::input(what, why));
    }
    let mut joined: Vec<(OwnedFd, CloneFlags)> = Vec::new();
    let mut new = CloneFlags::CLONE_NEWNS;
    for (kind, space) in &held.container.namespaces {
        match &space.pin {
            Some(path) => joined.push((pinned(space, path)?.into(), ns::flag(*kind))),
            None if space.how == "private" => new |= ns::flag(*kind),
            None => {}
        }
    }
    // Who starts it leaves: the outputs of a base that was in the foreground are nobody's.
    held.container.log = true;
    let job = pause(shim, &held.container, true)?;
    let waiting = enter::start(Entry { joined, new }, |gate| job.run(gate))?;
    let own_pid = new.contains(CloneFlags::CLONE_NEWPID).then_some(NsKind::Pid);
    note(held, &waiting, own_pid.into_iter())?;
    waiting.go().map_err(enter::Refused::into_error)
}

/// Opens a pinned namespace; it must be the one that is on record.
pub fn pinned(space: &Space, path: &std::path::Path) -> Result<Ns> {
    let ns = Ns::open(path)?;
    match space.identity {
        Some(id) if !ns.id().is(&id) => {
            let what = format!("enter {}", path.display());
            Err(Error::new(Kind::Missing, what, format!("it was {id} and is {ns} by now")))
        }
        _ => Ok(ns),
    }
}

/// Pins the network namespace under another name, too: it is about to be the container's.
pub fn pin_also(shim: &Shim, held: &mut Held, name: &str) -> Result<()> {
    let path = shim.context.roots.netns.join(name);
    let Some(space) = held.container.namespaces.get_mut(&NsKind::Net) else { return Ok(()) };
    let Some(pin) = space.pin.clone() else { return Ok(()) };
    let ns = pinned(space, &pin)?;
    space.also = Some(path.clone());
    held.write()?;
    let done = pin_at(&held.container, &path)?.claim().and_then(|claim| claim.mount(ns));
    if done.is_err() {
        // Nothing of ours is there. What is somebody else's stays.
        if let Some(space) = held.container.namespaces.get_mut(&NsKind::Net) {
            space.also = None;
        }
        held.write()?;
    }
    done
}

/// After a rename, also one that failed or was cut off: of two pins the one that is called
/// as the container is now stays.
pub fn settle_pins(shim: &Shim, held: &mut Held) -> Result<()> {
    let stays = shim.context.roots.netns.join(&held.container.name);
    let Some(space) = held.container.namespaces.get_mut(&NsKind::Net) else { return Ok(()) };
    let Some(also) = space.also.clone() else { return Ok(()) };
    let identity = space.identity;
    let goes = if also == stays { space.pin.replace(also) } else { Some(also) };
    space.also.clone_from(&goes);
    held.write()?;
    if let Some(path) = goes {
        unpin(&held.container, &path, identity.as_ref())?;
    }
    if let Some(space) = held.container.namespaces.get_mut(&NsKind::Net) {
        space.also = None;
    }
    held.write()
}

/// Takes away all that a record names, and then the record. What isn't there any more is
/// no error; what can't be taken away is, and then the record stays.
pub fn undo(shim: &Shim, mut held: Held) -> Result<()> {
    if held.container.phase == Phase::Ready {
        held.container.phase = Phase::Removing;
        held.write()?;
    }
    let container = &held.container;
    let roots = &shim.context.roots;
    if container.boot == shim.boot
        && let Some(living) = container.process.map(Living::find).transpose()?.flatten()
    {
        living.kill()?;
    }
    // Who waits for it writes one more file; then the directory can go.
    crate::verb::life::settle(container)?;
    crate::bundle::undo(shim, container)?;
    let mut failed: Vec<Error> = Vec::new();
    if container.is_base() {
        let id = &container.id;
        failed.extend(verbs::del_container(&shim.context, id, None).err());
        for space in container.namespaces.values() {
            for path in space.pin.iter().chain(&space.also) {
                failed.extend(unpin(container, path, space.identity.as_ref()).err());
            }
        }
        failed.extend(remove_dir(shim, container).err());
    }
    match failed.into_iter().next() {
        Some(error) => Err(error),
        None => held.remove(roots).map(|()| tidy(shim)),
    }
}

fn remove_dir(shim: &Shim, container: &Container) -> Result<()> {
    let (dir, shm) = (container.ns_dir(&shim.context.roots), shm_path(shim, container));
    // EINVAL: nothing is mounted there.
    if let Err(errno) = umount2(&shm, MntFlags::MNT_DETACH)
        && !matches!(errno, nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT)
    {
        return Err(Error::errno(format!("unmount {}", shm.display()), errno as i32));
    }
    for path in [shm.as_path(), dir.as_path()] {
        match std::fs::remove_dir(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {}", path.display()), &e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes the directories that all containers share, once nothing is in them.
fn tidy(shim: &Shim) {
    let roots = &shim.context.roots;
    for dir in [roots.run.join("ns"), record::pods(roots), roots.run.clone()] {
        // Locking one that is missing would make it; one that is locked is in use.
        if dir.exists()
            && let Ok(lock) = keep::Lock::exclusive(&dir, keep::Wait::No)
        {
            lock.tidy();
        }
    }
}

/// How long a base's pause may take to end by itself.
pub const GRACE: Duration = Duration::from_secs(10);
