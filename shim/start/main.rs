//! start: where the kernel enters shim, and the whole of the plain `shim join`.
//!
//! To join a pod takes a handful of system calls. A C library, Rust's start and a command
//! line of twenty verbs take longer than all of them, so the form that is typed most, and
//! called from scripts in a loop, is done before any of these begin:
//!
//! ```text
//! shim join --net=container:NAME --ipc=container:NAME --pid=container:NAME [--] CMD ARG...
//! ```
//!
//! with one base's NAME, in the foreground, with any of net, ipc, pid and uts. **All else
//! is shim's**: whatever isn't exactly that (another option, a name that is odd, a record
//! that isn't as shim itself writes it, a base that died, a program that isn't there, a
//! kernel that refuses) returns from here with all as it was, the C library starts, and
//! shim does it from the beginning, and says what is wrong. So nothing here has words for
//! an error, and nothing is known here that isn't known there: both are held side by side
//! by tests/shim.
//!
//! ```text
//!   kernel ──► shim_start ──► here ──► the words? the record? its process? its /dev/shm?
//!                  ▲                        │ no: as it was       │ yes
//!   _start ◄───────┴────────────────────────┘                     │ setns    pid, for children
//!   (C library, Rust, clap: shim)                                 │ vfork    new mounts
//!                                                                 ▼
//!                                    in the child: setns net, ipc, uts; /dev/shm; /proc; exec
//!                                    here: signals go on, its exit code comes back
//! ```
//!
//! The child shares this memory until it has executed its program, and it is inside the
//! pod: meanwhile nobody may trace it (CVE-2016-9962).
//!
//! It is compiled by itself, without a C library, into bytes that may lie at any address,
//! and lies in shim's text, which the linker is told to enter there (build.rs, shim/entry.rs).

#![no_std]
#![no_main]
#![allow(unsafe_code)]

#[path = "../arch/mod.rs"]
mod arch;
mod base;
#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod own;
mod path;
mod sys;
mod wait;
mod words;

use arch::exit;
use base::Base;
use core::ptr::null;
use path::Path;
use sys::{CLONE_NEWNS, CLONE_NEWPID, Fd, Text};
use words::Wish;

/// Where shim's entry calls, with the stack pointer as the kernel left it: argc, argv, null,
/// envp, null. Comes back where it isn't a plain join, or where that can't be.
///
/// # Safety
/// `stack` is that pointer.
// SAFETY: the linker script puts this section first, and no other object has one of it.
#[unsafe(link_section = ".text.entry")]
#[unsafe(no_mangle)]
unsafe extern "C" fn entry(stack: *const usize) {
    // SAFETY: the caller's promise.
    let wish = unsafe { Wish::read(stack) };
    let Some(wish) = wish else { return };
    if let Some(base) = Base::find(&wish)
        && let Some(code) = join(&wish, &base)
    {
        // The kernel closes what `base` holds.
        exit(code);
    }
}

/// What the child is to do, and whether it could.
struct Job<'a> {
    wish: &'a Wish,
    base: &'a Base,
    mask: u64,
    failed: bool,
}

/// Runs the program in the pod. Returns its exit code; nothing, if it couldn't be started.
fn join(wish: &Wish, base: &Base) -> Option<i32> {
    let mask = sys::block(wait::FETCHED)?;
    let pid = start(&mut Job { wish, base, mask, failed: false });
    if pid.is_none() {
        sys::set_mask(mask);
    }
    Some(wait::attend(pid?))
}

/// Starts the child; this process has left nothing if that fails.
fn start(job: &mut Job<'_>) -> Option<i32> {
    let pids = job.wish.kinds & CLONE_NEWPID;
    // Changes where children are made, and nothing of this process: setns(2).
    if pids != 0 && !job.base.process.enter(pids) {
        return None;
    }
    let mounts = if pids != 0 || job.base.shm.is_some() { CLONE_NEWNS } else { 0 };
    sys::set_dumpable(false);
    let pid = sys::spawn(mounts, inside, job);
    sys::set_dumpable(true);
    if let Some(pid) = pid.filter(|_| !job.failed) {
        return Some(pid);
    }
    if let Some(pid) = pid {
        let _ = sys::news(Some(pid));
    }
    if pids != 0 {
        let own = Fd::of_process(sys::own_pid()).ok()?;
        own.enter(pids);
    }
    None
}

/// What the child does: comes to its program, or says that it couldn't.
extern "C" fn inside(job: &mut Job<'_>) -> ! {
    prepare_and_execute(job);
    job.failed = true;
    exit(125)
}

fn prepare_and_execute(job: &Job<'_>) -> Option<()> {
    let (wish, base) = (job.wish, job.base);
    let others = wish.kinds & !CLONE_NEWPID;
    done(others == 0 || base.process.enter(others))?;
    let shows_pids = wish.kinds & CLONE_NEWPID != 0;
    if shows_pids || base.shm.is_some() {
        // Slaves: what the host unmounts is unmounted here, too, and kept busy by nobody.
        done(sys::mount(null(), text(c"/"), null(), sys::MS_REC_SLAVE))?;
    }
    if let Some(shm) = &base.shm {
        done(shm.mount_on(text(c"/dev/shm")))?;
    }
    if shows_pids {
        let (proc, at) = (text(c"proc"), text(c"/proc"));
        done(sys::mount(proc, at, proc, sys::MS_NOSUID_NODEV_NOEXEC))?;
    }
    done(sys::close_at_exec())?;
    sys::set_mask(job.mask);
    execute(wish)
}

/// Becomes the program, which is looked for along PATH if its name has no slash: execvp(3).
fn execute(wish: &Wish) -> Option<()> {
    let name = words::bytes(wish.program());
    if name.iter().any(|byte| *byte == b'/') {
        sys::execute(wish.program(), wish.words, wish.environment);
        return None;
    }
    for folder in wish.path?.split(|byte| *byte == b':') {
        let folder = if folder.is_empty() { b"." } else { folder };
        let file = Path::of(&[folder, b"/", name])?;
        match sys::execute(file.text(), wish.words, wish.environment) {
            sys::ENOENT | sys::ENOTDIR | sys::EACCES => {}
            _ => return None,
        }
    }
    None
}

fn done(it_is: bool) -> Option<()> {
    it_is.then_some(())
}

fn text(constant: &core::ffi::CStr) -> Text {
    constant.as_ptr().cast()
}
