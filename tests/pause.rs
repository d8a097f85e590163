//! pause against the kernel: as PID 1 of a PID namespace and as an ordinary
//! process, compiled by cargo and as the copy that shim carries.
//!
//! The namespaces are made with unshare(1), a user namespace among them, so root
//! isn't needed where the kernel lets users have those.

#[path = "common/helper.rs"]
#[allow(unreachable_pub, reason = "as the other test programs see it")]
mod build;
#[path = "common/elf.rs"]
mod elf;
#[path = "pause/memory.rs"]
mod memory;
#[path = "pause/pod.rs"]
mod pod;

use nix::sys::signal::Signal;
use pod::{Pod, field, helper, run_alone};
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

/// pause as this profile builds it, and as shim carries it.
const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_pause"), CARRIED];
const CARRIED: &str = env!("PODKEEL_PAUSE");

const WARNING: &str = "Warning: pause should be the first process\n";
const TERMINATED: &str = "Shutting down, got signal: Terminated\n";
const INTERRUPTED: &str = "Shutting down, got signal: Interrupt\n";

fn run(program: impl AsRef<OsStr>, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    output.expect("cannot run a program")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("stderr is text")
}

#[test]
fn lies_in_two_segments_that_cannot_be_written() {
    for program in PROGRAMS.map(Path::new) {
        elf::assert_static(program);
        let segments = elf::segments(program);
        let of = |kind| segments.iter().filter(move |s| s.kind == kind).map(|s| s.flags);
        let name = program.display();
        assert_eq!(
            of(elf::PT_LOAD).map(|flags| flags & elf::PF_W).collect::<Vec<_>>(),
            [0, 0],
            "{name}"
        );
        assert_eq!(
            of(elf::PT_GNU_STACK).map(|flags| flags & elf::PF_X).collect::<Vec<_>>(),
            [0],
            "{name}"
        );
        assert_eq!(of(elf::PT_DYNAMIC).count(), 0, "{name}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn is_at_most_8192_bytes() {
    // A development build carries debug information; the carried copy never does.
    let programs = if cfg!(debug_assertions) { &PROGRAMS[1..] } else { &PROGRAMS[..] };
    for program in programs {
        let size = std::fs::metadata(program).unwrap().len();
        println!("{program}: {size} bytes");
        assert!(size <= 8192, "{program} has {size} bytes");
    }
}

#[cfg(not(debug_assertions))]
#[test]
fn the_carried_copy_is_the_release_build() {
    let [built, carried] = PROGRAMS.map(|program| std::fs::read(program).unwrap());
    assert!(built == carried, "{PROGRAMS:?} differ");
}

#[test]
fn says_its_version() {
    let version = format!("podkeel-pause {}\n", env!("CARGO_PKG_VERSION"));
    for program in PROGRAMS {
        for args in [&["-v"][..], &["-V"], &["something", "else", "-v"]] {
            let output = run(program, args);
            assert_eq!(output.status.code(), Some(0));
            assert_eq!(String::from_utf8_lossy(&output.stdout), version);
            assert_eq!(stderr(&output), "");
        }
    }
}

#[test]
fn warns_when_it_is_not_the_first_process() {
    for program in PROGRAMS {
        for (signal, message) in [(Signal::SIGTERM, TERMINATED), (Signal::SIGINT, INTERRUPTED)] {
            let pause = Pod::without_namespace(Command::new(program).args(["-vv", "v", "", "-"]));
            pause.signal(signal as i32);
            let output = pause.end();
            assert_eq!(output.status.code(), Some(0));
            assert_eq!(stderr(&output), format!("{WARNING}{message}"));
            assert_eq!(output.stdout, b"");
        }
    }
}

#[test]
fn leaves_on_term_and_int_as_pid_1() {
    for program in PROGRAMS {
        for (signal, message) in [(Signal::SIGTERM, TERMINATED), (Signal::SIGINT, INTERRUPTED)] {
            for from_inside in [false, true] {
                let pod = Pod::new(&[program]);
                let asked = Instant::now();
                match from_inside {
                    true => pod.inside_to_the_end(&["signal", "1", &(signal as i32).to_string()]),
                    false => pod.signal(signal as i32),
                }
                let output = pod.end();
                println!("{signal} to exit, seen through unshare: {:?}", asked.elapsed());
                assert_eq!(output.status.code(), Some(0));
                assert_eq!(stderr(&output), message);
                assert_eq!(output.stdout, b"");
            }
        }
    }
}

/// All signals but INT and TERM; without KILL and STOP as well if `outer`, for
/// those two reach a PID 1 from an outer PID namespace.
fn other_signals(outer: bool) -> Vec<i32> {
    let mut leaving = vec![libc::SIGINT, libc::SIGTERM];
    if outer {
        leaving.extend([libc::SIGKILL, libc::SIGSTOP]);
    }
    let others: Vec<i32> = (1..=64).filter(|signal| !leaving.contains(signal)).collect();
    assert_eq!(others.len(), if outer { 60 } else { 62 });
    others
}

#[test]
fn survives_every_other_signal_as_pid_1() {
    for program in PROGRAMS {
        // With an inherited mask that blocks everything, too.
        for before in [&["exec", program][..], &["block", "exec", program]] {
            let pod = Pod::new(&[&[helper()], before].concat());
            for signal in other_signals(true) {
                pod.signal(signal);
            }
            let signals = other_signals(false).iter().map(i32::to_string).collect::<Vec<_>>();
            pod.inside(&["signal", "1", &signals.join(",")]);
            let status = pod.status();
            assert_eq!(field(&status, "ShdPnd"), "0000000000000000", "{program}: queued");
            assert_eq!(field(&status, "SigPnd"), "0000000000000000", "{program}: queued");
            assert_eq!(field(&status, "SigCgt"), "0000000000000000", "{program}: has handlers");
            assert_eq!(field(&status, "State"), "S (sleeping)");
            pod.signal(libc::SIGTERM);
            let output = pod.end();
            assert_eq!((output.status.code(), stderr(&output)), (Some(0), TERMINATED));
        }
    }
}

#[test]
fn sleeps_on_after_stop_and_continue() {
    for program in PROGRAMS {
        let pod = Pod::new(&[program]);
        pod.signal(libc::SIGSTOP);
        pod.await_state("T (stopped)");
        pod.signal(libc::SIGCONT);
        pod.await_state("S (sleeping)");
        pod.signal(libc::SIGTERM);
        let output = pod.end();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), TERMINATED));
    }
}

