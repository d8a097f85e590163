//! start, stop, kill, wait, logs, rm.

use std::io::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use podkeel_netsetup::error::{Context, Error, Kind, Result};
use podkeel_netsetup::kernel::NsKind;

use crate::alive::Living;
use crate::record::{self, Container, Held, Phase, State};
use crate::{Shim, base, log};

/// Does something for each of several names: all are tried, the first failure is the answer.
fn each(
    names: &[String],
    out: &mut dyn Write,
    mut job: impl FnMut(&str) -> Result<Option<String>>,
) -> Result<i32> {
    let mut first = None;
    for name in names {
        match job(name) {
            Ok(Some(line)) => writeln!(out, "{line}").ctx(|| "print the answer".into())?,
            Ok(None) => {}
            Err(error) => match &first {
                None => first = Some(error),
                Some(_) => eprintln!("shim: {error}"),
            },
        }
    }
    first.map_or(Ok(0), Err)
}

/// The process of a container, if it lives.
fn living(shim: &Shim, container: &Container) -> Result<Option<Living>> {
    let process = container.process.filter(|_| container.boot == shim.boot);
    Ok(process.map(Living::find).transpose()?.flatten())
}

/// `shim start`.
pub fn start(shim: &Shim, names: &[String], out: &mut dyn Write) -> Result<i32> {
    each(names, out, |name| {
        let mut held = Held::open(&shim.context.roots, name)?;
        let what = format!("start {name}");
        if !held.container.is_base() {
            return Err(Error::input(what, "it isn't a base")
                .hint("a new member: shim join --name; the record of this one goes by shim rm"));
        }
        match held.container.state(&shim.context.roots, &shim.boot) {
            State::Running => return Ok(Some(name.to_owned())),
            State::Exited(_) if held.container.boot == shim.boot => {}
            State::Exited(_) => {
                let why = "it is from an earlier boot, which no namespace survives";
                return Err(Error::new(Kind::Missing, what, why)
                    .hint(format!("shim rm {name}, and run it anew")));
            }
            other => {
                let why = format!("its state is {}", other.word());
                return Err(Error::input(what, why));
            }
        }
        base::restart(shim, &mut held)?.leave();
        Ok(Some(name.to_owned()))
    })
}

/// `shim stop`.
pub fn stop(shim: &Shim, names: &[String], grace: u64, out: &mut dyn Write) -> Result<i32> {
    let grace = Duration::from_secs(grace);
    each(names, out, |name| {
        let container = record::find(&shim.context.roots, name)?;
        if container.is_base() {
            stop_members(shim, &container, grace)?;
        }
        if let Some(living) = living(shim, &container)? {
            living.stop(grace)?;
        }
        settle(&container)?;
        Ok(Some(name.to_owned()))
    })
}

/// The members that would die with a base's pid namespace get TERM and a grace of their
/// own before it goes; all at once, so that one grace is enough for them.
fn stop_members(shim: &Shim, base: &Container, grace: Duration) -> Result<()> {
    let mut members = Vec::new();
    for member in members_of(shim, base)? {
        let inside = member.namespaces.get(&NsKind::Pid);
        if inside.is_some_and(|space| space.of.as_ref() == Some(&base.id)) {
            members.extend(living(shim, &member)?.map(|living| (living, member)));
        }
    }
    if grace > Duration::ZERO {
        for (living, _) in &members {
            living.signal(Signal::SIGTERM as i32)?;
        }
    }
    let deadline = Instant::now() + grace;
    for (living, member) in members {
        if grace == Duration::ZERO || !living.wait(Some(deadline))? {
            living.kill()?;
        }
        settle(&member)?;
    }
    Ok(())
}

/// The members of a base's pod.
pub fn members_of(shim: &Shim, base: &Container) -> Result<Vec<Container>> {
    let (all, bad) = record::all(&shim.context.roots)?;
    for error in bad {
        // Whose it is isn't known: it may be a member's.
        eprintln!("shim: warning: {error}");
    }
    Ok(all.into_iter().filter(|c| c.pod.as_ref() == Some(&base.id)).collect())
}

/// Waits until the one who waits for a container has written down how it ended.
pub fn settle(container: &Container) -> Result<()> {
    let own = nix::unistd::getpid().as_raw();
    let monitor = container.monitor.filter(|m| m.pid != own && !container.is_base());
    if let Some(monitor) = monitor.map(Living::find).transpose()?.flatten() {
        monitor.wait(Some(Instant::now() + SETTLE))?;
    }
    Ok(())
}

/// How long a monitor may take to write one file.
const SETTLE: Duration = Duration::from_secs(3);

