//! kill -9 of shim, monitor, pause and member, in every order: what the records say is
//! right, `rm -f` brings the world back, and a pid that is another's by now is nobody's.

use nix::sys::signal::Signal::{self, SIGKILL};
use serde_json::{Value, json};

use super::bed::{
    Before, before, end, fails, inspect, kill, monitor_of, ok, pid_of, spawn, state, until,
};
use super::common::{Kind, dirs, sh, sh_out, world};

/// Whom a round kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// shim in the foreground, with a member on record.
    Shim,
    /// The parent of a detached member.
    Monitor,
    Pause,
    /// The detached member.
    Member,
}

/// All orders of these.
fn orders(of: &[Victim]) -> Vec<Vec<Victim>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let rest = |one: &Victim| of.iter().copied().filter(|v| v != one).collect::<Vec<_>>();
    let each = |one| orders(&rest(one)).into_iter().map(move |o| [vec![*one], o].concat());
    of.iter().flat_map(each).collect()
}

#[test]
fn any_of_them_in_every_order() {
    world(Kind::User, || {
        let before = before(false);
        let all = [Victim::Shim, Victim::Monitor, Victim::Pause, Victim::Member];
        let orders = orders(&all);
        assert_eq!(orders.len(), 24);
        for order in orders {
            one_order(&before, &order);
        }
        before.is_now("24 orders");
    });
}

fn one_order(before: &Before, order: &[Victim]) {
    ok("shim run -d --name base --net none");
    ok("shim join $in -d --name app -- sleep 1000");
    let mut shim = spawn("shim join $in --name fore -- sleep 1001");
    until("the third", || ok("shim ps -q -f state=running").lines().count() == 3);
    let pid = |victim| match victim {
        Victim::Shim => shim.id().cast_signed(),
        Victim::Monitor => monitor_of("app"),
        Victim::Pause => pid_of("base"),
        Victim::Member => pid_of("app"),
    };
    let pids: Vec<(Victim, i32)> = order.iter().map(|v| (*v, pid(*v))).collect();
    let mut dead = Vec::new();
    for (victim, pid) in pids {
        // The kernel has killed members together with pause, and a monitor ends with its own.
        if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), SIGKILL).is_ok() {
            until("its end", || !lives(pid));
        }
        dead.push(victim);
        let told = format!("{order:?}, after {dead:?}");
        let is = |victim| dead.contains(&victim);
        let base = if is(Victim::Pause) { "stopped" } else { "running" };
        until(&told, || state("base") == base);
        let ended = is(Victim::Pause) || is(Victim::Member);
        until(&told, || (state("app") == "running") != ended);
        if ended {
            // How is known to who waited for it, unless that one was killed before.
            let first = dead.iter().position(|v| *v == Victim::Monitor);
            let end = dead.iter().position(|v| [Victim::Pause, Victim::Member].contains(v));
            let known = first.is_none() || first > end;
            let word = if known { "stopped 137" } else { "stopped" };
            until(&format!("{told}: {word} {}", state("app")), || state("app") == word);
        }
        // A member in the foreground outlives its shim, and not its pause.
        until(&told, || (state("fore") == "running") != is(Victim::Pause));
    }
    end(&mut shim);
    ok("shim rm -f base");
    assert_eq!(ok("shim ps -q"), "");
    let left = before.left_processes();
    assert!(left.is_empty(), "{order:?}: {left:?}");
}

fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Changes one field of a record on disk.
fn forge(name: &str, field: &str, value: Value) {
    let path = dirs().run.join("pods").join(name).join("container.json");
    let text = std::fs::read(&path).expect("a record");
    let mut record: Value = serde_json::from_slice(&text).expect("JSON");
    record[field] = value;
    std::fs::write(path, record.to_string()).expect("write");
}

