//! kill -9 of each of those at work, at any moment: what is on record is right, and
//! `shim rm -f` takes all away.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bed::{
    Bundle, ENGINES, POD, SHIM, STAYS, base, inspect, known_to, shim, shim_any, until,
};
use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, cgroup, sh_any, world};

/// The container's program, and nobody else's.
const PROGRAM: &str = "exec /busybox sleep 471147";

/// A process: its number, its parent's, its words.
type Process = (i32, i32, Vec<String>);

fn processes() -> Vec<Process> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    let read = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let rest = &stat[stat.rfind(')')? + 2..];
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let words = words.split('\0').map(str::to_owned).collect();
        (state != "Z").then_some((pid, parent, words))
    };
    pids.filter_map(read).collect()
}

/// Whom to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Shim,
    Monitor,
    /// The one that makes the container.
    Runtime,
    /// The one that lets its program begin, where that is another.
    Starter,
}

impl Victim {
    /// Its process, if there is one now.
    fn find(self, shim: i32, engine: &str) -> Option<i32> {
        let all = processes();
        let runs = |words: &[String], verbs: &[&str]| {
            words[0].ends_with(&format!("/{engine}"))
                && words.get(1).is_some_and(|w| verbs.contains(&w.as_str()))
        };
        let is = |(pid, parent, words): &&Process| match self {
            Victim::Shim => *pid == shim,
            Victim::Monitor => *parent == shim && words[0].contains("shim"),
            Victim::Runtime => runs(words, &["run", "create"]),
            Victim::Starter => runs(words, &["start"]),
        };
        all.iter().find(is).map(|(pid, ..)| *pid)
    }
}

/// A name that no other test's container has: its control groups are the host's.
fn name() -> String {
    cgroup("app").trim_matches('/').replace('/', ".")
}

fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
}

fn program_runs() -> bool {
    processes().iter().any(|(.., words)| words.iter().any(|w| w == "471147"))
}

fn start(words: &str) -> Child {
    let quiet = Stdio::null;
    let mut command = Command::new(SHIM);
    command.args(words.split(' ')).stdin(quiet()).stdout(quiet()).stderr(quiet());
    command.spawn().expect("shim")
}

/// One join, with a victim that is killed so long after it is there. Whether it was caught.
fn killed(victim: Victim, engine: &str, words: &str, delay: Duration) -> bool {
    let mut child = start(words);
    let shim_pid = i32::try_from(child.id()).expect("a pid");
    let mut caught = false;
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end && child.try_wait().expect("wait").is_none() {
        if let Some(pid) = victim.find(shim_pid, engine) {
            std::thread::sleep(delay);
            kill(pid);
            caught = true;
            break;
        }
    }
    judge(&mut child, &format!("{victim:?} of {engine} {delay:?}: {words}"));
    caught
}

/// What is on record agrees with what is there; then it is taken away.
fn judge(child: &mut Child, what: &str) {
    // In the foreground shim stays for as long as the container does.
    let settled = until(|| {
        let all: Value = serde_json::from_str(&shim("ps --format json")).expect("JSON");
        let container = all.as_array().into_iter().flatten().find(|c| c["name"] == *name());
        match container.and_then(|app| app["status"].as_str()) {
            Some("creating") => false,
            Some("running") => program_runs(),
            _ => true,
        }
    });
    assert!(settled, "{what}: {}", shim("ps"));
    // One that shim itself takes away meanwhile isn't there any more.
    if shim("ps -q").contains(&name()) {
        let removed = shim_any(&format!("rm -f {}", name()));
        let said = String::from_utf8_lossy(&removed.stderr).into_owned();
        let gone = removed.status.code() == Some(5);
        assert!(removed.status.success() || gone, "{what}: {said}");
    }
    assert!(until(|| child.try_wait().expect("wait").is_some()), "{what}: shim is there");
    assert!(until(|| !program_runs()), "{what}: the container runs");
    let left = || shim("ps -q").replace("base", "");
    assert!(until(|| left().is_empty()), "{what}: {}", shim("ps"));
}

