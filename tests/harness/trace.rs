//! The tracer counts, kills and fails exactly the call that it is told to.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;

use super::common::syscalls::Failure;
use super::common::trace::{Follow, Leftover, Program, count, fail_at, kill_at, kill_one_at};
use super::common::{Kind, scratch, sh, world};
use super::{fails, runs};

fn shell(script: &str) -> Program {
    Program::new("sh").args(["-c", script])
}

#[test]
fn counts_are_stable_and_complete() {
    world(Kind::User, || {
        let (first, outcome) = count(Program::new("/bin/true"));
        assert!(outcome.status.success() && outcome.reached.is_none() && !outcome.timed_out);
        assert_eq!(outcome.calls, first.len());
        assert_eq!(first.last().expect("calls").name, "exit_group");
        let names = |calls: &[super::common::syscalls::Syscall]| -> Vec<_> {
            calls.iter().map(|c| (c.n, c.name.clone(), c.text.clone())).collect()
        };
        for _ in 0..20 {
            assert_eq!(names(&count(Program::new("/bin/true")).0), names(&first));
        }
        // strace counts the same, but for the execve that it starts with.
        sh("strace -f -o /run/scratch/strace /bin/true 2>/dev/null || true");
        if let Ok(text) = std::fs::read_to_string("/run/scratch/strace") {
            let lines = text.lines().filter(|l| !l.contains("+++")).count();
            assert_eq!(lines - 1, first.len(), "{text}");
        }
    });
}

#[test]
fn killed_at_every_call_a_file_exists_exactly_in_its_window() {
    world(Kind::User, || {
        let file = scratch().join("f");
        let name = file.to_str().expect("UTF-8");
        let script = || shell(&format!(": >{name}; exec rm {name}"));
        let (calls, _) = count(script());
        let at = |names: &[&str]| {
            let is = |c: &&super::common::syscalls::Syscall| {
                c.text.as_deref() == Some(name) && names.contains(&c.name.as_str())
            };
            calls.iter().find(is).expect("the call").n
        };
        let (made, removed) = (at(&["open", "openat"]), at(&["unlink", "unlinkat"]));
        for n in 1..=calls.len() {
            std::fs::remove_file(&file).ok();
            let outcome = kill_at(script(), n);
            let call = outcome.reached.expect("as many calls as before");
            assert_eq!((call.n, &call.name), (n, &calls[n - 1].name));
            assert_eq!(outcome.status.signal(), Some(9), "{call}");
            assert_eq!(
                file.exists(),
                made < n && n <= removed,
                "{call}; window {made}..={removed}"
            );
        }
        let outcome = kill_at(script(), calls.len() + 1);
        assert!(outcome.reached.is_none() && outcome.status.success());
        println!("{} kills, window {made}..={removed}", calls.len());
    });
}

#[test]
fn a_failed_call_is_not_made_and_the_program_hears_why() {
    world(Kind::User, || {
        sh("echo hello >/run/scratch/hello");
        let cat = || Program::new("cat").args(["/run/scratch/hello"]);
        let (calls, outcome) = count(cat());
        assert_eq!(outcome.stdout, "hello\n");
        let find = |name: &str, text: &str| {
            calls
                .iter()
                .rfind(|c| c.name == name && c.text.as_deref() == Some(text))
                .expect("call")
                .n
        };
        let outcome = fail_at(cat(), find("openat", "/run/scratch/hello"), Errno::EMFILE);
        assert_eq!(outcome.stderr, "cat: /run/scratch/hello: Too many open files\n");
        assert_eq!((outcome.stdout.as_str(), outcome.status.code()), ("", Some(1)));
        let outcome = fail_at(cat(), find("write", "hello\n"), Errno::ENOSPC);
        assert!(outcome.stderr.contains("No space left on device"), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
        // An unlink that has failed has not been made.
        let rm = || Program::new("rm").args(["/run/scratch/hello"]);
        let (calls, _) = count(rm());
        sh("echo hello >/run/scratch/hello");
        let n = calls.iter().find(|c| c.name.starts_with("unlink")).expect("unlink").n;
        let outcome = fail_at(rm(), n, Errno::EIO);
        assert!(outcome.stderr.contains("Input/output error"), "{outcome:?}");
        sh("test -e /run/scratch/hello");
    });
}

#[test]
fn a_failing_brk_is_what_the_kernel_would_do() {
    world(Kind::User, || {
        let (calls, _) = count(shell("true"));
        let is = |c: &&super::common::syscalls::Syscall| {
            c.name == "brk" && matches!(c.failure(), Failure::With(_))
        };
        let brk = calls.iter().find(is).expect("glibc's malloc grows the break");
        let outcome = fail_at(shell("true"), brk.n, Errno::ENOMEM);
        // malloc turns to mmap; a made-up -ENOMEM would be taken for an address.
        assert!(outcome.status.success(), "{outcome:?}");
        assert!(outcome.reached.is_some() && outcome.calls != calls.len(), "{outcome:?}");
    });
}

/// A program with threads, for the next test; by itself it passes.
#[test]
fn four_threads() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(std::fs::metadata("/proc/self/status").is_ok()));
        }
    });
}