#[test]
fn a_signal_from_before_the_start_is_not_lost() {
    for program in PROGRAMS {
        let run = |verbs: &[&str]| run_alone(&[&[helper()], verbs, &["exec", program]].concat());
        let output = run(&["block", "raise", "15"]);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), TERMINATED));
        let output = run(&["block", "raise", "2"]);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), INTERRUPTED));
    }
}

#[test]
fn leaves_on_signals_that_its_parent_ignored() {
    for program in PROGRAMS {
        let pod = Pod::new(&["sh", "-c", "trap '' INT TERM; exec \"$0\"", program]);
        pod.signal(libc::SIGTERM);
        let output = pod.end();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), TERMINATED));
    }
}

#[test]
fn works_with_closed_descriptors() {
    for program in PROGRAMS {
        let pod = Pod::new(&["sh", "-c", "exec \"$0\" <&- >&- 2>&-", program]);
        pod.signal(libc::SIGTERM);
        assert_eq!(pod.end().status.code(), Some(0));
        let output = run("sh", &["-c", "exec \"$0\" -v <&- >&- 2>&-", program]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!((output.stdout, output.stderr), (vec![], vec![]));
    }
}

/// What a storm of orphans has cost the PID 1 that got them.
#[derive(Debug, PartialEq)]
struct Cost {
    voluntary: u64,
    involuntary: u64,
    nanoseconds: u64,
}

/// Lets a storm loose on a PID 1 and waits until no child of it is left but
/// `staying`, not even a zombie.
fn storm(pod: &Pod, rounds: u32, size: u32, staying: usize) -> Cost {
    let look = || {
        let status = pod.status();
        let number = |name| field(&status, name).parse::<u64>().unwrap();
        let used = pod.proc("schedstat").split(' ').next().unwrap().parse::<u64>().unwrap();
        [number("voluntary_ctxt_switches"), number("nonvoluntary_ctxt_switches"), used]
    };
    pod.await_children(staying);
    let before = look();
    pod.inside(&["storm", &rounds.to_string(), &size.to_string()]);
    pod.await_children(staying);
    let [voluntary, involuntary, nanoseconds] = look();
    Cost {
        voluntary: voluntary - before[0],
        involuntary: involuntary - before[1],
        nanoseconds: nanoseconds - before[2],
    }
}

#[test]
fn a_storm_of_100_000_orphans_does_not_wake_it() {
    let pod = Pod::new(&[CARRIED]);
    let cost = storm(&pod, 100, 1000, 0);
    println!("pause, 100,000 orphans: {cost:?}");
    assert_eq!(cost, Cost { voluntary: 0, involuntary: 0, nanoseconds: 0 });
    pod.signal(libc::SIGTERM);
    assert_eq!(pod.end().status.code(), Some(0));
}

/// The other ways to collect zombies, beside pause in the same storm: that they
/// show up in the counters is what makes the zeros of pause a measurement. The
/// number of orphans can be set, to measure at length.
#[test]
fn reaping_by_hand_does_wake() {
    let orphans: u32 = match std::env::var("PODKEEL_TEST_ORPHANS") {
        Ok(number) => number.parse().expect("PODKEEL_TEST_ORPHANS is a number"),
        Err(_) => 2_000,
    };
    for (rounds, size) in [(orphans, 1), (orphans / 1_000, 1_000)] {
        let cost = storm(&Pod::new(&[CARRIED]), rounds, size, 0);
        println!("pause, {rounds} times {size} orphans: {cost:?}");
        assert_eq!(cost, Cost { voluntary: 0, involuntary: 0, nanoseconds: 0 });
        for (way, staying) in [("reap-by-handler", 0), ("reap-by-wait", 1)] {
            let pod = Pod::start(&[helper(), way]);
            pod.await_asleep_as("pause-helper");
            let cost = storm(&pod, rounds, size, staying);
            println!("{way}, {rounds} times {size} orphans: {cost:?}");
            assert!(cost.voluntary + cost.involuntary > 0, "{way}: {cost:?}");
            assert!(cost.nanoseconds > 0, "{way}: {cost:?}");
        }
    }
}

#[test]
fn collects_zombies_from_before_its_start() {
    for program in PROGRAMS {
        let pod = Pod::new(&[helper(), "zombie", "zombie", "exec", program]);
        pod.await_children(0);
    }
    // The same two zombies do stay with a program that doesn't collect them.
    let pod = Pod::start(&[helper(), "zombie", "zombie", "exec", "/bin/sleep", "1000"]);
    pod.await_children(2);
}

#[test]
fn drops_all_capabilities() {
    const SETS: [&str; 4] = ["CapInh", "CapPrm", "CapEff", "CapAmb"];
    // With ambient capabilities at the start, so that each of the sets has one.
    let start = |program| {
        [
            "setpriv",
            "--inh-caps",
            "+net_admin",
            "--ambient-caps",
            "+net_admin",
            helper(),
            "exec",
            program,
        ]
    };
    for program in PROGRAMS {
        let pod = Pod::new(&start(program));
        let status = pod.status();
        assert_eq!(SETS.map(|set| field(&status, set)), ["0000000000000000"; 4], "{program}");
        assert_eq!(field(&status, "NoNewPrivs"), "1");
    }
    let pod = Pod::start(&[&start("/bin/sleep")[..], &["1000"]].concat());
    pod.await_asleep_as("sleep");
    let status = pod.status();
    for set in SETS {
        assert_ne!(field(&status, set), "0000000000000000", "{set} was empty from the start");
    }
}

/// The command that is pause under a seccomp filter that denies some system calls.
fn denied<'a>(program: &'a str, calls: &'a str) -> [&'a str; 5] {
    [helper(), "deny", calls, "exec", program]
}