/// No runtime has anything of it: no state, no control group, no process.
fn forgotten(engine: &str, what: &str) {
    assert_eq!(known_to(engine), "", "{what}");
    let state = format!("/run/{engine}");
    let folders = || fs::read_dir(&state).map_or(0, |all| all.flatten().count());
    assert!(until(|| folders() == 0), "{what}: {:?}", sh_any(&format!("ls {state}")));
    let runs = |p: &Process| p.2[0].ends_with(&format!("/{engine}")) || p.2[0] == engine;
    assert!(until(|| !processes().iter().any(runs)), "{what}: {:?}", processes());
    // `unified` isn't mounted in a world; crun makes folders there all the same.
    let groups = format!(
        "ls -d /sys/fs/cgroup{0} /sys/fs/cgroup/[!u]*{0} 2>/dev/null; \
         find /sys/fs/cgroup/[!u]* -name 'app-??????' 2>/dev/null",
        cgroup("app")
    );
    let groups = || String::from_utf8_lossy(&sh_any(&groups).stdout).into_owned();
    assert!(until(|| groups().is_empty()), "{what}: {}", groups());
    assert!(!fs::exists("/run/podkeel/bundles").unwrap(), "{what}");
}

fn storm(victim: Victim, detach: bool) {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let before = dump(&[]);
            let bundle = Bundle::runs("app", PROGRAM);
            // Its control groups are called as config.json says, or after the container.
            let unnamed = Bundle::runs("unnamed", PROGRAM).with(|config| {
                config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
            });
            let how = if detach { "-d " } else { "" };
            let words = [bundle, unnamed]
                .map(|b| format!("join {POD} {how}--name {} {}", name(), b.words(engine)));
            let mut caught = 0;
            for (millis, words) in (0..60).step_by(3).zip(words.iter().cycle()) {
                let delay = Duration::from_millis(millis);
                caught += u32::from(killed(victim, engine, words, delay));
                forgotten(engine, &format!("{victim:?} of {engine} after {millis} ms, {how}"));
            }
            println!("{victim:?} of {engine} {how}: {caught} of 20 caught");
            assert!(caught >= 5, "only {caught} of 20 were caught");
            assert_same_world(&before, &dump(&[]), STAYS);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn shim_in_the_foreground() {
    storm(Victim::Shim, false);
}

#[test]
#[ignore = "needs root"]
fn shim_that_would_leave() {
    storm(Victim::Shim, true);
}

#[test]
#[ignore = "needs root"]
fn the_monitor() {
    storm(Victim::Monitor, true);
}

#[test]
#[ignore = "needs root"]
fn the_runtime_in_the_foreground() {
    storm(Victim::Runtime, false);
}

#[test]
#[ignore = "needs root"]
fn the_runtime_that_would_leave() {
    storm(Victim::Runtime, true);
}

#[test]
#[ignore = "needs root"]
fn the_runtime_that_starts() {
    storm(Victim::Starter, true);
}

/// The runtime is killed while the container runs: shim itself waits on.
#[test]
#[ignore = "needs root"]
fn a_container_outlives_its_runtime() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let bundle =
                Bundle::runs("app", "trap 'exit 6' TERM; while :; do /busybox sleep 0.02; done");
            let words = format!("join {POD} --name app {}", bundle.words(engine));
            let mut child = start(&words);
            assert!(until(|| shim("ps -q -f state=running").contains("app")));
            let pid = i32::try_from(child.id()).expect("a pid");
            kill(Victim::Runtime.find(pid, engine).expect("the runtime"));
            assert!(until(|| Victim::Runtime.find(pid, engine).is_none()));
            assert_eq!(inspect("app")["status"], "running");
            assert!(child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(100));
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM)
                .unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(6));
            assert_eq!(shim("wait app"), "6");
            shim("rm app");
            forgotten(engine, "after all");
        });
    }
}

/// A monitor that is killed takes nothing with it but the exit status.
#[test]
#[ignore = "needs root"]
fn without_its_monitor_it_runs_on() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let bundle = Bundle::runs("app", PROGRAM);
            shim(&format!("join {POD} -d --name app {}", bundle.words(engine)));
            let monitor = inspect("app")["monitor"]["pid"].as_i64().expect("a monitor");
            kill(i32::try_from(monitor).expect("a pid"));
            assert!(until(|| inspect("app")["monitor"].is_null()));
            assert_eq!(inspect("app")["status"], "running");
            shim("kill app");
            assert!(until(|| inspect("app")["status"] == "stopped"));
            assert!(inspect("app")["exit"].is_null());
            shim("rm app");
            forgotten(engine, "after all");
        });
    }
}
