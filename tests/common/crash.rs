//! For every system call of a program: the program dies there, or the call fails;
//! then the test says whether the world is as it must be.
//!
//! ```text
//! count            once, unharmed: how many calls, and which of them can fail
//! kill  1, 2, ...  until a run ends before its n-th call
//! fail  1, 2, ...  the same, with each error that the n-th call can give
//! ```
//!
//! around every run: `prepare()` before it, `verify(&point)` after it. The first
//! point at which `verify` finds a fault ends the test with the words that are
//! needed to see it again: `PODKEEL_CRASH_POINT=kill:17`, `=fail:17` or
//! `=fail:17:ENOSPC` runs only that one. `PODKEEL_CRASH_EVERY=1` runs all of a test that
//! tries some only.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::syscalls::{Failure, Syscall};
use super::trace::{self, Action, Outcome, Program};

/// Runs only the point that it names.
pub const POINT: &str = "PODKEEL_CRASH_POINT";

/// Each so manieth point, whatever the test itself says: 1 for all.
const EVERY: &str = "PODKEEL_CRASH_EVERY";

/// What was done to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing: the count at the start, and the run that ends each series.
    None,
    /// SIGKILL at the entry of the call.
    Kill,
    /// The same, but for the one process that makes it: the others go on.
    KillOne,
    /// The call returned this error without being made.
    Fail(Errno),
}

/// One run of the program, for `verify` to judge.
#[derive(Debug)]
pub struct Point {
    /// What was done to it. The call is in `outcome.reached`.
    pub harm: Harm,
    /// How it went.
    pub outcome: Outcome,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.harm, &self.outcome.reached) {
            (Harm::Kill, Some(call)) => write!(f, "killed at {call}"),
            (Harm::KillOne, Some(call)) => write!(f, "process {} killed at {call}", call.tid),
            (Harm::Fail(errno), Some(call)) => write!(f, "{errno:?} from {call}"),
            _ => write!(f, "unharmed"),
        }
    }
}

/// How many points were tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls at which the program was killed.
    pub kills: usize,
    /// Pairs of a call and an error.
    pub fails: usize,
    /// Those of `fails` after which the program still reported success.
    pub survived: usize,
    /// Calls that never fail (see [`Failure::Never`]).
    pub unfailing: usize,
    /// Calls at which it wasn't killed: the one before did nothing that outlives it.
    pub same: usize,
    /// Calls before the first that was tried (see [`for_every_point_of`]).
    pub skipped: usize,
    /// Time for all, with `prepare` and `verify`.
    pub took: Duration,
}

/// Kills `make()` at each of its system calls, and lets each fail that can.
///
/// `prepare` runs before every run, from the state that `verify` left. `verify` runs
/// after every run, the unharmed ones too; it returns what is wrong (nothing when all
/// is well), may panic instead, and leaves the world as `prepare` expects it.
///
/// Prints the numbers of points; panics at the first fault, or when a run does not end.
pub fn for_every_point(
    label: &str,
    make: &dyn Fn() -> Program,
    prepare: &mut dyn FnMut(),
    verify: &mut dyn FnMut(&Point) -> Vec<String>,
) -> Tally {
    let all = Part {
        kill: Some(Harm::Kill),
        fail: true,
        first: &|_| 1,
        which: Which::Every(1),
        passes_over: false,
    };
    for_every_point_of(&all, label, make, prepare, verify)
}

/// Some of a program's points: where the others are tried elsewhere.
pub struct Part<'a> {
    /// Those at which it is killed: all that are followed, or one.
    pub kill: Option<Harm>,
    /// Those at which a call fails.
    pub fail: bool,
    /// The first, told from all calls of an unharmed run; they count from 1.
    pub first: &'a dyn Fn(&[Syscall]) -> usize,
    /// Which of them.
    pub which: Which,
    /// Whether it is killed only where the call before may have changed something.
    pub passes_over: bool,
}

/// Which points of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Each so manieth: 1 for all.
    Every(usize),
    /// Those where something changes ([`Syscall::changes`]): killed before the first such call
    /// and behind each, each failing by the first error that it can give.
    Effects,
    /// The same, where what changes is the kernel's: what is on disk, another test has.
    KernelsEffects,
    /// The same, but for the namespaces that are entered: how that fails, another test has.
    KernelsMessages,
}

