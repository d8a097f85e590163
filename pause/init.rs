//! The init mode: runs a command, passes signals on to it, reaps whatever else comes,
//! and exits as the command did.
//!
//! ```text
//!   wishes ─▶ mask ─▶ adopt ─▶ spawn ─▶ let go ─▶ wait ─▶ others ─▶ exit as the child
//!   flags,    all      if not   own      fds, cwd   │ ▲    TERM, grace,
//!   variables blocked  PID 1    group,              ▼ │    KILL; or wait
//!                               terminal          signal?  for them
//!                                                 pass it on, or reap
//! ```
//!
//! **Mask.** Every signal is blocked and taken by the wait, one after the other. No
//! handler runs, so none runs at a wrong moment. The child gets back what was before:
//! the mask, and whether SIGCHLD was ignored. An init that leaves SIGCHLD ignored (a
//! parent may have done so) never learns of its child's end.
//!
//! **Adopt.** Orphans come to PID 1 of their PID namespace, or to the nearest subreaper.
//!
//! **Let go.** What the init doesn't need would keep something of others alive: a file
//! system busy by its working directory, a pipe without end by its open end.
//!
//! **Wait.** It has no timeout: nothing wakes an idle init. Whatever is refused in here
//! leads to another call that blocks, or to the end: never around in a circle. Where
//! signals can't be waited for, the child still is; where children can't be, the signal
//! of its end tells the exit code.

mod child;
mod others;
mod say;
mod words;

use crate::name::Name;
use crate::sys::{self, Caught, ECHILD, SIGCHLD, Set, Stack, Status, Str, Words, set};
pub(crate) use child::run as child;
use say::say;
use words::LAST;
pub(crate) use words::Wishes;

/// Stop from the terminal, and of those who read or write in its background; continue
/// (`asm/signal.h`).
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;
const SIGTSTP: i32 = 20;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;
/// The terminal is gone.
const SIGHUP: i32 = 1;
/// The time has passed.
const SIGALRM: i32 = 14;

/// What the kernel sends to a program that has done wrong: tini and catatonit let them
/// hit themselves. ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS.
const FAULTS: Set = set(4) | set(5) | set(6) | set(7) | set(8) | set(11) | set(31);

/// No word.
const NOTHING: Str = Str::new(c"");

/// What the child needs to begin.
pub(crate) struct Job<'a> {
    wishes: &'a Wishes,
    environment: Words,
    /// The init's process id.
    pid: i32,
    /// The signals that were blocked.
    mask: Set,
    /// Whether SIGCHLD was ignored.
    ignored_chld: bool,
    /// A terminal in whose foreground the init is; -1 is none.
    terminal: i32,
}

/// The init at its work.
struct Init<'a> {
    wishes: &'a Wishes,
    /// The child.
    child: i32,
    /// The signals to wait for.
    signals: Set,
    /// The terminal that was handed over; -1 is none.
    terminal: i32,
    /// Who is left to wait for.
    left: Left,
    /// How the child has ended.
    status: Status,
    /// How often it was told that a child has ended.
    ends: u32,
    /// Whether it still looks for zombies that others leave.
    looks: bool,
}

/// Who is left to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// The child.
    Child,
    /// It has ended; all others.
    Others,
    /// Nobody.
    Nobody,
}

