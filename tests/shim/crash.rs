//! shim, and each process that it has forked, dies at every one of its system calls, or
//! is told that the call has failed; then `rm -f` brings the world back.
//!
//! ```text
//! killed    the one process that makes the call; the others go on. The world is recovered
//!           by one of three in turn:
//!             rm      shim rm -f
//!             again   the same verb once more, and rm -f
//!             gc      netsetup gc, and rm -f
//!           then it is equal, no process is left, and the name is free
//! failed    success: what was asked for is there, or a warning says what isn't
//!           an error: it says what failed, and, where something was to be made, nothing
//!           is left without any recovery, unless the error says that the way back failed
//! ```
//!
//! Processes are followed until they become another program: pause, the monitor and the
//! member run on, as they do when shim is killed. What comes before `main` is tried by
//! netsetup's own tests: it is the run-time's, and the same.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use super::bed::{Before, NETSETUP, SHIM, any, before, inspect, ok, state};
use super::common::crash::{Harm, Part, Point, Which, for_every_point_of};
use super::common::syscalls::Syscall;
use super::common::trace::{Follow, Program};
use super::common::{Kind, dirs, output, told, worlds};

/// What stands for the state of the world at each point; all of it is compared at the end.
#[derive(Clone, PartialEq, Eq)]
struct Light(BTreeSet<String>);

impl Light {
    fn now() -> Light {
        let mut all = BTreeSet::new();
        for dir in [dirs().run, dirs().netns, dirs().leases] {
            walk(&dir, &mut all);
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        all.extend(
            mounts.lines().filter_map(|l| l.split(' ').nth(4)).map(|m| format!("mount {m}")),
        );
        Light(all)
    }

    fn differs(&self) -> Vec<String> {
        let now = Light::now();
        let more = now.0.difference(&self.0).map(|f| format!("{f}: added"));
        more.chain(self.0.difference(&now.0).map(|f| format!("{f}: removed"))).collect()
    }
}

fn walk(dir: &Path, all: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("last_reserved_ip.") {
            all.insert(entry.path().display().to_string());
        }
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), all);
        }
    }
}

/// What is killed, and how it is judged.
struct Scene {
    /// The words of the run that is harmed.
    line: &'static str,
    /// Before each run.
    prepare: &'static str,
    /// What must work after one that said it succeeded.
    whole: &'static str,
    /// Whether it makes something, which an error leaves nothing of.
    makes: bool,
    /// Takes away whatever there is; each may be missing.
    names: &'static [&'static str],
    every: usize,
}

/// Which half of the points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Series {
    Kill,
    Fail,
}

const BOTH: [Series; 2] = [Series::Kill, Series::Fail];

/// How the points ended.
#[derive(Debug, Default)]
struct Report {
    /// Killed, and recovered by each of the three.
    by: [usize; 3],
    /// A call failed, and what was asked for was done.
    harmless: usize,
    /// A call failed, most was done, and a warning said what wasn't.
    warned: usize,
    /// A call failed, and nothing was left.
    undone: usize,
    /// The error said that the way back failed, too; or something was to be taken away.
    later: usize,
}

struct Judge<'a> {
    scene: &'a Scene,
    with: Light,
    before: &'a Before,
    turn: usize,
    report: Report,
}

impl Scene {
    fn program(&self) -> Program {
        let all = ["net", "ipc", "pid", "uts"].map(|k| format!("--{k}=container:base"));
        let words = self.line.split(' ').flat_map(|word| match word {
            "$in" => all.to_vec(),
            "$id" => vec![inspect("app")["id"].as_str().expect("an id").to_owned()],
            other => vec![other.to_owned()],
        });
        Program::new(SHIM).args(words).follow(Follow::UntilExec)
    }

