//! pause as an init: beside tini, dumb-init and catatonit, under docker and podman, and by
//! itself.

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod compiler;
mod cpus;
mod crossed;
#[path = "../vm/debian.rs"]
mod debian;
mod documented;
mod engines;
mod filters;
mod own;

use std::process::Command;

/// Runs a command of the harness's own and returns what it printed.
fn run(command: &mut Command) -> String {
    let output = common::output(command);
    assert!(output.status.success(), "{}", common::told(&format!("{command:?}"), &output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
