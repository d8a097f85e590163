//! stop, start, kill, rename, rm: what becomes of a pod, and two at a time.

use std::time::{Duration, Instant};

use super::bed::{
    Before, any, before, end, fails, inspect, ok, pid_of, processes, spawn, state, until,
};
use super::common::{Kind, Ns, sh, sh_any, sh_out, world};
use super::share::helper;
use nix::sys::signal::Signal;

#[test]
fn stop_with_its_grace() {
    let helper = helper();
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let took = |line: &str| {
            let start = Instant::now();
            ok(line);
            start.elapsed()
        };
        let stubborn = "sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.1; done'";
        // One that ends by TERM is gone at once.
        ok("shim join $in -d --name app -- sleep 1000");
        assert!(took("shim stop app") < Duration::from_secs(5));
        assert_eq!(state("app"), "stopped 143");
        // One that doesn't is killed after the grace, and not before.
        ok(&format!("shim rm app && shim join $in -d --name app -- {stubborn}"));
        until("the trap", || ok("shim logs app") == "ready");
        let time = took("shim stop -t 1 app");
        assert!(time > Duration::from_secs(1) && time < Duration::from_secs(6), "{time:?}");
        assert_eq!(state("app"), "stopped 137");
        ok(&format!("shim rm app && shim join $in -d --name app -- {stubborn}"));
        assert!(took("shim stop -t 0 app") < Duration::from_secs(4));
        assert_eq!(state("app"), "stopped 137");
        // It is no error to stop what has ended.
        assert_eq!(ok("shim stop app app"), "app\napp");
        // Of a base: its members first, all within one grace.
        ok("shim rm app");
        for name in ["a", "b", "c"] {
            ok(&format!("shim join $in -d --name {name} -- {stubborn}"));
        }
        ok(&format!("shim join $in -d --name app -- {helper} signals"));
        until("ready", || {
            ok("shim logs a; shim logs b; shim logs c; shim logs app").lines().count() == 4
        });
        ok("shim join --net=container:base -d --name beside -- sleep 1000");
        let time = took("shim stop -t 1 base");
        assert!(time > Duration::from_secs(1) && time < Duration::from_secs(4), "{time:?}");
        assert_eq!(
            [state("a"), state("b"), state("c")],
            ["stopped 137", "stopped 137", "stopped 137"]
        );
        assert_eq!((state("app"), ok("shim logs app")), ("stopped 0".into(), "ready\n15".into()));
        // Who is in its network alone goes on.
        assert_eq!((state("base"), state("beside")), ("stopped".into(), "running".into()));
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn a_zombie_that_nobody_reaps_is_named() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        // Somebody else's: who joined, and doesn't wait for its child.
        let mut parent = spawn(&format!("nsenter -t {} -p sleep 7713", pid_of("base")));
        let sleeper = || sh_out("pgrep -fx 'sleep 7713' || true").parse().unwrap_or(0);
        until("it is there", || sleeper() != 0);
        let nsenter = parent.id().cast_signed();
        super::bed::kill(nsenter, Signal::SIGSTOP);
        let stat = || std::fs::read_to_string(format!("/proc/{nsenter}/stat")).expect("stat");
        until("it stands", || stat().contains(") T "));
        super::bed::kill(sleeper(), Signal::SIGKILL);
        let words =
            format!("is a zombie: its parent, process {nsenter} (nsenter), doesn't wait for it");
        let start = Instant::now();
        fails("shim stop -t 1 base", 1, &words);
        assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
        // With that one gone, so is what it held up.
        super::bed::kill(nsenter, Signal::SIGCONT);
        end(&mut parent);
        ok("shim stop base");
        assert_eq!(state("base"), "stopped");
        ok("shim rm base");
        before.is_now("rm");
    });
}

