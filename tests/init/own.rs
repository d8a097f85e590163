//! What pause does under every name, and the inits don't: or not all of them, or not right.

use super::bed::{Outcome, Place, Run, children, field, ours, send, witness};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const NAMES: [&str; 4] = ["pause", "tini", "dumb-init", "catatonit"];

pub(crate) fn run(place: Place, words: &[&str]) -> Outcome {
    Run::start(place, words).end()
}

pub(crate) fn exits(code: i32, outcome: &Outcome) {
    assert_eq!(outcome.status, format!("exit {code}"), "{outcome:?}");
}

#[test]
fn a_name_chooses_the_init() {
    for (name, version) in [
        ("tini", "--version"),
        ("tini-static", "--version"),
        ("docker-init", "--version"),
        ("podman-init", "-V"),
        ("catatonit", "--version"),
        ("dumb-init", "-V"),
        ("pause", "--version"),
    ] {
        let outcome = run(Place::Plain, &[&ours(name), version]);
        exits(0, &outcome);
        assert!(outcome.output.starts_with("tini version "), "{name}: docker looks for that");
        assert!(outcome.output.contains(env!("CARGO_PKG_VERSION")), "{name}: {}", outcome.output);
        exits(5, &run(Place::Plain, &[&ours(name), "--", "/bin/sh", "-c", "exit 5"]));
        let help = run(Place::Plain, &[&ours(name), "-h"]);
        exits(0, &help);
        assert!(help.output.starts_with("Usage: "), "{help:?}");
    }
    let outcome = run(Place::Plain, &[&ours("pause"), "-v", "--", "/bin/true"]);
    exits(0, &outcome);
    assert!(outcome.output.contains("has ended with 0"), "-v with a command: {outcome:?}");
}

#[test]
fn a_flag_that_makes_no_sense_is_named() {
    let name = ours("pause");
    for (words, named) in [
        (&["-Z", "--", "true"][..], "-Z"),
        (&["--frobnicate", "--", "true"], "--frobnicate"),
        (&["-p", "SIGNONE", "--", "true"], "SIGNONE"),
        (&["-e", "256", "--", "true"], "256"),
        (&["-r", "15", "--", "true"], "15"),
        (&["--grace", "5h", "--", "true"], "5h"),
        (&["--"], "no command"),
    ] {
        let outcome = run(Place::Plain, &[&[&*name], words].concat());
        exits(1, &outcome);
        assert!(outcome.output.contains(named), "{words:?}: {outcome:?}");
    }
}

#[test]
fn a_command_that_cannot_be_executed_says_why() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("not-executable");
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str, mode| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let denied = file("denied", "", 0o644);
    let broken = file("broken", "#!/no/such/shell\n", 0o755);
    let script = file("script", "exit 9\n", 0o755);
    for name in NAMES {
        let name = ours(name);
        for (command, code, why) in [
            ("no-such-command", 127, "No such file or directory"),
            ("/no/such/command", 127, "No such file or directory"),
            (&*broken, 127, "No such file or directory"),
            (&*denied, 126, "Permission denied"),
            ("/", 126, "Permission denied"),
        ] {
            let outcome = run(Place::Plain, &[&name, "--", command]);
            exits(code, &outcome);
            let message = format!("cannot execute {command}: {why}");
            assert!(outcome.output.contains(&message), "{outcome:?}");
        }
        // Without a first line it is the shell's, as with execvp(3).
        exits(9, &run(Place::Plain, &[&name, "--", &script]));
    }
}

