//! netsetup, called.

use std::process::{Command, Output};

use super::common::crash::Point;
use super::common::syscalls::Syscall;
use super::common::trace::Program;
use super::common::{output_with, told};

/// netsetup with these words, this input, and these variables on top of the test's own.
#[derive(Clone, Debug)]
pub(super) struct Call {
    args: Vec<String>,
    pub(super) stdin: String,
    env: Vec<(&'static str, String)>,
}

impl Call {
    pub(super) fn new(args: &[&str]) -> Call {
        Call {
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            stdin: String::new(),
            env: Vec::new(),
        }
    }

    /// As a CNI plugin: the verb, for container `web` in the namespace of that name.
    pub(super) fn cni(verb: &str, conf: &str) -> Call {
        let vars = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "web"),
            ("CNI_NETNS", "/run/netns/web"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/nowhere"),
        ];
        let env = vars.map(|(name, value)| (name, value.to_owned())).to_vec();
        Call { stdin: conf.to_owned(), env, ..Call::new(&[]) }
    }

    pub(super) fn program(&self) -> Program {
        let program = Program::new(NETSETUP).args(&self.args).stdin(self.stdin.clone());
        self.env.iter().fold(program, |program, (name, value)| program.env(name, value))
    }

    pub(super) fn run(&self) -> Output {
        let mut command = Command::new(NETSETUP);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        output_with(&mut command, self.stdin.as_bytes())
    }

    /// Runs it and says what is wrong with any other exit code than 0.
    pub(super) fn succeeds(&self) -> Result<(), String> {
        self.exits(&[0]).map(drop)
    }

    /// Runs it, expecting one of these exit codes.
    pub(super) fn exits(&self, codes: &[i32]) -> Result<i32, String> {
        let output = self.run();
        match output.status.code().filter(|c| codes.contains(c)) {
            Some(code) => Ok(code),
            None => Err(format!("should exit {codes:?}: {}", told(&self.args.join(" "), &output))),
        }
    }
}

const SIGINT: u64 = libc::SIGINT as u64;
const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");

/// The message of a plugin's error; nothing where stdout has none.
pub(super) fn error_of(stdout: &str) -> String {
    let error = serde_json::from_str::<serde_json::Value>(stdout).unwrap_or_default();
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    if error["code"].is_u64() { text("msg") + "\n" + &text("details") } else { String::new() }
}

/// The first thing that main does with a system call: it asks for SIGINT.
pub(super) fn main_begins(calls: &[Syscall]) -> usize {
    let sigint = |c: &&Syscall| c.name == "rt_sigaction" && c.args[0] == SIGINT;
    calls.iter().find(sigint).expect("main asks for SIGINT").n
}

/// What Rust does without memory is to abort.
pub(super) fn runs_out_of_memory(point: &Point) -> bool {
    let call = point.outcome.reached.as_ref();
    call.is_some_and(|c| ["mmap", "mprotect", "mremap", "brk"].contains(&c.name.as_str()))
}
