//! Detached: the log, the status, and the monitor that keeps it.

use super::bed::{
    any, before, end, fails, inspect, kill, monitor_of, ok, pid_of, spawn, state, until,
};
use super::common::{Kind, sh, world};
use nix::sys::signal::Signal;

#[test]
fn the_log_tail_and_follow() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let script = "echo one; echo two >&2; printf \"three\\nfour\"; read x </run/scratch/go; echo; echo five";
        sh("mkfifo /run/scratch/go");
        ok(&format!("shim join $in -d --name app -- sh -c '{script}'"));
        until("four lines", || ok("shim logs app") == "one\ntwo\nthree\nfour");
        assert_eq!(ok("shim logs --tail 2 app"), "three\nfour");
        assert_eq!(ok("shim logs -n 0 app"), "");
        assert_eq!(ok("shim logs -n 99 app"), "one\ntwo\nthree\nfour");
        let mut all = spawn("shim logs -f app");
        let mut last = spawn("shim logs -f -n 1 app");
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(all.try_wait().expect("wait").is_none(), "it follows");
        sh("echo >/run/scratch/go");
        assert!(end(&mut all).success() && end(&mut last).success());
        let read = |child: &mut std::process::Child| {
            std::io::read_to_string(child.stdout.take().expect("piped")).expect("read")
        };
        assert_eq!(read(&mut all), "one\ntwo\nthree\nfour\nfive\n");
        assert_eq!(read(&mut last), "four\nfive\n");
        assert_eq!((ok("shim wait app"), state("app")), ("0".into(), "stopped 0".into()));
        // Of one that has ended, -f ends at once. The log goes with the record.
        assert_eq!(ok("shim logs -f -n 1 app"), "five");
        assert!(any("shim logs app | head -1").status.success());
        ok("shim rm app");
        fails("shim logs app", 5, "there is none of that name");
        ok("shim join $in --name app -- true");
        fails("shim logs app", 2, "it runs in the foreground");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn ten_megabytes_of_output() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let line = "x".repeat(99);
        let size = 10_000_000;
        let script = format!("yes {line} | head -c {size}; echo end >&2");
        ok(&format!("shim join $in -d --name app -- sh -c '{script}'"));
        assert_eq!(ok("shim logs -f app | wc -c"), (size + 4).to_string());
        assert_eq!(ok("shim wait app"), "0");
        assert_eq!(
            ok("shim logs app | wc -lc | xargs"),
            format!("{} {}", size / 100 + 1, size + 4)
        );
        assert_eq!(ok("shim logs -n 2 app"), format!("{line}\nend"));
        assert_eq!(ok("shim logs -n 70000 app | wc -l"), "70000");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn wait_and_its_codes() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        ok("shim join $in -d --name a -- sh -c 'sleep 0.3; exit 3'");
        ok("shim join $in -d --name b -- sh -c 'kill -USR1 $$'");
        assert_eq!(ok("shim wait a b a"), "3\n138\n3");
        let b = inspect("b");
        assert_eq!(
            (b["exit"]["code"].as_i64(), b["exit"]["signal"].as_i64()),
            (Some(138), Some(10))
        );
        assert!(b["monitor"].is_null(), "it has left: {b}");
        // Renamed while it is waited for: the same one.
        ok("shim join $in -d --name c -- sh -c 'sleep 0.5; exit 9'");
        let mut waiter = spawn("shim wait c");
        std::thread::sleep(std::time::Duration::from_millis(100));
        ok("shim rename c d");
        assert!(end(&mut waiter).success());
        assert_eq!(state("d"), "stopped 9", "the monitor found its record by another name");
        // Of a base nobody knows.
        let mut waiter = spawn("shim wait base");
        std::thread::sleep(std::time::Duration::from_millis(50));
        ok("shim stop -t 1 base");
        assert_eq!(end(&mut waiter).code(), Some(5));
        fails("shim wait nosuch", 5, "there is none of that name");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn names_of_its_own_and_records_that_go_by_themselves() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let name = ok("shim join $in -d -- sleep 1000");
        assert!(name.starts_with("app-"), "{name}");
        ok(&format!("shim kill -s TERM {name}"));
        assert_eq!(ok(&format!("shim wait {name}")), "143");
        ok(&format!("shim rm {name}"));
        ok("shim join $in -d --rm --name short -- true");
        until("no record", || ok("shim ps -q") == "base");
        ok("shim join $in --rm --name short -- true");
        assert_eq!(ok("shim ps -q"), "base");
        assert_eq!(any("shim join $in --rm --name short -- sh -c 'exit 5'").status.code(), Some(5));
        assert_eq!(ok("shim ps -q"), "base");
        fails("shim join $in --rm -- true", 125, "has no record");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn stopped_and_continued_the_monitor_goes_on() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        ok("shim join $in -d --name app -- sleep 1000");
        let stat = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        let (pid, monitor) = (pid_of("app"), monitor_of("app"));
        ok("shim kill -s STOP app");
        until("it stands", || stat(pid).contains(") T "));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!stat(monitor).contains(") T "), "the monitor has to reap it: {}", stat(monitor));
        ok("shim kill -s CONT app && shim kill -s TERM app");
        assert_eq!(ok("shim wait app"), "143");
        ok("shim rm app");
        // One that stands is ended all the same.
        ok("shim join $in -d --name app -- sleep 1000 && shim kill -s STOP app");
        ok("shim stop -t 1 app");
        assert_eq!(state("app"), "stopped 137");
        // Signals to the monitor are not for its child, and don't end it.
        ok("shim rm app && shim join $in -d --name app -- sleep 1000");
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
            kill(monitor_of("app"), signal);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(state("app"), "running");
        ok("shim kill app");
        assert_eq!(ok("shim wait app"), "137");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn who_calls_it_gets_its_pipes_back() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        // Until both outputs are closed, `ok` waits: were one held, this would hang.
        let start = std::time::Instant::now();
        ok("shim join $in -d --name app -- sleep 30");
        ok("shim stop -t 1 app && shim start base");
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}
