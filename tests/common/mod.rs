//! The harness that the integration tests share: `mod common;` in tests/*.rs.
//!
//! ```text
//! world     each test re-runs itself in namespaces of its own; nothing reaches the host
//! setup     what such a world finds: fresh /run, /etc, /var/lib, /sys, lo up
//! netns     name a network namespace, enter it, make one, make a neighbour host
//! traffic   servers that answer with the address they see, clients with a deadline
//! router    a router's advertisement, which real hosts have their default route from
//! tap       the program at a tap's other end
//! prober    a neighbour who keeps knocking while something else happens
//! dump      the state of the world as words; what two states differ in
//! gone      how links and processes of ours go
//! helper    programs that tests need beside the ones under test
//! flatten   what `ip -j` and `nft -j` print, as the lines of a dump
//! trace     a program under ptrace: count its system calls, kill it at one, fail one
//! raw       what the tracer, router and tap ask of the kernel; all unsafe code of the tests
//! syscalls  names of system calls, and how each of them can fail
//! crash     for every system call of a program: die there, or let it fail, then judge
//! ```
//!
//! Tests judge with the tools that people use (`ip`, `nft`), not with our parsers.
//!
//! A test that needs root carries `#[ignore = "needs root"]` and calls
//! `world(Kind::Root, ...)`. Run as root with `--include-ignored` it runs; without,
//! the test runner counts it as ignored, never as passed; forced without root it
//! fails and says why. Everything else uses `Kind::User`, which needs no privilege.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test program uses a part of it"
)]

pub mod crash;
pub mod dump;
pub mod flatten;
pub mod gone;
mod helper;
pub mod netns;
pub mod prober;
mod raw;
pub mod router;
mod setup;
pub mod syscalls;
pub mod tap;
pub mod trace;
pub mod traffic;
pub mod world;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub use helper::{helper, helper_in};
pub use netns::{Neighbour, Ns, in_netns, neighbour, ns_add, ns_del};
pub use world::{Dirs, Kind, cgroup, dirs, scratch, world, worlds};

/// Runs a shell command in the caller's world and expects it to succeed.
///
/// Panics with the command and both of its outputs when it does not. Waits until both
/// outputs are closed: what the command leaves in the background must not hold them
/// (`daemon >/dev/null 2>&1 &`).
#[track_caller]
pub fn sh(command: &str) -> Output {
    let output = sh_any(command);
    assert!(output.status.success(), "{}", told(command, &output));
    output
}

/// Runs a shell command that is expected to fail; panics when it succeeds.
pub fn sh_fails(command: &str) -> Output {
    let output = sh_any(command);
    assert!(!output.status.success(), "should have failed: {}", told(command, &output));
    output
}

/// Runs a shell command and leaves the judgement to the caller.
pub fn sh_any(command: &str) -> Output {
    output(Command::new("sh").args(["-c", command]))
}

/// Runs a shell command and returns what it printed, without the last newline.
#[track_caller]
pub fn sh_out(command: &str) -> String {
    String::from_utf8_lossy(&sh(command).stdout).trim_end().to_owned()
}

/// Runs a shell command and returns the JSON that it printed, as `ip -j` and `nft -j` do.
///
/// Not by way of jq, which compiles its library at each start: that is 0.4 s in a VM.
#[track_caller]
pub fn sh_json(command: &str) -> Value {
    parsed(command, &sh(command))
}

#[track_caller]
fn parsed(command: &str, output: &Output) -> Value {
    match serde_json::from_slice(&output.stdout) {
        Ok(value) => value,
        Err(e) => panic!("no JSON: {e}: {}", told(command, output)),
    }
}

/// Runs a prepared command to its end. stdin is /dev/null unless the command names one.
///
/// Panics when the program cannot be started at all: that is the machine's fault.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
}

/// Runs a prepared command with `stdin` as its input.
///
/// The input is written from a thread of its own, so that a program that answers
/// before it has read everything cannot block both sides.
pub fn output_with(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let mut pipe = child.stdin.take().expect("stdin is piped");
    std::thread::scope(|scope| {
        // A program that leaves its input unread closes the pipe; that is its right.
        scope.spawn(move || pipe.write_all(stdin).ok());
        child.wait_with_output().unwrap_or_else(|e| panic!("cannot wait for {command:?}: {e}"))
    })
}

/// A command with how it ended and what it printed: the text of a failed assertion.
pub fn told(command: &str, output: &Output) -> String {
    format!(
        "`{command}`: {}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout).trim_end(),
        String::from_utf8_lossy(&output.stderr).trim_end()
    )
}