/// The stranger has the pid that is on record, and another start time.
#[test]
fn a_pid_that_is_anothers_by_now() {
    world(Kind::User, || {
        let before = before(false);
        let mut stranger = spawn("sleep 7714");
        let pid = stranger.id().cast_signed();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        let start: u64 = stat.split(' ').nth(21).expect("a start time").parse().expect("a number");
        let with = Before::now();
        for wrong in
            [json!({"pid": pid, "start": start - 1}), json!({"pid": pid, "start": start + 1})]
        {
            ok("shim run -d --name base --net none");
            ok("shim join $in -d --name app -- sleep 1000");
            kill(pid_of("app"), SIGKILL);
            until("its end", || state("app") == "stopped 137");
            kill(pid_of("base"), SIGKILL);
            until("its end", || state("base") == "stopped");
            for name in ["base", "app"] {
                forge(name, "process", wrong.clone());
                forge(name, "monitor", wrong.clone());
                assert!(state(name).starts_with("stopped"), "{}", state(name));
                assert!(inspect(name)["pid"].is_null() && inspect(name)["monitor"].is_null());
                fails(&format!("shim kill {name}"), 5, "it isn't running");
            }
            ok("shim stop base app");
            fails("shim join $in -- true", 125, "its pause has ended");
            ok("shim start base");
            assert_ne!(pid_of("base"), pid);
            ok("shim rm -f base");
            assert!(stranger.try_wait().expect("wait").is_none(), "the stranger is alive");
            with.is_now("rm -f");
        }
        // From another boot even the right start time is nobody's.
        ok("shim run -d --name base --net none");
        let pause = pid_of("base");
        forge("base", "process", json!({"pid": pid, "start": start}));
        forge("base", "boot", "00000000-0000-0000-0000-000000000000".into());
        assert_eq!(state("base"), "stopped");
        fails("shim start base", 5, "earlier boot");
        ok("shim rm -f base");
        assert!(stranger.try_wait().expect("wait").is_none(), "the stranger is alive");
        kill(pause, SIGKILL);
        kill(pid, SIGKILL);
        end(&mut stranger);
        before.is_now("rm -f");
    });
}

/// shim dies with its base in the foreground: pause goes on, and is on record.
#[test]
fn a_base_in_the_foreground_outlives_its_shim() {
    world(Kind::User, || {
        let before = before(true);
        let mut child = spawn("shim run --name base -p 8080:80");
        until("a base", || ok("shim ps -q -f state=running") == "base");
        ok("shim join $in -d --name app -- sleep 1000");
        child.kill().expect("kill");
        end(&mut child);
        assert_eq!((state("base"), state("app")), ("running".into(), "running".into()));
        sh("ip netns exec base ping -c1 -W2 10.89.0.1");
        ok("shim stop -t 2 base && shim start base");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

/// A monitor that is killed takes nothing but the exit status with it.
#[test]
fn what_a_killed_monitor_takes_with_it() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        sh("mkfifo /run/scratch/go");
        let script = "echo before; read x </run/scratch/go; echo after; exit 5";
        ok(&format!("shim join $in -d --name app -- sh -c '{script}'"));
        until("a line", || ok("shim logs app") == "before");
        let monitor = monitor_of("app");
        kill(monitor, SIGKILL);
        until("its end", || !lives(monitor));
        assert_eq!(state("app"), "running");
        let mut waiter = spawn("shim wait app");
        sh("echo >/run/scratch/go");
        assert_eq!(end(&mut waiter).code(), Some(5));
        let mut said = String::new();
        std::io::Read::read_to_string(&mut waiter.stderr.take().expect("piped"), &mut said)
            .expect("read");
        assert!(said.contains("the process that waited for it was killed"), "{said}");
        assert_eq!((ok("shim logs app"), state("app")), ("before\nafter".into(), "stopped".into()));
        // Its zombie, if any, is init's; pause can end.
        ok("shim stop -t 2 base");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

/// A stopped shim or monitor keeps nobody from ending the rest.
#[test]
fn those_who_wait_stand_still() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        ok("shim join $in -d --name app -- sleep 1000");
        let monitor = monitor_of("app");
        kill(monitor, Signal::SIGSTOP);
        // Until it stands it may yet reap: what wakes it looks for its child first.
        let stat = || std::fs::read_to_string(format!("/proc/{monitor}/stat")).expect("stat");
        until("it stands", || stat().contains(") T "));
        // It can't reap its child, and that keeps pause from ending: it is named.
        let words = format!("is a zombie: its parent, process {monitor} (");
        fails("shim stop -t 1 base", 1, &words);
        kill(monitor, Signal::SIGCONT);
        until("the end of pause", || state("base") == "stopped");
        assert_eq!(state("app"), "stopped 143");
        assert!(!sh_out("ps -e -o stat=").contains('Z'));
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}
