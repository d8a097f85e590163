//! pause: the first process of a pod, and nothing else.
//!
//! A pod's namespaces live as long as some process is in them. pause is that
//! process: it sleeps until it is told to stop. As PID 1 of a PID namespace it
//! is also the parent of every orphan of the pod, and each of them would stay a
//! zombie if PID 1 took no notice. It can stand in the place of the Kubernetes
//! pause image: the same messages, the same exit codes, the same signals.
//!
//! ```text
//!    start ─▶ -v? ─▶ mask ─▶ reap ─▶ drop ─▶ sleep ─▶ leave
//!              │    INT,TERM  CHLD    caps    no stack   exit 0
//!              ▼    blocked   ignored         until TERM or INT
//!            version
//! ```
//!
//! **Mask.** SIGINT and SIGTERM are blocked by the first system call and then
//! fetched by the sleep. Whichever arrives in between, or was blocked and pending
//! when a runtime ran the program, is kept by the kernel until then. There is no
//! handler, so nothing ever runs at an arbitrary moment. All other signals are
//! *un*blocked, whatever mask was inherited: the kernel discards a signal to
//! PID 1 that has the default action, stop signals and real-time signals
//! included, and it discards it at the sender; a blocked one it would have to
//! queue. Only SIGKILL and SIGSTOP from an outer PID namespace get through. When
//! not PID 1, the other signals do what they do to any program.
//!
//! **Reap.** With SIGCHLD ignored, an exiting child leaves no zombie: the kernel
//! releases it on the spot, and pause isn't woken. Context switches and CPU time
//! of PID 1 during a storm of 20,000 orphans (Linux 6.18, 2 cores; tests/pause.rs
//! measures it again, and 100,000 for pause):
//!
//! ```text
//!                              one by one        1,000 at a time
//!   SIGCHLD ignored                 0, 0 ms               0, 0 ms
//!   SIGCHLD handler            19,894, 270 ms           478, 91 ms
//!   blocking waitpid loop      19,955, 149 ms         1,092, 93 ms
//! ```
//!
//! The kernel does this only for children whose exit signal is SIGCHLD; any other
//! would stay a zombie. But every child that pause can have has that one: an
//! orphan is given it when it is handed to PID 1 (`reparent_leader` in the
//! kernel's exit.c), a child from before the exec is treated so
//! (`do_notify_parent` in signal.c), and pause itself starts none. A child that
//! was a zombie *before* SIGCHLD was ignored isn't released by that; such ones
//! are collected once, afterwards, when no new one can appear.
//!
//! **Drop.** Sleeping needs no privilege. The permitted, effective and
//! inheritable sets are emptied, the kernel empties the ambient set along with
//! them, and no_new_privs keeps an exec from filling them again from the
//! bounding set. A refusal is no reason not to start.
//!
//! **Sleep.** A pod pays for pause as long as it lives, so pause sleeps with one
//! page of its own: the one that holds its arguments, which `ps` shows (two, if
//! they lie across a border). The kernel lays pointers and the environment on the
//! stack as well, and a gap of random size; pause's own frames come on top. In
//! 1,200 starts with 0.1, 1, 6 and 100 KB of environment, 4 KiB pages, that was
//!
//! ```text
//!                        resident kB, as private kB and 4 of the file
//!   environment        0.1 KB     1 KB       6 KB      100 KB
//!   all of it          8 - 16    8 - 16    12 - 20    96 - 140
//!   pages given back        8         8    8 (12)       8 (12)
//! ```
//!
//! So every page without a byte of an argument is given back just before the
//! sleep, which is one piece of assembly that uses no stack: nothing that was on
//! it is needed, and not touching it keeps it empty. The environment goes, too,
//! as far as it has pages of its own. Nobody runs in this container who could
//! want it, whoever started the container has it on record, and it may hold
//! secrets; /proc/PID/environ shows zeros there. One that fits on the page of the
//! arguments stays: programs look for `container=` in that of PID 1. To leave,
//! pause has to ask for one page of stack again.
//!
//! **Leave.** PID 1's exit takes the pod with it, so a failure that allows to
//! stay is survived. Where it doesn't, the exit code tells which call it was: 1
//! for the mask, 3 for SIGCHLD, 42 for the sleep (2 is the reference's for
//! SIGTERM apart, which has no call of its own here). Nothing spins: the loop
//! goes around only after a sleep that was interrupted, and if the exit is
//! refused too (seccomp), a trap instruction ends the process by SIGILL.

#![no_std]
#![no_main]

mod init;
mod name;
mod sys;

use sys::{SIGCHLD, SIGINT, SIGTERM, STDERR, STDOUT, Str};

/// What `-v` prints.
const VERSION: &str = concat!("podkeel-pause ", env!("CARGO_PKG_VERSION"), "\n");

/// The signals that end pause.
static STOP: sys::Set = sys::set(SIGINT) | sys::set(SIGTERM);

/// Runs what is asked for, and returns the exit code.
fn main(stack: sys::Stack) -> u8 {
    match name::asked(&stack) {
        None => pause(stack),
        Some(asked) => init::main(asked, stack),
    }
}

/// Holds a pod, and returns the exit code if it doesn't come to sleep. Arguments other
/// than `-v` are ignored, as the reference ignores them.
fn pause(stack: sys::Stack) -> u8 {
    if stack.args().any(|arg| arg.place_in(Str::new(c"-v -V")).0 < 2) {
        sys::write(STDOUT, VERSION);
        return 0;
    }

    if sys::swap_mask(&STOP, &mut 0).is_err() {
        return 1;
    }
    if sys::getpid() != 1 {
        // No error: pause is of use outside of pods, too.
        sys::write(STDERR, "Warning: pause should be the first process\n");
    }

    if sys::ignore(SIGCHLD).is_err() {
        return 3;
    }
    while sys::reap_one() {}

    // Both are gifts to the pod, not conditions: a seccomp filter may deny them.
    let _ = sys::no_new_privs();
    let _ = sys::drop_capabilities();

    stack.sleep(&STOP)
}

/// How pause ends when its sleep did, with which signal or error: writes why, and
/// returns the exit code.
fn leave(signal: sys::Result<i32>) -> u8 {
    let (message, code) = match signal {
        Ok(SIGINT) => ("Shutting down, got signal: Interrupt\n", 0),
        Ok(_) => ("Shutting down, got signal: Terminated\n", 0),
        Err(_) => ("Error: infinite loop terminated\n", 42),
    };
    sys::write(STDERR, message);
    code
}