#[test]
fn the_dead_of_joined_containers_hold_nothing_up() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let words: Vec<String> =
            (0..20).map(|i| format!("shim join $in -d --name m{i} -- sh -c 'exit {i}'")).collect();
        ok(&words.join("; "));
        for i in 0..20 {
            assert_eq!(ok(&format!("shim wait m{i}")), i.to_string());
        }
        assert!(!processes().values().any(|line| line.contains(") Z ")), "{:?}", processes());
        let start = Instant::now();
        ok("shim stop base");
        assert!(start.elapsed() < Duration::from_secs(3));
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn a_new_pause_for_an_old_pod() {
    world(Kind::User, || {
        let before = before(true);
        ok("shim run -d --name base -p 8080:80 --hostname pod");
        ok("shim join --net=container:base --ipc=container:base -d --name outside -- sleep 1000");
        ok("shim join $in -d --name inside -- sleep 1000");
        let (net, outside) = (sh_out("stat -Lc %i /run/netns/base"), pid_of("outside"));
        let address = inspect("base")["networks"][0]["addresses"][0].clone();
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            super::bed::kill(pid_of("base"), signal);
            until("the end of pause", || state("base") == "stopped");
            until("the end of inside", || state("inside").starts_with("stopped"));
            // Outside of the pid namespace life goes on, and so do network and ports.
            assert_eq!((state("outside").as_str(), pid_of("outside")), ("running", outside));
            let ping = "ping -c1 -W2 10.89.0.1";
            Ns::named("base").sh(ping);
            fails("shim join $in -- true", 125, "its pause has ended");
            assert!(ok("shim join --net=container:base -- ip -br addr").contains("10.89.0."));
            ok("shim start base");
            assert_eq!(ok("shim start base"), "base", "it runs already");
            assert_eq!(sh_out("stat -Lc %i /run/netns/base"), net);
            assert_eq!(inspect("base")["networks"][0]["addresses"][0], address);
            assert_eq!(ok("shim join $in -- hostname"), "pod");
            ok(&format!("shim join $in -- {ping}"));
            fails("shim run -d --name other -p 8080:80", 125, "8080");
            ok("shim rm inside && shim join $in -d --name inside -- sleep 1000");
        }
        fails("shim start outside", 2, "it isn't a base");
        fails("shim start nosuch", 5, "there is none of that name");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn rm_and_its_force() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let with = Before::now();
        fails("shim rm base", 2, "it is running");
        ok("shim join $in -d --name app -- sleep 1000");
        fails("shim rm app", 2, "it is running");
        fails("shim rm nosuch", 5, "there is none of that name");
        fails("shim rm -f nosuch", 5, "there is none of that name");
        fails("shim rm ../base", 2, "name");
        ok("shim rm -f app");
        with.is_now("rm -f of a member");
        ok("shim join $in --name app -- true");
        ok("shim stop -t 1 base");
        fails("shim rm base", 2, "it has members: app");
        assert_eq!(
            any("shim rm app nosuch base").stdout,
            b"app\nbase\n",
            "the others go all the same"
        );
        before.is_now("rm");
        // A member may be somebody's own child, in the foreground.
        ok("shim run -d --name base --net none");
        let mut child = spawn("shim join $in --name app -- sleep 1000");
        until("it runs", || ok("shim ps -q -f state=running").contains("app"));
        ok("shim rm -f base");
        assert_eq!(end(&mut child).code(), Some(137));
        before.is_now("rm -f");
    });
}

#[test]
fn signals_by_name_and_number() {
    let helper = helper();
    world(Kind::User, || {
        ok("shim run -d --name base --net none");
        ok(&format!("shim join $in -d --name app -- {helper} signals"));
        until("ready", || ok("shim logs app") == "ready");
        let mut told = "ready".to_owned();
        for (signal, number) in [("HUP", 1), ("sigusr1", 10), ("34", 34), ("SIGINT", 2), ("64", 64)]
        {
            ok(&format!("shim kill -s {signal} app"));
            told += &format!("\n{number}");
            until(signal, || ok("shim logs app") == told);
        }
        fails("shim kill -s NOSUCH app", 2, "there is none of that name");
        fails("shim kill -s 65 app", 2, "there is none of that name");
        fails("shim kill nosuch", 5, "there is none of that name");
        ok("shim kill app");
        assert_eq!(ok("shim wait app"), "137");
        fails("shim kill app", 5, "it isn't running");
        ok("shim rm -f base");
    });
}