#[test]
fn threads_are_followed_and_die_together() {
    world(Kind::User, || {
        let program = || {
            Program::new(std::env::current_exe().expect("exe")).args([
                "trace::four_threads",
                "--exact",
                "--nocapture",
            ])
        };
        let (calls, outcome) = count(program());
        assert!(outcome.status.success() && outcome.stdout.contains("1 passed"), "{outcome:?}");
        let mut looks = calls.iter().filter(|c| c.text.as_deref() == Some("/proc/self/status"));
        let tids: BTreeSet<i32> = looks.clone().map(|c| c.tid).collect();
        assert!(tids.len() >= 4, "{tids:?}");
        let last = looks.next_back().expect("calls").n;
        for n in [last / 3, last / 2, last / 3 * 2] {
            let outcome = kill_at(program(), n);
            assert_eq!(outcome.status.signal(), Some(9), "{outcome:?}");
            assert!(!runs("trace::four_threads"));
        }
    });
}

#[test]
fn forked_processes_are_followed_and_die_together() {
    world(Kind::User, || {
        let script = || shell("sleep 77130 & rm -f /run/scratch/x; sleep 0.3; kill $!; wait; true");
        let calls = count(script()).0;
        let tids: BTreeSet<i32> = calls.iter().map(|c| c.tid).collect();
        assert_eq!(tids.len(), 4);
        // In the middle, where children are on their way.
        for n in [calls.len() / 2, calls.len() / 3 * 2] {
            let outcome = kill_at(script(), n);
            assert_eq!(outcome.status.signal(), Some(9), "{outcome:?}");
            assert!(!runs("77130") && !runs("/run/scratch/x"));
        }
    });
}

#[test]
fn one_process_is_killed_and_the_others_go_on() {
    world(Kind::User, || {
        let script = || shell("(: >/run/scratch/x; :); echo child $?; exit 3");
        let calls = count(script()).0;
        let makes = |c: &&super::common::syscalls::Syscall| {
            c.text.as_deref() == Some("/run/scratch/x") && c.name.starts_with("open")
        };
        let n = calls.iter().find(makes).expect("the child makes the file").n;
        // Parent and child take turns as they like: until the n-th call is that one again.
        let same = |_| {
            std::fs::remove_file("/run/scratch/x").ok();
            let outcome = kill_one_at(script(), n);
            outcome.reached.as_ref().is_some_and(|c| makes(&c)).then_some(outcome)
        };
        let outcome = (0..200).find_map(same).expect("the same order once more");
        assert!(!std::path::Path::new("/run/scratch/x").exists());
        // Its parent has heard how it ended, and went on.
        assert!(outcome.stdout.ends_with("child 137\n"), "{}", outcome.stdout);
        assert_eq!(outcome.status.code(), Some(3));
    });
}

#[test]
fn followed_until_it_is_another_program() {
    world(Kind::User, || {
        let script = || shell("sleep 77135 >/dev/null 2>&1 & exit 3");
        let (own, outcome) = count(script().follow(Follow::UntilExec));
        // It was let go: the run ends before it does, and none of its calls are counted.
        assert!(outcome.status.code() == Some(3) && !outcome.timed_out, "{outcome:?}");
        let child = own.iter().rfind(|c| c.tid != own[0].tid).expect("a call of the child");
        assert_eq!(child.name, "execve", "its last: {own:?}");
        assert!(runs("77135"));
        sh("pkill -fx 'sleep 77135'");
    });
}

#[test]
fn processes_that_outlive_the_program() {
    world(Kind::User, || {
        let script = |time: &str| shell(&format!("sleep {time} >/dev/null & exit 3"));
        let outcome = count(script("77131").leftover(Leftover::Kill)).1;
        assert!(
            outcome.status.code() == Some(3) && !outcome.timed_out && !runs("77131"),
            "{outcome:?}"
        );
        let soon = Duration::from_secs(1);
        let outcome = count(script("77132").deadline(soon)).1;
        assert!(
            outcome.status.code() == Some(3) && outcome.timed_out && !runs("77132"),
            "{outcome:?}"
        );
        // Both when the child is still on its way and when it has come to rest.
        for wait in ["", "sleep 0.2; "] {
            let script = shell(&format!("setsid sleep 77133 >/dev/null & {wait}exit 3"));
            let outcome = count(script.leftover(Leftover::Detach)).1;
            assert!(outcome.status.code() == Some(3) && !outcome.timed_out, "{outcome:?}");
            std::thread::sleep(Duration::from_millis(100));
            assert!(runs("77133"));
            let state = "ps -eo stat=,args= | grep '^S.* sleep 77133'";
            sh(&format!("{state} && pkill -x sleep && sleep 0.1"));
        }
    });
}

#[test]
fn a_program_that_hangs_is_killed_and_said_to_hang() {
    world(Kind::User, || {
        let outcome =
            count(Program::new("sleep").args(["77134"]).deadline(Duration::from_millis(200))).1;
        assert!(outcome.timed_out && outcome.status.signal() == Some(9), "{outcome:?}");
    });
}

#[test]
fn stdin_and_signals_reach_the_program_and_other_children_are_left_alone() {
    world(Kind::User, || {
        let mut child = Command::new("sh").args(["-c", "exit 5"]).spawn().expect("sh");
        std::thread::sleep(Duration::from_millis(50));
        let outcome = count(Program::new("cat").stdin("some input")).1;
        assert_eq!(outcome.stdout, "some input");
        // USR1, and a real-time signal, for which libraries have no name.
        for signal in ["USR1", "40"] {
            let outcome = count(shell(&format!(
                "trap 'echo got; exit 7' {signal}; kill -{signal} $$; echo no"
            )))
            .1;
            assert_eq!((outcome.stdout.as_str(), outcome.status.code()), ("got\n", Some(7)));
        }
        let outcome = count(shell("kill -TERM $$")).1;
        assert_eq!(outcome.status.signal(), Some(15));
        assert_eq!(child.wait().expect("its status is still there").code(), Some(5));
        fails(|| count(Program::new("/no/such/program")));
    });
}
