//! netsetup dies, or is told that a call has failed, at every one of its system calls.
//!
//! ```text
//! killed    `delete` leaves nothing; or `add` gives a whole namespace, by itself or because
//!           the killed one had come that far; ip sees what we see
//! failed    success: it is done. An error: it names what failed, and nothing is left, but
//!           where it says that the way back failed too, or memory ran out
//! ```

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;

use super::common::crash::{Harm, Part, Point, Which, for_every_point_of};
use super::common::syscalls::Syscall;
use super::common::trace::Program;
use super::common::{Kind, dirs, sh, sh_any, world};
use super::{MISSING, NETSETUP, TAKEN, files, mounted, mounts, ns, ns_any};

/// Runs `netsetup ns` with these words, expecting one of these exit codes.
fn exits(words: &[&str], codes: &[i32]) -> Result<i32, String> {
    let output = ns_any(words);
    match output.status.code().filter(|code| codes.contains(code)) {
        Some(code) => Ok(code),
        None => Err(format!("{words:?} should exit {codes:?}: {output:?}")),
    }
}

/// Nothing has the name, and nothing is mounted for it, even out of sight.
fn is_gone() -> Result<(), String> {
    match (files().iter().filter(|name| *name != "other").count(), mounted()) {
        (0, n) if n == usize::from(dirs().netns.join("other").exists()) => Ok(()),
        _ => Err(format!("left: {:?}, {:?}", files(), mounts())),
    }
}

/// The name leads to a namespace, once, by ip's word.
fn is_whole() -> Result<(), String> {
    let used = sh_any("ip netns exec web ip -br link && ip netns list");
    let seen =
        String::from_utf8_lossy(&used.stdout).lines().filter(|l| l.starts_with("web")).count();
    let on_it = mounts().iter().filter(|(point, _)| point.ends_with("/web")).count();
    match (used.status.success(), seen, on_it) {
        (true, 1, 1) => Ok(()),
        _ => Err(format!("not whole: {used:?}, {:?}", mounts())),
    }
}

/// What is left of a run that was cut off is taken away by one of the two.
fn recover(turn: usize) -> Result<(), String> {
    if turn.is_multiple_of(2) {
        exits(&["delete", "web"], &[0, MISSING])?;
    } else {
        exits(&["add", "web"], &[0, TAKEN])?;
        is_whole()?;
        exits(&["delete", "web"], &[0])?;
    }
    is_gone()
}

fn judge(adds: bool, point: &Point, turn: usize) -> Result<(), String> {
    let outcome = &point.outcome;
    let died = outcome.status.signal().is_some();
    if matches!(point.harm, Harm::Kill) || died {
        return recover(turn);
    }
    if outcome.status.success() {
        if adds {
            is_whole()?;
            exits(&["delete", "web"], &[0])?;
        }
        return is_gone();
    }
    // Before main it is the C library that gives up.
    let libc = outcome.status.code() == Some(127);
    if !libc && !outcome.stderr.starts_with("netsetup: cannot ") {
        return Err("its message doesn't say what failed".to_owned());
    }
    if adds && !outcome.stderr.contains("the way back failed too") {
        is_gone()?;
    }
    recover(turn)
}

/// The first thing that main does with a system call: it asks for SIGINT.
fn main_begins(calls: &[Syscall]) -> usize {
    let sigint = |c: &&Syscall| c.name == "rt_sigaction" && c.args[0] == libc::SIGINT as u64;
    calls.iter().find(sigint).expect("main asks for SIGINT").n
}

/// All points of `netsetup ns` with these words, from `prepare` on.
fn every_point(label: &str, words: &[&str], prepare: &dyn Fn()) {
    let adds = words[0] != "delete";
    let turn = Cell::new(0);
    let part = Part {
        kill: Some(Harm::Kill),
        fail: true,
        first: &main_begins,
        which: Which::Every(1),
        passes_over: false,
    };
    let tally = for_every_point_of(
        &part,
        label,
        &|| Program::new(NETSETUP).args(["ns"]).args(words),
        &mut || prepare(),
        &mut |point| {
            turn.set(turn.get() + 1);
            judge(adds, point, turn.get()).err().into_iter().collect()
        },
    );
    assert!(tally.kills > 25 && tally.fails > 20, "{label}: {tally:?}");
}

#[test]
fn add() {
    world(Kind::User, || {
        // Once, so that all runs find the directory shared, and make the same calls.
        ns(&["add", "web"]);
        ns(&["delete", "web"]);
        every_point("add", &["add", "web"], &|| {});
    });
}

#[test]
fn add_with_the_directory() {
    world(Kind::User, || {
        let bare = || {
            sh_any("umount /run/netns");
            sh("rmdir /run/netns && mkdir /run/netns");
        };
        every_point("add, the first of all", &["add", "web"], &bare);
        assert_eq!(mounts().len(), 1, "the directory is one mount: {:?}", mounts());
    });
}

#[test]
fn add_over_a_leftover() {
    let leave = || {
        ns(&["add", "web"]);
        sh("umount /run/netns/web");
    };
    world(Kind::User, || {
        let part = Part {
            kill: Some(Harm::Kill),
            fail: false,
            first: &main_begins,
            which: Which::Every(1),
            passes_over: false,
        };
        let turn = Cell::new(0);
        for_every_point_of(
            &part,
            "add over a leftover",
            &|| Program::new(NETSETUP).args(["ns", "add", "web"]),
            &mut || leave(),
            &mut |_| {
                turn.set(turn.get() + 1);
                recover(turn.get()).err().into_iter().collect()
            },
        );
    });
}

#[test]
fn attach() {
    world(Kind::User, || {
        ns(&["add", "other"]);
        every_point("attach", &["attach", "web", "--netns", "/run/netns/other"], &|| {});
    });
}

#[test]
fn delete() {
    world(Kind::User, || {
        every_point("delete", &["delete", "web"], &|| drop(ns(&["add", "web"])));
    });
}