#[test]
fn another_name() {
    world(Kind::User, || {
        let before = before(true);
        ok("shim run -d --name base -p 8080:80");
        ok("shim join $in -d --name app -- sleep 1000");
        let pid = pid_of("base");
        ok("shim rename base pod");
        assert_eq!(ok("shim ps -q"), "pod\napp");
        assert_eq!((inspect("pod")["name"].as_str(), pid_of("pod")), (Some("pod"), pid));
        assert_eq!(sh_out("ip netns list | cut -d' ' -f1"), "pod");
        fails("shim inspect base", 5, "there is none of that name");
        ok("shim join --net=container:pod --pid=container:pod -- ping -c1 -W2 10.89.0.1");
        fails("shim rename pod app", 4, "there is one of that name");
        fails("shim rename nosuch x", 5, "there is none of that name");
        fails("shim rename pod a/b", 2, "name");
        ok("shim rename pod pod && shim rename app prog && shim stop -t 1 prog");
        assert_eq!(state("prog"), "stopped 143", "its monitor finds the record");
        // ip's own namespace of that name stays, and the pod has its old name then.
        sh("ip netns add taken");
        fails("shim rename pod taken", 4, "taken");
        assert_eq!(ok("shim ps -q"), "pod\nprog");
        Ns::named("pod").sh("ping -c1 -W2 10.89.0.1");
        sh("ip netns del taken");
        // Somebody else has taken ours away: there is nothing to rename or remove then.
        ok("shim stop -t 1 pod && shim start pod");
        ok("shim rm -f pod");
        before.is_now("rm -f");
    });
}

#[test]
fn its_name_in_run_netns_is_taken_by_another() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        sh("ip netns del base && ip netns add base");
        ok("shim join --pid=container:base -- true");
        ok("shim rm -f base");
        assert_eq!(sh_out("ip netns list"), "base", "it wasn't ours any more");
        sh("ip netns del base");
        before.is_now("rm -f");
    });
}

/// So many at once with one name: one of them has it, and the others say so.
#[test]
fn races_on_one_name() {
    world(Kind::User, || {
        let before = before(false);
        for round in 0..12 {
            let mut all: Vec<_> =
                (0..4).map(|_| spawn("shim run -d --name base --net none")).collect();
            let codes: Vec<_> = all.iter_mut().map(|c| end(c).code()).collect();
            assert_eq!(codes.iter().filter(|c| **c == Some(0)).count(), 1, "{round}: {codes:?}");
            assert!(codes.iter().all(|c| [Some(0), Some(125)].contains(c)), "{codes:?}");
            assert_eq!(state("base"), "running");
            let mut all: Vec<_> =
                (0..4).map(|_| spawn("shim join $in -d --name app -- sleep 1000")).collect();
            let codes: Vec<_> = all.iter_mut().map(|c| end(c).code()).collect();
            assert_eq!(codes.iter().filter(|c| **c == Some(0)).count(), 1, "{round}: {codes:?}");
            // Two that rename it, to one name or to two.
            let to = ["x", if round % 2 == 0 { "x" } else { "y" }];
            let mut all: Vec<_> =
                to.iter().map(|n| spawn(&format!("shim rename base {n}"))).collect();
            let codes: Vec<_> = all.iter_mut().map(|c| end(c).code()).collect();
            assert_eq!(codes.iter().filter(|c| **c == Some(0)).count(), 1, "{round}: {codes:?}");
            let name = ok("shim ps -q").lines().next().expect("a name").to_owned();
            assert_eq!(sh_out("ls /run/netns"), name);
            // rm beside rm, stop beside rm, join beside rm.
            let mut all = [
                spawn(&format!("shim rm -f {name}")),
                spawn(&format!("shim rm -f {name}")),
                spawn(&format!("shim stop -t 1 {name}")),
                spawn(&format!("shim join --net=container:{name} --pid=container:{name} -- true")),
            ];
            let codes: Vec<_> = all.iter_mut().map(|c| end(c).code()).collect();
            assert!(codes[..2].contains(&Some(0)), "{codes:?}");
            assert!(sh_any("ls -A /run/netns").stdout.is_empty());
            let left = before.left_processes();
            assert!(left.is_empty(), "{left:?}");
        }
        before.is_now("twelve rounds");
    });
}
