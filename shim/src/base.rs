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

mod pinned;
mod wish;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sched::CloneFlags;
use podkeel_netsetup::error::{Context as _, Error, Kind, Result};
use podkeel_netsetup::kernel::{Netns, Ns, NsKind};
use podkeel_netsetup::request::Wishes;
use podkeel_netsetup::verbs::{self, Outcome, Target, Wanted};

use pinned::{pin_all, pin_path, prepare_dir, remove_dir, unpin};
pub use pinned::{pin_also, pinned, settle_pins, shm_path, tidy};
pub use wish::Wish;
use wish::{Plan, read};

use crate::Shim;
use crate::alive::Living;
use crate::enter::{self, Entry, Waiting};
use crate::inside::Pause;
use crate::ns::{self, Mode};
use crate::process::{self, Child};
use crate::record::{Attached, Container, Held, Phase, Role, Space};

/// The kinds of namespaces that are pinned: these outlive their processes. A pid
/// namespace doesn't outlive its first process, pinned or not (pid_namespaces(7)).
const PINNED: [NsKind; 3] = [NsKind::Net, NsKind::Ipc, NsKind::Uts];

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
    container.command = command(wish);
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
    let mut held = claim(shim, container)?;
    match make(shim, wish, &plan, &mut held) {
        Ok((child, warnings)) => Ok(Running { container: held.container.clone(), child, warnings }),
        Err(error) => Err(match undo(shim, held) {
            Ok(()) => error,
            Err(second) => error.hint(format!("taking back what was made failed too: {second}")),
        }),
    }
}

/// Claims a container's name; of one who was cut off in the middle all is taken away first.
pub fn claim(shim: &Shim, container: Container) -> Result<Held> {
    let name = container.name.clone();
    let claimed = Held::claim(&shim.context.roots, container, |held| undo(shim, held));
    claimed.inspect_err(|_| tidy(shim, &name))
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
    let mut waiting = enter::start(Entry { joined: Vec::new(), new }, |gate| job.run(gate))?;
    note(held, &mut waiting, plan.private.iter().copied())?;
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

/// What is on record as the command: pause, and the command behind `--`. One that begins
/// with a flag is pause's own words, which have their `--` where they need it.
fn command(wish: &Wish) -> Vec<String> {
    let words = wish.command.iter().map(|word| word.to_string_lossy().into_owned());
    let first = wish.command.first().map(|word| word.as_encoded_bytes());
    let begins: &[&str] = match first {
        Some(word) if !word.starts_with(b"-") => &["pause", "--"],
        _ => &["pause"],
    };
    let all = begins.iter().map(|word| (*word).to_owned()).chain(words);
    if wish.pause { all.collect() } else { Vec::new() }
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
    let words = container.command.iter().map(|word| CString::new(word.as_str()));
    let words = words
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|_| Error::input("run the command", "a word of it has a zero byte inside"))?;
    let runs = words.len() > 1;
    Ok(Pause {
        program,
        words,
        root: (own_mounts && !runs).then(|| container.ns_dir(roots)),
        shm: Some(shm_path(shim, container)).filter(|path| own_mounts && path.exists()),
        hostname: None,
        sysctls: Vec::new(),
        log,
        mask: shim.mask,
    })
}

/// Writes down the process and its namespaces, before anything refers to them.
fn note(held: &mut Held, waiting: &mut Waiting, kinds: impl Iterator<Item = NsKind>) -> Result<()> {
    let pid = waiting.child.pid();
    held.container.process = Some(waiting.process().map_err(enter::Refused::into_error)?);
    for kind in kinds {
        let id = Ns::of_process(pid, kind)?.id();
        if let Some(space) = held.container.namespaces.get_mut(&kind) {
            space.identity = Some(id);
        }
    }
    held.write()
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
            part: None,
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
    let mut waiting = enter::start(Entry { joined, new }, |gate| job.run(gate))?;
    let own_pid = new.contains(CloneFlags::CLONE_NEWPID).then_some(NsKind::Pid);
    note(held, &mut waiting, own_pid.into_iter())?;
    waiting.go().map_err(enter::Refused::into_error)
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
        match (&container.role, container.phase) {
            (Role::Bundle { .. }, Phase::Creating) => crate::bundle::end(living)?,
            _ => living.kill()?,
        }
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
        None => {
            let name = container.name.clone();
            held.remove(roots).map(|()| tidy(shim, &name))
        }
    }
}

/// How long a base's pause may take to end by itself.
pub const GRACE: Duration = Duration::from_secs(10);