/// Numbers of system calls as the helper takes them.
fn list(calls: &[i64]) -> String {
    calls.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

#[test]
fn lives_without_what_it_can_do_without() {
    for program in PROGRAMS {
        let calls = [
            libc::SYS_capset,
            libc::SYS_madvise,
            libc::SYS_prctl,
            libc::SYS_wait4,
            libc::SYS_write,
        ];
        let pod = Pod::new(&denied(program, &list(&calls)));
        pod.signal(libc::SIGTERM);
        let output = pod.end();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    }
}

#[test]
fn tells_by_its_exit_code_what_was_refused() {
    for program in PROGRAMS {
        let cases = [
            (libc::SYS_rt_sigprocmask, 1, ""),
            (libc::SYS_rt_sigaction, 3, ""),
            (libc::SYS_rt_sigtimedwait, 42, "Error: infinite loop terminated\n"),
        ];
        for (call, code, message) in cases {
            let output = run_alone(&denied(program, &list(&[call])));
            assert_eq!((output.status.code(), stderr(&output)), (Some(code), message));
        }
    }
}

#[test]
fn does_not_spin_when_it_may_not_exit() {
    for program in PROGRAMS {
        let pod = Pod::new(&denied(program, &list(&[libc::SYS_exit_group])));
        pod.signal(libc::SIGTERM);
        assert_eq!(pod.end().status.code(), Some(0), "exit(2) is the way out");

        let pod = Pod::new(&denied(program, &list(&[libc::SYS_exit_group, libc::SYS_exit])));
        pod.signal(libc::SIGTERM);
        let output = pod.end();
        // unshare ends like its child.
        assert_eq!(output.status.signal(), Some(libc::SIGILL), "{:?}", output.status);
        assert_eq!(stderr(&output), TERMINATED);
    }
}
