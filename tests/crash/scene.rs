//! One program, run to death at every point, and how each run is judged.
//!
//! ```text
//! killed    the world is recovered by one of three in turn
//!             del     the verb that detaches
//!             gc      which keeps an attachment that is whole, and then del
//!             add     the same again: it succeeds, or says "attached already" of a whole one; then del
//!           the world is equal to the one before the attachment, and an add, a check and
//!           a del work
//! failed    success: whole (check), and del makes the world equal
//!           an error: it names what failed, no answer is printed, and, without any
//!           recovery, the world is equal; gc may be needed only where the error says
//!           that the way back failed too
//!           abort: memory ran out (mmap, brk); that is a death, and judged as one
//! ```

use std::cell::RefCell;
use std::fs::{remove_dir, remove_file};
use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::Duration;

use super::call::{Call, error_of, main_begins, runs_out_of_memory};
use super::common::crash::{Harm, POINT, Part, Point, Which, for_every_point_of};
use super::common::dump::{Dump, diff, dump};
use super::common::syscalls::Syscall;
use super::common::trace::Follow;
use super::common::{Ns, dirs, ns_add, ns_del, sh_out};
use super::report::Report;

const SIGABRT: i32 = libc::SIGABRT;

/// What the traced program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Attach,
    Detach,
    /// Detaches what nobody uses any more.
    Collect,
}

/// Which half of the points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    Kill,
    Fail,
}

impl Series {
    pub(super) const BOTH: [Series; 2] = [Series::Kill, Series::Fail];
}

/// See the top of this file.
pub(super) struct Scene {
    does: Does,
    attach: Call,
    detach: Call,
    check: Call,
    /// The attachment that is there all the time.
    other: Option<Call>,
    /// Whether attaching prints an answer.
    answers: bool,
    /// Whether that names addresses.
    addresses: bool,
    /// A CNI plugin: errors are told on stdout, all with exit code 1.
    cni: bool,
    skip: bool,
    which: Which,
    pods: Vec<Ns>,
    /// Without the attachment.
    before: Dump,
    /// The attachment is there, for the next run to take away.
    attached: bool,
    /// With it. Not known once a death has left something.
    whole: Option<Dump>,
    touched: bool,
    turn: usize,
    report: Report,
}

impl Scene {
    pub(super) fn new(network: &str, does: Does, attach: &[&str], detach: &[&str]) -> Scene {
        Scene {
            does,
            attach: Call::new(attach),
            detach: Call::new(detach),
            check: Call::new(&["check", network, "--id", "web"]),
            other: None,
            answers: true,
            addresses: true,
            cni: false,
            skip: false,
            which: Which::Every(1),
            pods: vec![Ns::named("web")],
            before: Dump::default(),
            attached: false,
            whole: None,
            touched: false,
            turn: 0,
            report: Report::default(),
        }
    }

    /// As CNI plugin of this configuration, whose network is "net".
    pub(super) fn cni(does: Does, conf: &str) -> Scene {
        let plain = Scene::new("net", does, &[], &[]);
        Scene { attach: Call::cni("ADD", conf), detach: Call::cni("DEL", conf), cni: true, ..plain }
    }

    /// What attach and detach read.
    pub(super) fn stdin(mut self, attach: &str, detach: &str) -> Scene {
        self.attach.stdin = attach.to_owned();
        self.detach.stdin = detach.to_owned();
        self
    }

    /// Attaching prints no answer.
    pub(super) fn quiet(mut self) -> Scene {
        self.answers = false;
        self
    }

    /// Leaves out the points before `main`, which another scene has.
    pub(super) fn skip(mut self) -> Scene {
        self.skip = true;
        self
    }

    /// Takes these points alone.
    pub(super) fn at(mut self, which: Which) -> Scene {
        self.which = which;
        self
    }

    /// The pod gets no address.
    pub(super) fn bare(mut self) -> Scene {
        self.addresses = false;
        self
    }

    /// Another pod is attached to the same bridge all the time.
    pub(super) fn beside_another(mut self) -> Scene {
        self.pods.push(pod("other"));
        Call::new(&["add", "bridge", "--netns", "/run/netns/other", "-p", "18081:80"])
            .succeeds()
            .expect("the other pod");
        self.other = Some(Call::new(&["check", "bridge", "--id", "other"]));
        self
    }

