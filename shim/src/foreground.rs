//! shim in the foreground: signals go on to the child, and its exit status comes back.
//!
//! All signals that can be forwarded are blocked from the start, and fetched here: one
//! that comes while the child is being made isn't lost, and gets to it once it is there.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpgrp};
use podkeel_netsetup::error::{Context, Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process::{self, Child, News};

/// Those that aren't passed on: what the kernel says of shim itself (its own faults, its
/// broken pipes, its own limits), TTIN and TTOU, which are the terminal's own affair, and
/// CHLD. KILL and STOP can't be caught.
const KEPT: [Signal; 13] = [
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGSEGV,
    Signal::SIGSYS,
    Signal::SIGPIPE,
    Signal::SIGXCPU,
    Signal::SIGXFSZ,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGCHLD,
];

/// All others, the real-time ones among them.
fn forwarded() -> SigSet {
    let mut set = SigSet::all();
    KEPT.into_iter().for_each(|signal| set.remove(signal));
    set
}

/// Blocks what is fetched later, and returns the mask that was.
pub fn hold_signals() -> Result<SigSet> {
    let failed = |e: Errno| Error::errno("block signals", e as i32);
    let mut set = forwarded();
    set.add(Signal::SIGCHLD);
    set.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(failed)
}

/// Gives a child that waits at its gate the signals that have come so far. A ^C from
/// before it was made went to shim alone; one from after that waits for both of them,
/// and as the child has it blocked, the second one adds nothing.
pub fn hand_over(child: &Child) -> Result<()> {
    let failed = |e: Errno| Error::errno("fetch signals", e as i32);
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&forwarded(), flags).map_err(failed)?;
    while let Some(info) = signals.read_signal().map_err(failed)? {
        let _ = child.signal(info.ssi_signo as i32);
    }
    Ok(())
}

/// Waits for the child's end. Returns the status, as a shell tells it, and the signal.
pub fn attend(child: Child) -> Result<(i32, Option<i32>)> {
    attend_as(child, |signal| signal, || false)
}

/// The same, and asks `look` again and again for as long as it says that it has to.
/// Orphans that have come to this process are reaped meanwhile.
pub fn attend_and(child: Child, look: impl FnMut() -> bool) -> Result<(i32, Option<i32>)> {
    attend_as(child, |signal| signal, look)
}

/// The same for pause, which heeds INT and TERM alone: HUP (the terminal is gone, and not
/// by nohup's wish) and QUIT end it, too.
pub fn attend_pause(child: Child) -> Result<(i32, Option<i32>)> {
    let translate = |signal| match signal {
        libc::SIGHUP | libc::SIGQUIT if !process::ignored_at_start(signal) => libc::SIGTERM,
        other => other,
    };
    attend_as(child, translate, || false)
}

fn attend_as(
    mut child: Child,
    translate: impl Fn(i32) -> i32,
    mut look: impl FnMut() -> bool,
) -> Result<(i32, Option<i32>)> {
    let failed = |e: Errno| Error::errno("wait for the process", e as i32);
    let mut set = forwarded();
    set.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map_err(failed)?;
    let mut looking = true;
    loop {
        // Before the child is asked: what it had done by its end is seen then, too.
        looking = looking && look();
        match child.news().map_err(|e| failed(Errno::from_raw(e.raw_os_error())))? {
            News::Exited(code) => return Ok((code, None)),
            News::Signaled(signal) => return Ok((128 + signal, Some(signal))),
            // It stopped by the terminal: so do we, and the shell that started us sees it.
            // Not by SIGSTOP: who continues it then knows of it alone, and we have to reap it.
            News::Stopped(libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) => {
                _ = raise(Signal::SIGSTOP);
            }
            News::Stopped(_) | News::None => process::reap_others(&child),
        }
        if looking && !readable(&signals)? {
            continue;
        }
        let Some(info) = signals.read_signal().map_err(failed)? else { continue };
        let signal = info.ssi_signo as i32;
        if signal == libc::SIGCHLD || (from_terminal(info.ssi_code) && same_group(&child)) {
            continue;
        }
        // Only a child that is still there, or not yet waited for, is signalled.
        let _ = child.signal(translate(signal));
    }
}

/// Whether there is a signal, after a wait of [`EVERY`] at most.
fn readable(signals: &SignalFd) -> Result<bool> {
    let mut fds = [PollFd::new(signals, PollFlags::IN)];
    match poll(&mut fds, Some(&EVERY)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno).ctx(|| "wait for signals".into()),
    }
}

/// How often it is looked.
const EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// From the kernel: the terminal sends ^C to all of its foreground group, the child among it.
fn from_terminal(code: i32) -> bool {
    code == libc::SI_KERNEL
}

fn same_group(child: &Child) -> bool {
    nix::unistd::getpgid(Some(Pid::from_raw(child.pid()))) == Ok(getpgrp())
}