impl Which {
    /// What the variable says instead.
    fn told(self) -> Which {
        std::env::var(EVERY).map_or(self, |n| Which::Every(n.parse().expect(EVERY)))
    }

    fn step(self) -> usize {
        if let Which::Every(n) = self { n } else { 1 }
    }

    /// Whether it is about this call; `None` where it is about all.
    fn has(self, call: &Syscall) -> Option<bool> {
        match self {
            Which::Every(_) => None,
            Which::Effects => Some(call.changes()),
            Which::KernelsEffects => Some(call.changes_kernel()),
            Which::KernelsMessages => Some(call.changes_kernel() && call.name != "setns"),
        }
    }

    /// Whether calls that change what is on disk are left out.
    pub fn is_kernels(self) -> bool {
        matches!(self, Which::KernelsEffects | Which::KernelsMessages)
    }

    fn is_every(self) -> bool {
        matches!(self, Which::Every(_))
    }

    /// Whether the program is killed at its n-th call.
    fn kills_at(self, n: usize, calls: &[Syscall]) -> bool {
        let lasts = |c: &Syscall| self.has(c) == Some(true) && !c.ends_with_its_process();
        let changes = |n: usize| n.checked_sub(1).and_then(|i| calls.get(i)).is_some_and(lasts);
        let is_first = changes(n) && !(1..n).any(changes);
        self.is_every() || is_first || changes(n - 1)
    }
}

/// As [`for_every_point`], but a part of them.
pub fn for_every_point_of(
    part: &Part<'_>,
    label: &str,
    make: &dyn Fn() -> Program,
    prepare: &mut dyn FnMut(),
    verify: &mut dyn FnMut(&Point) -> Vec<String>,
) -> Tally {
    let only = std::env::var(POINT).ok();
    let which = part.which.told();
    let start = Instant::now();
    let mut tally = Tally::default();
    prepare();
    let (calls, outcome) = trace::count(make());
    judge(label, &Point { harm: Harm::None, outcome }, verify);
    let first = (part.first)(&calls);
    assert!(first >= 1 && first <= calls.len(), "{label}: begins at {first} of {}", calls.len());
    tally.skipped = first - 1;
    let last = if part.kill.is_some() { usize::MAX } else { 0 };
    for n in (first..last).step_by(which.step()) {
        if !which.is_every() && n > calls.len() {
            break;
        }
        if !which.kills_at(n, &calls) {
            tally.same += 1;
            continue;
        }
        // Behind a call that did nothing to the world it dies as before that one.
        // What others of its processes see of the call is still there if only one dies.
        let nothing = |c: &Syscall| match part.kill {
            Some(Harm::Kill) => c.ends_with_its_process(),
            _ => c.only_looks(),
        };
        let passes_over = part.passes_over && which.is_every();
        if n > first && passes_over && calls.get(n - 2).is_some_and(nothing) {
            tally.same += 1;
            continue;
        }
        if !wanted(only.as_deref(), "kill", n, None) {
            if n > calls.len() {
                break;
            }
            continue;
        }
        prepare();
        let outcome = match part.kill {
            Some(Harm::KillOne) => trace::kill_one_at(make(), n),
            _ => trace::kill_at(make(), n),
        };
        let reached = outcome.reached.is_some();
        let harm = part.kill.filter(|_| reached).unwrap_or(Harm::None);
        judge(label, &Point { harm, outcome }, verify);
        if !reached {
            break;
        }
        tally.kills += 1;
    }
    if part.fail {
        let each = Fails { which, first, label, make, calls: &calls, only: only.as_deref() };
        fail_points(&each, prepare, verify, &mut tally);
    }
    tally.took = start.elapsed();
    let points = tally.kills + tally.fails;
    let seconds = tally.took.as_secs_f64();
    println!(
        "{label}: {} kill points, {} fail points ({} of them survived by the program; {} calls \
         cannot fail; {} calls left to another test; {} follow one that leaves nothing) in {seconds:.1} s, {:.0} points/s",
        tally.kills,
        tally.fails,
        tally.survived,
        tally.unfailing,
        tally.skipped,
        tally.same,
        points as f64 / seconds
    );
    assert!(points > 0, "{label}: no point was tried ({POINT}={only:?})");
    tally
}