    /// Runs all points; panics at the first fault.
    pub(super) fn run(mut self, series: Series, label: &str) {
        let label = &format!("{label}, {series:?}");
        // Once around, so that what stays for good is there.
        self.around().expect("an attachment without any harm");
        if self.does == Does::Collect {
            self.vanish();
        }
        self.before = settled(&self.pods);
        let make = match self.does {
            Does::Attach => self.attach.clone(),
            Does::Detach => self.detach.clone(),
            Does::Collect => Call::new(&["gc"]),
        };
        let first = if self.skip { main_begins } else { |_: &[Syscall]| 1 };
        let which = self.which;
        let (kill, fail) = (series == Series::Kill, series == Series::Fail);
        let kill = kill.then_some(Harm::Kill);
        self.touched = fail;
        let scene = RefCell::new(self);
        for_every_point_of(
            &Part { kill, fail, first: &first, which, passes_over: true },
            label,
            // What fails in a plugin of others is told, and theirs.
            &|| {
                make.program().deadline(LONGEST).follow(if fail {
                    Follow::UntilExec
                } else {
                    Follow::All
                })
            },
            &mut || scene.borrow_mut().prepare(),
            &mut |point| scene.borrow_mut().judge(point).err().into_iter().collect(),
        );
        let scene = scene.into_inner();
        println!("{label}: {:?}", scene.report);
        if std::env::var_os(POINT).is_none() {
            scene.report.has_all(series, scene.does, scene.which, label);
        }
    }

    /// Before a run: the attachment is there if the run is to take it away.
    fn prepare(&mut self) {
        self.forget_leases();
        if self.does == Does::Attach || self.attached {
            return;
        }
        if self.does == Does::Collect {
            self.pods = vec![pod("web")];
        }
        self.attach.succeeds().expect("attach without any harm");
        if self.does == Does::Collect {
            self.vanish();
        }
        self.attached = true;
        if !self.touched {
            self.whole = Some(settled(&self.pods));
        }
    }

    /// The pod's namespace goes, and the kernel takes the veth away, some time later.
    fn vanish(&mut self) {
        ns_del("web");
        self.pods.clear();
        for _ in 0..1000 {
            if !sh_out("ip -br link").contains("pk") {
                return;
            }
            sleep(Duration::from_millis(2));
        }
        panic!("the veth of a namespace that is gone is still there");
    }

    fn judge(&mut self, point: &Point) -> Result<(), String> {
        self.other_is_whole()?;
        let abort = point.outcome.status.signal() == Some(SIGABRT);
        match point.harm {
            Harm::None => self.success(point),
            Harm::Kill | Harm::KillOne => {
                let by = self.turn % 3;
                // Once a run was cut off behind its first change, all later ones are.
                if !self.touched && self.untouched() {
                    self.report.untouched += 1;
                    return Ok(());
                }
                self.touched = true;
                self.turn += 1;
                self.report.by[by] += 1;
                self.recover(by)
            }
            Harm::Fail(_) if abort && runs_out_of_memory(point) => {
                self.report.aborted += 1;
                self.recover(1)
            }
            Harm::Fail(_) if point.outcome.status.success() => {
                self.report.harmless += 1;
                self.success(point)
            }
            Harm::Fail(_) => self.failure(point),
        }
    }

    /// Whether the run has changed nothing at all.
    fn untouched(&self) -> bool {
        let now = dump(&self.pods);
        match &self.whole {
            Some(whole) => *whole == now || diff(whole, &now).is_empty(),
            None => diff(&self.before, &now).is_empty(),
        }
    }

    /// The program said that all is well: it is.
    fn success(&mut self, point: &Point) -> Result<(), String> {
        if self.does == Does::Attach {
            if self.answers {
                let answer = serde_json::from_str::<serde_json::Value>(&point.outcome.stdout);
                let answer = answer.map_err(|e| format!("its answer is no JSON: {e}"))?;
                if self.addresses && answer["ips"].as_array().is_none_or(Vec::is_empty) {
                    return Err(format!("no address in its answer {answer}"));
                }
            }
            self.check.succeeds()?;
            self.detach.succeeds()?;
        }
        self.attached = false;
        self.forget_leases();
        let now = dump(&self.pods);
        let empty = |line: &String| {
            let object = now.get(line.trim_end_matches(": added")).unwrap_or_default();
            object.get("content").is_some_and(|c| c == "(directory)")
        };
        let lines = diff(&self.before, &now);
        if lines.is_empty() {
            return Ok(());
        }
        if point.harm != Harm::None && lines.iter().all(empty) {
            // Directories of ours with nothing in them: who couldn't remove them has
            // done what was asked for. The next one does it.
            self.report.empty_left += 1;
            Call::new(&["gc"]).succeeds()?;
        }
        self.is_as_before()
    }

