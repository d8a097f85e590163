//! `shim demo`: the main job, for anyone, in namespaces of its own.
//!
//! ```text
//!  user, mount, pid and net namespace of the demo
//!  ┌─────────────────────────────────────────────────────────────────────┐
//!  │  pod: pause, web :80, app         "this host"          another host │
//!  │  eth0 10.89.0.2:80 ◄────── podkeel0   outside0 ◄──── eth0 192.0.2.2 │
//!  │                            port 8080 of 192.0.2.1                   │
//!  └─────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Its first process is process 1 of its own pid namespace: when that one dies, however,
//! the kernel ends all others.

pub mod part;
mod show;

use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::WaitStatus;
use podkeel_netsetup::error::{Error, Kind, Result};

use crate::Carried;
use crate::process::{self, Child};

/// Runs the demo. Exit code 0; 6 where the host forbids user namespaces.
pub fn run(carried: Carried) -> i32 {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let stage = process::spawn(CloneFlags::empty(), || {
        let kinds = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
        let entered = unshare(kinds | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS);
        let stands = entered
            .map_err(forbidden)
            .and_then(|()| become_root(uid.as_raw(), gid.as_raw()))
            .and_then(|()| first_process(carried));
        match stands {
            Ok(code) => code,
            Err(error) => without_namespaces(&error, carried.pause),
        }
    });
    match stage.and_then(Child::wait) {
        Ok(status) => code_of(status),
        Err(errno) => report(Err(Error::errno("start a process for the demo", errno as i32))),
    }
}

fn code_of(status: WaitStatus) -> i32 {
    match status {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        _ => 1,
    }
}

/// What the show is when its namespaces can't all be had: the exit code of a process that
/// says so by it.
const NO_PROC: i32 = 200;

/// The show, as process 1 with a /proc of its own.
fn first_process(carried: Carried) -> Result<i32> {
    let failed = |errno| forbidden(errno).kind(Kind::Denied);
    let none: Option<&str> = None;
    let first = process::spawn(CloneFlags::CLONE_NEWPID, || {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        match mount(Some("proc"), "/proc", Some("proc"), flags, none) {
            Ok(()) => report(show::show(carried)),
            Err(_) => NO_PROC,
        }
    });
    match code_of(first.and_then(Child::wait).map_err(failed)?) {
        NO_PROC => Err(Error::errno("mount /proc for the demo", libc::EPERM).hint(
            "this is a container whose own /proc is partly hidden: the kernel allows no other there",
        )),
        code => Ok(code),
    }
}

fn report(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("shim: {error}");
            error.kind.exit_code()
        }
    }
}

/// Root of a user namespace that maps nobody but the caller.
fn become_root(uid: u32, gid: u32) -> Result<()> {
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).map_err(|e| {
            let error =
                Error::io(format!("write /proc/self/{file} of the demo's user namespace"), &e);
            error.kind(Kind::Denied).hint(knobs())
        })
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))?;
    // Where only an unprivileged user namespace's powers are taken away
    // (AppArmor on Ubuntu), it shows at the first thing that needs them.
    private_run().map_err(|errno| forbidden(errno).kind(Kind::Denied))
}

/// Mounts of the demo's own: nothing that it writes below /run is seen outside.
fn private_run() -> std::result::Result<(), Errno> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("demo"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, none)
}

fn forbidden(errno: Errno) -> Error {
    Error::errno("make namespaces for the demo", errno as i32).kind(Kind::Denied).hint(knobs())
}

/// The switches by which a host forbids user namespaces, and how they stand here.
fn knobs() -> String {
    let off = [
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let closed = off.iter().filter(|(file, value, _)| {
        fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|is| is.trim() == *value)
    });
    let open: Vec<String> = closed.map(|(.., open)| format!("sysctl -w {open}")).collect();
    if open.is_empty() {
        return "this host forbids user namespaces to you: a container without that right, a seccomp filter, \
                or the limit user.max_user_namespaces"
            .into();
    }
    format!(
        "this host forbids user namespaces to you; root may allow them with: {}",
        open.join("; ")
    )
}

/// What can be shown all the same: pause runs, and ends when it is told to.
fn without_namespaces(error: &Error, pause: &'static [u8]) -> i32 {
    eprintln!("shim: {error}");
    println!("What works without them: pause as an ordinary process.");
    let started = process::spawn(CloneFlags::empty(), || {
        eprintln!("shim: cannot start pause: {}", process::exec("pause", pause, &[]));
        1
    });
    let ended = started.and_then(|child| {
        std::thread::sleep(Duration::from_millis(200));
        // If it has ended already, its exit code says so.
        let _ = child.signal(libc::SIGTERM);
        child.wait()
    });
    match ended {
        Ok(WaitStatus::Exited(_, 0)) => {
            println!("pause ended with exit code 0. The network part was not run.")
        }
        other => println!("pause did not end as it should: {other:?}"),
    }
    Kind::Denied.exit_code()
}