/// The calls that are let fail.
struct Fails<'a> {
    which: Which,
    first: usize,
    label: &'a str,
    make: &'a dyn Fn() -> Program,
    calls: &'a [Syscall],
    only: Option<&'a str>,
}

/// The second half of [`for_every_point_of`].
fn fail_points(
    each: &Fails<'_>,
    prepare: &mut dyn FnMut(),
    verify: &mut dyn FnMut(&Point) -> Vec<String>,
    tally: &mut Tally,
) {
    let Fails { which, first, label, make, calls, only } = *each;
    'calls: for n in (first..=usize::MAX).step_by(which.step()) {
        let expected = calls.get(n - 1);
        if !which.is_every() {
            match expected.map(|call| which.has(call)) {
                None => break 'calls,
                Some(Some(false)) => continue 'calls,
                Some(_) => {}
            }
        }
        if expected.is_some_and(|c| matches!(c.failure(), Failure::Never(_))) {
            tally.unfailing += 1;
            continue;
        }
        for k in 0.. {
            let known = expected.map(|c| error(c, k));
            if known == Some(None) || (k > 0 && !which.is_every()) {
                continue 'calls;
            }
            if !wanted(only, "fail", n, known.flatten()) {
                match expected {
                    Some(_) => continue,
                    None => break 'calls,
                }
            }
            prepare();
            let (harm, outcome) = fail_nth(make(), n, k);
            let (reached, calls_made) = (outcome.reached.is_some(), outcome.calls);
            let success = outcome.status.success();
            judge(label, &Point { harm, outcome }, verify);
            if reached {
                tally.fails += 1;
                tally.survived += usize::from(success);
            } else if calls_made < n {
                break 'calls;
            } else {
                // Threads raced: this time the n-th was one with fewer errors.
                continue 'calls;
            }
        }
    }
}

/// The k-th error that this call can give.
fn error(call: &Syscall, k: usize) -> Option<Errno> {
    match call.failure() {
        Failure::With(errors) => errors.get(k).copied(),
        Failure::Never(_) => None,
    }
}

/// Runs the program with the n-th call failing by the k-th error that it can give.
fn fail_nth(program: Program, n: usize, k: usize) -> (Harm, Outcome) {
    let mut harm = Harm::None;
    let outcome = trace::run(program, &mut |at, tid| {
        if at != n {
            return Action::Go;
        }
        match error(&Syscall::read(at, tid), k) {
            Some(errno) => {
                harm = Harm::Fail(errno);
                Action::Fail(errno)
            }
            None => Action::Go,
        }
    });
    (harm, outcome)
}

/// Whether the variable, if it is set, names this point.
fn wanted(only: Option<&str>, series: &str, n: usize, errno: Option<Errno>) -> bool {
    let Some(only) = only else { return true };
    let mut words = only.split(':');
    words.next() == Some(series)
        && words.next() == Some(&n.to_string())
        && words.next().is_none_or(|word| errno.is_none_or(|e| format!("{e:?}") == word))
}

/// Lets the test judge one run; panics with all that is known when it finds a fault.
fn judge(label: &str, point: &Point, verify: &mut dyn FnMut(&Point) -> Vec<String>) {
    let outcome = &point.outcome;
    let faults = if outcome.timed_out {
        vec!["it did not end by itself: killed at its deadline".to_owned()]
    } else {
        catch_unwind(AssertUnwindSafe(|| verify(point))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            vec![text.unwrap_or_else(|| "verify panicked".to_owned())]
        })
    };
    if faults.is_empty() {
        return;
    }
    let again = match (point.harm, &outcome.reached) {
        (Harm::Kill | Harm::KillOne, Some(call)) => format!("{POINT}=kill:{}", call.n),
        (Harm::Fail(errno), Some(call)) => format!("{POINT}=fail:{}:{errno:?}", call.n),
        _ => "any run".to_owned(),
    };
    panic!(
        "{label}: {point}; it ended with {}\n  {}\n--- stdout\n{}\n--- stderr\n{}\n\
         --- see it again: {again}",
        outcome.status,
        faults.join("\n  "),
        outcome.stdout.trim_end(),
        outcome.stderr.trim_end()
    );
}