#[test]
fn looks_along_the_path() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("along-the-path");
    for (part, mode) in [("denied", 0o644), ("good", 0o755)] {
        let path = folder.join(part).join("found");
        fs::create_dir_all(folder.join(part)).unwrap();
        fs::write(&path, "#!/bin/sh\nexit 4\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let at = |part: &str| folder.join(part).display().to_string();
    let end = |path: &str| {
        let words = [&*ours("pause"), "--", "found"];
        Run::with(Place::Plain, &words, &[("PATH", path)]).end()
    };
    exits(4, &end(&format!("/no/such:{}:{}", at("denied"), at("good"))));
    exits(126, &end(&format!("{}:/no/such", at("denied"))));
    exits(127, &end(""));
    exits(4, &end(&format!("/{}:{}", "x".repeat(5000), at("good"))));
}

#[test]
fn exit_codes_are_remapped_on_request() {
    let end = |flags: &[&str], code: &str| {
        let script = format!("exit {code}");
        run(
            Place::Plain,
            &[&[&*ours("tini"), "-s"], flags, &["--", "/bin/sh", "-c", &script]].concat(),
        )
    };
    exits(143, &end(&[], "143"));
    exits(0, &end(&["-e", "143"], "143"));
    exits(0, &end(&["-e143", "-e", "255"], "255"));
    exits(144, &end(&["-e", "143"], "144"));
    let killed = [&*ours("pause"), "-e", "143", "--", "/bin/sh", "-c", "kill -TERM $$"];
    exits(0, &run(Place::First, &killed));
}

/// An init that leaves SIGCHLD ignored, as its caller may have it, waits forever.
#[test]
fn a_caller_that_ignores_sigchld_is_no_trap() {
    for name in NAMES {
        for place in [Place::Plain, Place::First] {
            let words = [&*ours(name), "--", witness(), "ignored", "leave"];
            let outcome = Run::called(&["ignore", "17"], place, &words, &[]).end();
            exits(3, &outcome);
            // Bit 16: the command has it as the caller had it. dumb-init gives it the default.
            let ignored = outcome.output.split("ignored ").nth(1).expect("a set");
            let set = u64::from_str_radix(ignored.split_whitespace().next().unwrap(), 16).unwrap();
            assert_eq!(set & 1 << 16 == 0, name == "dumb-init", "{name}: {outcome:?}");
        }
    }
}

#[test]
fn keeps_nothing_of_others() {
    for name in NAMES {
        let init = ours(name);
        let line = "exec 7</dev/null; exec \"$@\"";
        let words = ["/bin/sh", "-c", line, "sh", &init, "--", witness(), "record"];
        let run = Run::start(Place::Plain, &words);
        run.saw("ready").settle();
        let files = |pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert_eq!(files(run.init), 3, "{name}");
        assert!(files(run.witness().unwrap()) > 3, "{name}: the command's own");
        assert_eq!(fs::read_link(format!("/proc/{}/cwd", run.init)).unwrap(), Path::new("/"));
        let cwd = fs::read_link(format!("/proc/{}/cwd", run.witness().unwrap())).unwrap();
        assert_eq!(cwd, std::env::current_dir().unwrap(), "{name}");
    }
}

#[test]
fn sockets_that_were_handed_over_are_the_commands() {
    for name in NAMES {
        let init = ours(name);
        // The shell's process id is the init's, after exec.
        let line = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" -- /bin/sh -c 'echo $LISTEN_PID is $$'";
        let outcome = run(Place::Plain, &["/bin/sh", "-c", line, "sh", &init]);
        let said = outcome.output.lines().find(|line| line.contains(" is ")).expect("a line");
        let (listen, own) = said.split_once(" is ").unwrap();
        assert_eq!(listen, own, "{name}: {outcome:?}");
        // Somebody else's stays as it is.
        let line = "LISTEN_PID=1 exec \"$@\" -- /bin/sh -c 'echo pid $LISTEN_PID'";
        let outcome = run(Place::Plain, &["/bin/sh", "-c", line, "sh", &init]);
        assert!(outcome.output.contains("pid 1\n"), "{name}: {outcome:?}");
    }
}

/// The orphan goes on after the command has ended; without a word to the contrary it is
/// left behind, or goes with PID 1.
#[test]
fn waits_for_all_others() {
    for place in [Place::Plain, Place::First] {
        let words = [&*ours("pause"), "--wait-all", "--", witness(), "orphan", "exit"];
        let run = Run::start(place, &words);
        run.saw_times("ready", 2);
        run.until_children(2);
        let all = children(run.init);
        send(all[0], 10);
        run.saw("signal 10");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(children(run.init), all[1..], "waits for the other");
        run.signal(15);
        let outcome = run.end();
        exits(50, &outcome);
        assert!(outcome.output.contains("signal 15"), "TERM went to it: {outcome:?}");
    }
}

#[test]
fn term_a_grace_and_kill_to_what_is_left() {
    for place in [Place::Plain, Place::First] {
        // One that heeds TERM, and one that doesn't.
        let deaf = "trap '' TERM; echo deaf; sleep 1000";
        let line = format!("({deaf}) & {} orphan; sleep 0.4; exit 3", witness());
        let words = [&*ours("pause"), "--grace", "300ms", "--", "/bin/sh", "-c", &line];
        let start = Instant::now();
        let outcome = run(place, &words);
        let took = start.elapsed();
        exits(3, &outcome);
        assert!(outcome.output.contains("signal 15"), "{outcome:?}");
        assert!(took > Duration::from_millis(700) && took < Duration::from_secs(10), "{took:?}");
    }
    // Nobody left: no grace.
    let start = Instant::now();
    exits(0, &run(Place::First, &[&ours("pause"), "--grace", "15s", "--", "/bin/true"]));
    assert!(start.elapsed() < Duration::from_secs(10));
    // A command that is deaf itself.
    let words = [&*ours("pause"), "--grace", "300ms", "--", witness(), "record"];
    let run = Run::start(Place::First, &words);
    run.saw("ready").signal(15);
    exits(137, &run.end());
}

#[test]
fn orphans_are_reaped_and_told_of() {
    let words = [&*ours("tini"), "-s", "-w", "--", "/bin/sh", "-c", "(sleep 0.1 &); sleep 0.5"];
    let outcome = run(Place::Plain, &words);
    assert!(outcome.output.contains("tini: reaped zombie process with pid="), "{outcome:?}");
    let words = [&*ours("tini"), "--", "/bin/true"];
    assert!(run(Place::Plain, &words).output.contains("orphans go to others"));
    let quiet = Run::with(Place::Plain, &words, &[("TINI_VERBOSITY", "0")]).end();
    assert_eq!(quiet.output, "");
}

/// What is said of a witness that neglects a zombie.
const NEGLECTS: &str = "(init-helper) does not wait for its zombies";

/// pause as PID 1 over a shell's line, in which `$0` is the witness; with a /proc of its own
/// PID namespace, or with that of another.
fn over_own_proc(own: bool, line: &str, variables: &[(&str, &str)]) -> Run {
    let mount = "mount -t proc proc /proc && exec \"$@\"";
    let with_proc = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", mount, "sh"];
    let init = ours("pause");
    let words = [&*init, "--", "/bin/sh", "-c", line, witness()];
    let words = if own { [&with_proc[..], &words].concat() } else { words.to_vec() };
    let run = Run::with(Place::First, &words, variables);
    run.saw("ready").settle();
    run
}

/// A zombie whose parent doesn't wait isn't the init's, which says so: when a signal comes
/// by, or an orphan has ended, and once.
#[test]
fn a_parent_that_neglects_its_zombies_is_named() {
    let neglects = "exec \"$0\" neglect record";
    for signal in [17, 28] {
        let run = over_own_proc(true, neglects, &[]);
        run.until_zombie();
        assert!(!run.written().contains(NEGLECTS), "nothing happened yet: {}", run.written());
        run.signal(signal);
        // The shell that mounts /proc has started a 2.
        run.saw(&format!("pause: 3 {NEGLECTS}"));
        run.signal(signal);
        run.signal(15);
        assert_eq!(run.saw("signal 15").written().matches(NEGLECTS).count(), 1, "once");
    }
    over_own_proc(true, &format!("(sleep 0.2 &); {neglects}"), &[]).saw(NEGLECTS);
    // Not asked to say it; numbers of another namespace; and one that waits.
    let waits = "while :; do sleep 0.01; done & exec \"$0\" record";
    for (own_proc, line, variables) in [
        (true, neglects, &[("TINI_VERBOSITY", "0")][..]),
        (false, neglects, &[]),
        (true, waits, &[]),
    ] {
        let run = over_own_proc(own_proc, line, variables);
        for _ in 0..20 {
            run.signal(17);
        }
        run.signal(15);
        run.saw("signal 15");
        assert!(!run.written().contains("zombies"), "{line}: {}", run.written());
    }
}

/// ^Z stops the command and its init, so that a shell sees it; continued with the
/// terminal, the command has it again.
#[test]
fn stops_and_goes_on_with_its_command() {
    for name in ["pause", "tini", "catatonit"] {
        let words = [&*ours(name), "--", witness(), "default"];
        let mut run = Run::start(Place::Terminal, &words);
        run.saw("ready").settle();
        run.press(&[0x1a]);
        run.settle_at("TT");
        run.signal(18);
        run.settle_at("SS");
        run.press(&[0x03]);
        exits(130, &run.end());
    }
}

/// Nothing wakes it: not time, not a command at work, not zombies that aren't its own.
#[test]
fn nothing_wakes_an_idle_init() {
    let busy = "while :; do sleep 0.02; done & exec \"$0\" record";
    let idle = [over_own_proc(false, "exec \"$0\" record", &[]), over_own_proc(true, busy, &[])];
    let neglecting = over_own_proc(true, "exec \"$0\" neglect record", &[]);
    neglecting.until_zombie();
    let all = idle.iter().chain([&neglecting]);
    let switches = || {
        let of = |run: &Run| {
            let status = fs::read_to_string(format!("/proc/{}/status", run.init)).unwrap();
            let number = |name| field(&status, name).parse::<u64>().unwrap();
            number("voluntary_ctxt_switches") + number("nonvoluntary_ctxt_switches")
        };
        all.clone().map(of).collect::<Vec<_>>()
    };
    let before = switches();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(switches(), before);
    // It can be seen to wake, and then to look.
    send(neglecting.init, 17);
    neglecting.saw(NEGLECTS);
    assert!(switches()[2] > before[2]);
}

#[test]
fn ends_by_the_signal_of_its_parents_end() {
    let line = format!("{} -p TERM -- {} exit & sleep 0.5; echo left", ours("pause"), witness());
    let outcome = run(Place::Plain, &["/bin/sh", "-c", &line]);
    assert!(outcome.output.contains("left\nsignal 15"), "{outcome:?}");
}