/// Runs the command, and returns the exit code.
#[inline(never)]
pub(crate) fn main((name, called): (Name, Str<'static>), stack: Stack) -> u8 {
    let mut wishes = Wishes::new(name, called, stack.args());
    match wishes.read(stack.environment()) {
        Some(()) if wishes.pause() => return crate::pause(stack),
        Some(()) => {}
        None => return wishes.code,
    }
    // Signals that hit a tini or a catatonit itself hit this one.
    let own = u64::from(matches!(name, Name::Tini | Name::Catatonit));
    let signals = !(own * FAULTS);
    let mut mask = 0;
    let blocked = sys::swap_mask(&signals, &mut mask);
    let (Ok(()), Ok(ignored_chld)) = (blocked, sys::by_default(SIGCHLD)) else {
        say(&wishes, c"cannot block signals", NOTHING, 0);
        return 1;
    };
    let pid = sys::getpid();
    prepare(&wishes, pid);

    let terminal = if wishes.session() {
        leave_terminal(&signals);
        -1
    } else {
        terminal()
    };
    let job = Job {
        wishes: &wishes,
        environment: stack.environment(),
        pid,
        mask: if name == Name::DumbInit { 0 } else { mask },
        ignored_chld,
        terminal,
    };
    let child = match sys::spawn(&job) {
        Ok(child) => child,
        Err(errno) => {
            say(&wishes, c"cannot start a process: !", NOTHING, errno);
            return 1;
        }
    };
    sys::change_directory(sys::ROOT);
    keep_only(terminal);
    let looks = pid == 1 && !wishes.quiet();
    let (wishes, left, status) = (&wishes, Left::Child, Status::exited(0));
    Init { wishes, child, signals, terminal, left, status, ends: 0, looks }.attend()
}

/// Sees to it that orphans and the parent's end get here.
fn prepare(wishes: &Wishes, pid: i32) {
    if wishes.parent_death > 0 && sys::parent_death_signal(wishes.parent_death).is_err() {
        say(wishes, c"the parent's end will not be told", NOTHING, 0);
    }
    if pid == 1 {
        return;
    }
    let adopts = wishes.adopt() && sys::adopt_orphans().is_ok();
    if !adopts && wishes.name != Name::DumbInit && !wishes.quiet() {
        let text = c"neither process 1 nor a subreaper (-s): orphans go to others";
        say(wishes, text, NOTHING, 0);
    }
}

/// The terminal in whose foreground this process is: standard input, or else the
/// controlling one. To take another's place there would be theft.
fn terminal() -> i32 {
    // A group of another PID namespace is 0, and that is not this one.
    let mine = |fd| sys::foreground(fd).is_ok_and(|group| group > 0 && Ok(group) == sys::group());
    if mine(sys::STDIN) {
        return sys::STDIN;
    }
    match sys::open(sys::TERMINAL, sys::O_RDWR) {
        Ok(fd) if mine(fd) => fd,
        _ => -1,
    }
}

/// Frees the terminal for the session of the child. The kernel tells a session that has
/// lost its terminal by HUP and CONT, which are not meant for the child.
fn leave_terminal(signals: &Set) {
    if sys::give_terminal_up(sys::STDIN).is_ok() {
        while sys::pending_signal(&((set(SIGHUP) | set(SIGCONT)) & signals)).is_ok() {}
    }
}

/// Closes all descriptors but the standard ones and the terminal.
fn keep_only(terminal: i32) {
    const FIRST: i32 = 3;
    if terminal > FIRST {
        sys::close(FIRST, terminal - 1);
    }
    sys::close(FIRST.max(terminal + 1), -1);
}

impl Init<'_> {
    /// Waits and does what is to be done until it is over; returns the exit code.
    fn attend(mut self) -> u8 {
        let mut caught = Caught::NOTHING;
        while self.left != Left::Nobody {
            match sys::wait_signal(&self.signals, &mut caught) {
                Ok(SIGCHLD) => self.reap(&caught),
                Ok(signal) => self.pass_on(signal, &caught),
                Err(sys::EINTR) => {}
                Err(_) => self.wait_without_signals(),
            }
        }
        self.wishes.exit_code(self.status.code())
    }

    /// Looks for zombies that are nobody's but their parent's, until one was found.
    fn look(&mut self) {
        if self.looks && self.left == Left::Child {
            self.looks = !others::told_of_neglect(self.wishes);
        }
    }

    /// Where the kernel lets nobody wait for signals: the child's end can be waited for.
    fn wait_without_signals(&mut self) {
        match sys::wait_for(self.child, &mut self.status) {
            Ok(_) => self.end(),
            Err(sys::EINTR) => {}
            // Neither can be waited for: the pod is better off without this init.
            Err(_) => {
                say(self.wishes, c"cannot wait for anything", NOTHING, 0);
                self.left = Left::Nobody;
                self.status = Status::exited(1);
            }
        }
    }

    /// Collects all that has ended. `caught` is the signal that told so.
    fn reap(&mut self, caught: &Caught) {
        let options = if self.terminal >= 0 { sys::WUNTRACED } else { 0 };
        let mut status = Status::exited(0);
        loop {
            match sys::collect(options, &mut status) {
                Ok(0) => break,
                Ok(pid) if pid == self.child => match status.stopped() {
                    Some(signal) => self.stop_too(signal),
                    None => {
                        self.status = status;
                        self.end();
                    }
                },
                Ok(pid) => {
                    if self.wishes.warn() {
                        say(self.wishes, c"reaped zombie process with pid=#", NOTHING, pid);
                    }
                }
                Err(ECHILD) => {
                    self.left = Left::Nobody;
                    break;
                }
                // It may not be asked for; but the signal says how it was.
                Err(_) => {
                    if caught.pid() == self.child
                        && let Some(status) = Status::told(caught)
                    {
                        self.status = status;
                        self.end();
                    }
                    break;
                }
            }
        }
        self.ends += 1;
        if self.ends.is_power_of_two() || caught.code() <= 0 {
            self.look();
        }
    }

    /// The child has ended; what is to be done about the others.
    fn end(&mut self) {
        let wishes = self.wishes;
        if wishes.verbose() {
            say(wishes, c"the command has ended with #", NOTHING, self.status.code());
        }
        self.left = Left::Nobody;
        if wishes.wait_all() || wishes.grace > 0 {
            self.left = Left::Others;
            if !wishes.wait_all() {
                others::signal(self.wishes, self.child, sys::SIGTERM);
                sys::alarm(wishes.grace);
            }
        } else if wishes.name == Name::DumbInit {
            self.send(sys::SIGTERM);
        }
    }

    /// Passes a signal on.
    fn pass_on(&mut self, signal: i32, caught: &Caught) {
        self.look();
        let wishes = self.wishes;
        if signal == SIGALRM && caught.code() > 0 && wishes.grace > 0 {
            return others::signal(self.wishes, self.child, sys::SIGKILL);
        }
        let kept = match wishes.name {
            Name::Tini => matches!(signal, SIGTTIN | SIGTTOU),
            Name::Catatonit => matches!(signal, SIGTSTP | SIGTTIN | SIGTTOU),
            Name::Pause | Name::DumbInit => false,
        };
        if kept {
            return;
        }
        if signal == SIGCONT {
            self.hand_terminal_over();
        }
        if signal == sys::SIGTERM && wishes.grace > 0 {
            sys::alarm(wishes.grace);
        }
        self.send(signal);
        if wishes.name == Name::DumbInit && matches!(signal, SIGTSTP | SIGTTIN | SIGTTOU) {
            sys::stop();
        }
    }

    /// Sends the child what stands for this signal, or those who are left of it.
    fn send(&self, signal: i32) {
        let wishes = self.wishes;
        let mut to = wishes.rewritten(signal);
        // A session of its own has nobody outside who would continue it: the kernel
        // stops it by nothing but STOP.
        if to == signal && wishes.session() && matches!(signal, SIGTSTP | SIGTTIN | SIGTTOU) {
            to = SIGSTOP;
        }
        if to == 0 {
            return;
        }
        if self.left == Left::Others {
            return others::signal(self.wishes, self.child, to);
        }
        let target = if wishes.group() { -self.child } else { self.child };
        let sent = sys::kill(target, to);
        if wishes.verbose() {
            let not = Str::new(if sent.is_ok() { c"" } else { c" not" });
            say(wishes, c"signal # was$ sent", not, to);
        }
    }

    /// The child was stopped by its terminal: so is this process, for the shell that
    /// started it to see. As PID 1 it can't be; who is outside continues the child.
    fn stop_too(&self, signal: i32) {
        if matches!(signal, SIGTSTP | SIGTTIN | SIGTTOU) {
            sys::stop();
        }
    }

    /// Continued by its shell: the terminal is the child's again, if it was given to
    /// this process.
    fn hand_terminal_over(&self) {
        if self.terminal >= 0 && sys::foreground(self.terminal) == sys::group() {
            let _ = sys::set_foreground(self.terminal, self.child);
        }
    }
}