    /// The program said that something failed.
    fn failure(&mut self, point: &Point) -> Result<(), String> {
        let outcome = &point.outcome;
        if outcome.status.code().is_none() {
            return Err("it ended by a signal".to_owned());
        }
        let words = if self.cni { error_of(&outcome.stdout) } else { outcome.stderr.clone() };
        // Whoever can't be told on stdout is told on stderr.
        let words = if words.is_empty() { outcome.stderr.clone() } else { words };
        let names = outcome
            .stderr
            .lines()
            .any(|line| line.strip_prefix("netsetup: cannot ").is_some_and(|l| l.contains(": ")));
        let names = names || (self.cni && words.contains(": "));
        // Before main it is the C library that gives up.
        let libc = outcome.status.code() == Some(127);
        let of_gc = self.does == Does::Collect && outcome.stdout.contains("cannot ");
        if !names && !libc && !of_gc {
            return Err("its message doesn't say what failed".to_owned());
        }
        if self.does == Does::Attach {
            if !self.cni && !outcome.stdout.is_empty() {
                return Err("it failed and printed an answer".to_owned());
            }
            self.forget_leases();
            let lines = diff(&self.before, &dump(&self.pods));
            if lines.is_empty() {
                self.report.undone += 1;
                return Ok(());
            }
            if !words.contains("the way back failed too") {
                return Err(format!("it failed and left this:\n  {}", lines.join("\n  ")));
            }
            self.report.needed_gc.push(format!("{point}: {}", words.trim()));
            return self.recover(1);
        }
        self.report.finished_later += 1;
        self.turn += 1;
        self.recover(self.turn % 2)
    }

    /// Takes away what a run that didn't come to its end has left.
    fn recover(&mut self, by: usize) -> Result<(), String> {
        let gc = Call::new(&["gc"]);
        match by {
            0 => self.detach.succeeds()?,
            1 => {
                gc.succeeds()?;
                self.detach_whole()?;
            }
            _ if self.does == Does::Collect => {
                self.pods = vec![pod("web")];
                self.attach.succeeds()?;
                self.check.succeeds()?;
                self.detach.succeeds()?;
                self.vanish();
            }
            _ => {
                // "Attached already" is an answer if it is true.
                let taken: &[i32] = match (self.answers, self.cni) {
                    (false, _) => &[0],
                    (true, false) => &[0, TAKEN],
                    (true, true) => &[0, 1], // a plugin has no other code
                };
                self.attach.exits(taken)?;
                self.check.succeeds()?;
                self.detach.succeeds()?;
            }
        }
        self.attached = false;
        self.is_as_before()?;
        self.other_is_whole()?;
        // The next point's add is a new add in the same world, too; a whole round trip
        // costs four waits for the kernel's RCU, so only some points have their own.
        let own_round = self.does == Does::Attach && self.turn.is_multiple_of(AROUND_EVERY);
        if own_round { self.around() } else { Ok(()) }
    }

    /// What gc has kept must be an attachment that is whole.
    fn detach_whole(&self) -> Result<(), String> {
        if self.check.exits(&[0, MISSING])? == 0 { self.detach.succeeds() } else { Ok(()) }
    }

    /// Attach, check, detach.
    fn around(&mut self) -> Result<(), String> {
        self.attach.succeeds()?;
        self.check.succeeds()?;
        self.detach.succeeds()?;
        self.forget_leases();
        Ok(())
    }

    fn other_is_whole(&self) -> Result<(), String> {
        self.other.as_ref().map_or(Ok(()), Call::succeeds)
    }

    fn is_as_before(&mut self) -> Result<(), String> {
        self.forget_leases();
        match diff(&self.before, &dump(&self.pods)) {
            lines if lines.is_empty() => Ok(()),
            lines => Err(format!("the world has changed:\n  {}", lines.join("\n  "))),
        }
    }

    /// What leases leave by design goes, unless there is more in the directories: then
    /// they stay, and are a difference.
    fn forget_leases(&self) {
        if self.other.is_some() {
            return;
        }
        let leases = dirs().leases;
        for network in ["bridge", "dual", "net"] {
            let dir = leases.join(network);
            for set in 0..2 {
                remove_file(dir.join(format!("last_reserved_ip.{set}"))).ok();
            }
            remove_dir(dir).ok();
        }
        remove_dir(leases).ok();
    }
}

/// Of one run: an emulated CPU with other work is slow.
const LONGEST: Duration = Duration::from_secs(60);

/// Which of the recovered points are followed by an add, a check and a del of their own.
const AROUND_EVERY: usize = 5;

/// "Somebody else has it", and "no such attachment".
const TAKEN: i32 = 4;
const MISSING: i32 = 5;

/// A pod's namespace, where duplicate address detection is off as on the host.
pub(super) fn pod(name: &str) -> Ns {
    let pod = ns_add(name);
    pod.sh("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
    pod
}

/// A state of the world that stays: the kernel is done with what follows a link that
/// goes up.
fn settled(pods: &[Ns]) -> Dump {
    let mut last = dump(pods);
    for _ in 0..20 {
        sleep(Duration::from_millis(400));
        let now = dump(pods);
        if now == last {
            return now;
        }
        last = now;
    }
    panic!("the world does not come to rest");
}