    fn run(&self, series: Series, label: &str, before: &Before) {
        let label = &format!("{label}, {series:?}");
        let judge = RefCell::new(Judge {
            scene: self,
            with: Light::now(),
            before,
            turn: 0,
            report: Report::default(),
        });
        let kill = (series == Series::Kill).then_some(Harm::KillOne);
        let fail = series == Series::Fail;
        for_every_point_of(
            &Part {
                kill,
                fail,
                first: &main_begins,
                which: Which::Every(self.every),
                passes_over: true,
            },
            label,
            &|| self.program(),
            &mut || drop((!self.prepare.is_empty()).then(|| ok(self.prepare))),
            &mut |point| judge.borrow_mut().judge(point).err().into_iter().collect(),
        );
        println!("{label}: {:?}", judge.into_inner().report);
    }
}

impl Judge<'_> {
    fn judge(&mut self, point: &Point) -> Result<(), String> {
        let success = point.outcome.status.success();
        let listed = any("shim ps --format json");
        if !listed.status.success() || !listed.stderr.is_empty() {
            return Err(told("shim ps", &listed));
        }
        match point.harm {
            Harm::Kill | Harm::KillOne => {
                let by = self.turn % 3;
                self.turn += 1;
                self.report.by[by] += 1;
                return self.recover(by);
            }
            Harm::Fail(_) if point.outcome.status.signal() == Some(libc::SIGABRT) => {
                return self.recover(0);
            }
            Harm::None if !success => return Err("it failed without any harm".into()),
            Harm::None => {}
            Harm::Fail(_) if success => self.report.harmless += 1,
            Harm::Fail(_) => return self.failed(point),
        }
        if point.outcome.stderr.contains("shim: warning: ") {
            self.report.warned += 1;
            return self.recover(0);
        }
        let whole = any(self.scene.whole);
        if !whole.status.success() {
            return Err(format!("it said success: {}", told(self.scene.whole, &whole)));
        }
        self.recover(0)
    }

    fn failed(&mut self, point: &Point) -> Result<(), String> {
        let said = &point.outcome.stderr;
        if !said.starts_with("shim: ") || said.contains("panicked") {
            return Err("its error is none of its own".into());
        }
        let way_back = ["failed too", "hint: shim rm -f"].iter().any(|w| said.contains(w));
        if self.scene.makes && !way_back {
            self.report.undone += 1;
            let mut left = self.with.differs();
            left.extend(self.before.left_processes());
            if !left.is_empty() {
                return Err(format!("the error says nothing of what is left: {left:?}"));
            }
        } else {
            self.report.later += 1;
        }
        self.recover(0)
    }

    fn recover(&mut self, by: usize) -> Result<(), String> {
        match by {
            1 => {
                let again = output(std::process::Command::new("sh").args(["-c", &self.again()]));
                if again.status.code().is_none_or(|code| code > 125) {
                    return Err(told("the same again", &again));
                }
            }
            2 => {
                let gc = output(std::process::Command::new(NETSETUP).arg("gc"));
                if !gc.status.success() {
                    return Err(told("netsetup gc", &gc));
                }
            }
            _ => {}
        }
        for name in self.scene.names {
            let gone = any(&format!("shim rm -f {name}"));
            if !matches!(gone.status.code(), Some(0 | 5)) {
                return Err(told(&format!("shim rm -f {name}"), &gone));
            }
        }
        let mut left = self.with.differs();
        left.extend(self.before.left_processes());
        // All of it now and then: that takes longer than all the rest.
        if left.is_empty() && self.turn.is_multiple_of(40) && self.with == Light::now() {
            left.extend(self.before.left());
        }
        match left.is_empty() {
            true => Ok(()),
            false => Err(format!("after rm -f: {}", left.join("\n  "))),
        }
    }

    fn again(&self) -> String {
        let line = self.scene.line.replace("$in", "--net=container:base --pid=container:base");
        format!("exec {SHIM} {line} >/dev/null 2>/run/scratch/again")
    }
}

/// What shim reads first.
fn main_begins(calls: &[Syscall]) -> usize {
    let boot = |c: &&Syscall| c.text.as_deref().is_some_and(|t| t.ends_with("/boot_id"));
    calls.iter().find(boot).expect("shim reads which boot this is").n
}