/// `shim kill`.
pub fn kill(shim: &Shim, names: &[String], signal: &str, out: &mut dyn Write) -> Result<i32> {
    let signal = signal_number(signal)?;
    each(names, out, |name| {
        let container = record::find(&shim.context.roots, name)?;
        match living(shim, &container)? {
            Some(living) => living.signal(signal)?,
            None => {
                let what = format!("send signal {signal} to {name}");
                return Err(Error::new(Kind::Missing, what, "it isn't running"));
            }
        }
        Ok(Some(name.to_owned()))
    })
}

/// A signal by number, by name, or by name without SIG; real-time ones by number.
fn signal_number(text: &str) -> Result<i32> {
    let wrong = || Error::input(format!("use {text:?} as signal"), "there is none of that name");
    if let Ok(number) = text.parse::<i32>() {
        let known = 1..=libc::SIGRTMAX();
        return if known.contains(&number) { Ok(number) } else { Err(wrong()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    Signal::from_str(&name).map(|signal| signal as i32).map_err(|_| wrong())
}

/// `shim wait`.
pub fn wait(shim: &Shim, names: &[String], out: &mut dyn Write) -> Result<i32> {
    let roots = &shim.context.roots;
    each(names, out, |name| {
        let container = record::find(roots, name)?;
        if container.phase != Phase::Ready {
            let why = format!("its state is {}", container.state(roots, &shim.boot).word());
            return Err(Error::input(format!("wait for {name}"), why));
        }
        if container.process.is_none() {
            let why = "it has no process whose end could come";
            return Err(Error::input(format!("wait for {name}"), why));
        }
        if let Some(living) = living(shim, &container)? {
            living.wait(None)?;
        }
        settle(&container)?;
        let unknown = || {
            let why = match container.is_base() {
                true => "nobody waits for the pause of a detached base",
                false => "the process that waited for it was killed",
            };
            Error::new(Kind::Missing, format!("tell how {name} ended"), why)
        };
        // By its directory: it may have got another name meanwhile.
        let now = record::by_id(roots, &container.id)?.unwrap_or_else(|| container.clone());
        Ok(Some(now.exit(roots).ok_or_else(unknown)?.code.to_string()))
    })
}

/// `shim logs`.
pub fn logs(
    shim: &Shim,
    name: &str,
    tail: Option<usize>,
    follow: bool,
    out: &mut dyn Write,
) -> Result<i32> {
    let container = record::find(&shim.context.roots, name)?;
    if !container.log {
        let what = format!("print the log of {name}");
        return Err(Error::input(what, "it runs in the foreground, and its output went there"));
    }
    let living = if follow { living(shim, &container)? } else { None };
    let mut more =
        || living.as_ref().is_some_and(|l| matches!(l.wait(Some(Instant::now())), Ok(false)));
    log::copy(&container.log_path(&shim.context.roots), tail, &mut more, out)?;
    Ok(0)
}

/// `shim rm`.
pub fn rm(shim: &Shim, names: &[String], force: bool, out: &mut dyn Write) -> Result<i32> {
    each(names, out, |name| remove(shim, name, force).map(|()| Some(name.to_owned())))
}

/// Takes one container away; with `force` one that runs, and a base's members, too.
pub fn remove(shim: &Shim, name: &str, force: bool) -> Result<()> {
    let held = Held::open(&shim.context.roots, name).inspect_err(|error| {
        if error.kind == Kind::Missing {
            base::tidy(shim, name);
        }
    })?;
    let container = &held.container;
    let what = || format!("remove {name}");
    if container.lives(&shim.boot) && !force {
        return Err(Error::input(what(), "it is running").hint("shim stop, or shim rm -f"));
    }
    if container.is_base() {
        let members = members_of(shim, container)?;
        let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
        if !names.is_empty() && !force {
            let why = format!("it has members: {}", names.join(", "));
            return Err(Error::input(what(), why).hint("remove them first, or shim rm -f"));
        }
        remove_members(shim, members)?;
    }
    base::undo(shim, held)
}

fn remove_members(shim: &Shim, members: Vec<Container>) -> Result<()> {
    for member in members {
        match Held::open(&shim.context.roots, &member.name) {
            Ok(held) if held.container.id == member.id => base::undo(shim, held)?,
            Ok(_) => {}
            Err(e) if e.kind == Kind::Missing => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [("TERM", 15), ("sigkill", 9), ("SIGUSR1", 10), ("1", 1), ("34", 34)]
        {
            assert_eq!(signal_number(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-9", "SIG", "NOSUCH"] {
            assert!(signal_number(bad).is_err(), "{bad:?}");
        }
    }
}
