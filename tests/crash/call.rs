//! netsetup, called.

use std::process::{Command, Output};

use super::common::trace::Program;
use super::common::{output_with, told};

/// netsetup with these words and this input.
#[derive(Clone, Debug)]
pub(super) struct Call {
    args: Vec<String>,
    pub(super) stdin: String,
}

impl Call {
    pub(super) fn new(args: &[&str]) -> Call {
        Call { args: args.iter().map(|a| (*a).to_owned()).collect(), stdin: String::new() }
    }

    pub(super) fn program(&self) -> Program {
        Program::new(NETSETUP).args(&self.args).stdin(self.stdin.clone())
    }

    pub(super) fn run(&self) -> Output {
        output_with(Command::new(NETSETUP).args(&self.args), self.stdin.as_bytes())
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

const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");