const BASE: &str = "shim run -d --name base --net none";

#[test]
fn run() {
    worlds(Kind::User, &BOTH, |series| {
        let before = before(false);
        let scene = Scene {
            line: "run -d --name base --net none --sysctl net.ipv4.ip_forward=1 --hostname x",
            prepare: "",
            whole: "shim join $in -- true",
            makes: true,
            names: &["base"],
            every: 1,
        };
        scene.run(series, "run", &before);
        before.is_now("all points");
    });
}

#[test]
fn run_on_the_bridge() {
    worlds(Kind::User, &BOTH, |series| {
        let before = before(true);
        let scene = Scene {
            line: "run -d --name base -p 8080:80",
            prepare: "",
            whole: "shim join $in -- ping -c1 -W2 10.89.0.1",
            makes: true,
            names: &["base"],
            // Each of netsetup's own calls is a point of its own tests.
            every: 7,
        };
        scene.run(series, "run on the bridge", &before);
        before.is_now("all points");
    });
}

#[test]
fn join() {
    worlds(Kind::User, &BOTH, |series| {
        let before = before(false);
        ok(BASE);
        let with = Before::now();
        let scene = Scene {
            // Not for long: a monitor that can't become the small one waits itself.
            line: "join $in -d --name app -- sleep 0.3",
            prepare: "",
            whole: "test $(shim wait app) = 0",
            makes: true,
            names: &["app"],
            every: 1,
        };
        scene.run(series, "join", &with);
        assert_eq!(state("base"), "running");
        ok("shim rm -f base");
        before.is_now("all points");
    });
}

#[test]
fn stop() {
    worlds(Kind::User, &BOTH, |series| {
        let before = before(false);
        let scene = Scene {
            line: "stop -t 5 base",
            prepare: "shim run -d --name base --net none && shim join $in -d --name app -- sleep 1000",
            whole: "test \"$(shim ps -q -f state=running)\" = ''",
            makes: false,
            names: &["base"],
            every: 1,
        };
        scene.run(series, "stop", &before);
        before.is_now("all points");
    });
}

#[test]
fn rm() {
    worlds(Kind::User, &BOTH, |series| {
        let before = before(false);
        let scene = Scene {
            line: "rm -f base",
            prepare: "shim run -d --name base --net none && shim join $in -d --name app -- sleep 1000",
            whole: "test \"$(shim ps -q)\" = ''",
            makes: false,
            names: &["base", "app"],
            every: 1,
        };
        scene.run(series, "rm -f", &before);
        before.is_now("all points");
    });
}

#[test]
fn rename() {
    worlds(Kind::User, &BOTH, |series| {
        let before = before(false);
        let scene = Scene {
            line: "rename base pod",
            prepare: BASE,
            whole: "shim join --net=container:pod --pid=container:pod -- true && ip netns exec pod true",
            makes: false,
            names: &["base", "pod"],
            every: 1,
        };
        scene.run(series, "rename", &before);
        before.is_now("all points");
    });
}

#[test]
fn start() {
    worlds(Kind::User, &BOTH, |series| {
        let before = before(false);
        let scene = Scene {
            line: "start base",
            prepare: "shim run -d --name base --net none && shim stop -t 5 base",
            whole: "shim join $in -- true",
            makes: false,
            names: &["base"],
            every: 1,
        };
        scene.run(series, "start", &before);
        before.is_now("all points");
    });
}

/// What the monitor becomes when its container has ended.
#[test]
fn ended() {
    worlds(Kind::User, &BOTH, |series| {
        let before = before(false);
        ok(BASE);
        let with = Before::now();
        let scene = Scene {
            line: "ended app $id 256",
            prepare: "shim join $in --name app -- true && rm $PODKEEL_RUN_DIR/pods/app/exit.json",
            whole: "test $(shim wait app) = 1",
            makes: false,
            names: &["app"],
            every: 1,
        };
        scene.run(series, "ended", &with);
        ok("shim rm -f base");
        before.is_now("all points");
    });
}
