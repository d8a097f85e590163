//! pause under seccomp filters: the published ones, which allow what it needs and no more,
//! and such as take away what it can't do without.

use super::bed::{Outcome, Place, Run, ours, witness};
use std::collections::BTreeSet;

/// The numbers of the calls that the profiles name.
const NUMBERS: &[(&str, i64)] = &[
    ("capset", libc::SYS_capset),
    ("chdir", libc::SYS_chdir),
    ("clone", libc::SYS_clone),
    ("close_range", libc::SYS_close_range),
    ("execve", libc::SYS_execve),
    ("exit", libc::SYS_exit),
    ("exit_group", libc::SYS_exit_group),
    ("getdents64", libc::SYS_getdents64),
    ("getpgid", libc::SYS_getpgid),
    ("getpid", libc::SYS_getpid),
    ("ioctl", libc::SYS_ioctl),
    ("kill", libc::SYS_kill),
    ("madvise", libc::SYS_madvise),
    ("openat", libc::SYS_openat),
    ("prctl", libc::SYS_prctl),
    ("read", libc::SYS_read),
    ("rt_sigaction", libc::SYS_rt_sigaction),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask),
    ("rt_sigtimedwait", libc::SYS_rt_sigtimedwait),
    ("setitimer", libc::SYS_setitimer),
    ("setpgid", libc::SYS_setpgid),
    ("setsid", libc::SYS_setsid),
    ("wait4", libc::SYS_wait4),
    ("write", libc::SYS_write),
];

const HOLD: &str = include_str!("../../pause/seccomp/hold.json");
const INIT: &str = include_str!("../../pause/seccomp/init.json");

/// The calls that a profile allows.
pub(crate) fn allowed(profile: &str) -> BTreeSet<String> {
    let profile: serde_json::Value = serde_json::from_str(profile).expect("a profile");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let groups = profile["syscalls"].as_array().expect("groups");
    let names = groups.iter().flat_map(|group| {
        assert_eq!(group["action"], "SCMP_ACT_ALLOW");
        group["names"].as_array().expect("names")
    });
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// Whether the profiles may name such a call.
pub(crate) fn is_call(word: &str) -> bool {
    NUMBERS.iter().any(|(known, _)| *known == word)
}

fn numbers<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let number = |name| {
        let known = NUMBERS.iter().find(|(known, _)| *known == name);
        known.unwrap_or_else(|| panic!("{name}: no such call")).1.to_string()
    };
    names.into_iter().map(number).collect::<Vec<_>>().join(",")
}

/// What is run: flags, the command's flags, the exit code. The command is pause, too: the
/// filter is its own as well.
fn modes() -> Vec<(&'static str, &'static [&'static str], i32)> {
    vec![
        ("tini", &["-s", "-g", "-w", "-p", "KILL"], 0),
        ("tini", &["-e", "5"], 0),
        ("dumb-init", &[], 0),
        ("dumb-init", &["-c", "-r", "15:2"], 0),
        ("catatonit", &[], 0),
        ("pause", &[], 0),
        ("pause", &["--wait-all"], 0),
        ("pause", &["--grace", "5s"], 0),
    ]
}

fn exits(code: i32, outcome: &Outcome) {
    assert_eq!(outcome.status, format!("exit {code}"), "{outcome:?}");
}

#[test]
fn each_mode_runs_under_the_published_filter() {
    let (hold, init) = (allowed(HOLD), allowed(INIT));
    let hold = numbers(hold.iter().map(String::as_str));
    let init = numbers(init.iter().map(String::as_str));
    let pause = ours("pause");
    for place in [Place::Plain, Place::First] {
        let run = Run::start(place, &[witness(), "allow", &hold, "exec", &pause]);
        run.until_ignored();
        run.signal(15);
        let outcome = run.end();
        exits(0, &outcome);
        assert!(outcome.output.contains("Shutting down, got signal: Terminated"), "{outcome:?}");
        for (name, flags, code) in modes() {
            let init = [witness(), "allow", &init, "exec", &ours(name)];
            let words = [&init, flags, &["--", &pause, "-v"]].concat();
            let outcome = Run::start(place, &words).end();
            exits(code, &outcome);
            assert!(outcome.output.contains("podkeel-pause"), "{outcome:?}");
            // A signal is passed on, and the exit code comes back.
            let words = [&init, flags, &["--", "/no/such"]].concat();
            exits(127, &Run::start(place, &words).end());
        }
    }
}

/// Nothing is allowed that no mode needs: strace(1) sees every call of the list.
#[test]
fn the_published_filters_allow_nothing_more() {
    let log = tempfile("calls");
    let mut seen = BTreeSet::new();
    let modes = modes().into_iter().map(|(name, flags, _)| (Place::Plain, name, flags));
    for (place, name, flags) in modes.chain([(Place::Terminal, "pause", &[][..])]) {
        let strace = ["/usr/bin/strace", "-f", "-qq", "-o", &log, &ours(name)];
        let _ = std::fs::remove_file(&log);
        Run::start(place, &[&strace, flags, &["--", "/no/such"]].concat()).end();
        let text = std::fs::read_to_string(&log).expect("what strace saw");
        let calls = text.lines().filter_map(|line| line.split_once(' ')?.1.trim().split_once('('));
        let name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        seen.extend(calls.filter(|(call, _)| name(call)).map(|(call, _)| call.to_owned()));
    }
    // That one is for where exit_group is refused: see below.
    seen.insert("exit".to_owned());
    assert_eq!(seen, allowed(INIT));
}

fn tempfile(name: &str) -> String {
    let own = format!("{name}-{:?}", std::thread::current().id());
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(own).display().to_string()
}

/// Every way leads to a call that blocks, or to the end.
#[test]
fn does_not_spin_whatever_is_refused() {
    let pause = ours("pause");
    let end = |calls: &[&str], place| {
        let denied = numbers(calls.iter().copied());
        let words = [witness(), "deny", &denied, "exec", &pause, "--", &pause, "-v"];
        Run::start(place, &words).end()
    };
    for place in [Place::Plain, Place::First] {
        for refused in [
            &["write"][..],
            &["wait4"],
            &["rt_sigtimedwait"],
            &["exit_group"],
            &["chdir", "close_range", "ioctl", "openat", "prctl", "setpgid", "kill", "getpgid"],
        ] {
            exits(0, &end(refused, place));
        }
        exits(1, &end(&["clone"], place));
        exits(1, &end(&["rt_sigprocmask"], place));
        let outcome = end(&["wait4", "rt_sigtimedwait"], place);
        exits(1, &outcome);
        assert!(outcome.output.contains("cannot wait for anything"), "{outcome:?}");
        // unshare ends like its child.
        assert_eq!(end(&["exit_group", "exit"], place).status, "signal 4");
    }
}
