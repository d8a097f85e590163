//! Words to verbs.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::verb;

const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 the kernel refused; 2 bad words; 6 permission is missing";

/// Pods from nothing but a kernel.
#[derive(Parser, Debug)]
#[command(name = "shim", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Show the main job: a pod behind a published port, reached from another host, and taken away again
    ///
    /// All of it happens in user, network and mount namespaces of its own:
    /// no root is needed, and nothing of the machine is touched.
    Demo,
}

/// Runs shim with these words; `pause` is the program that it carries. Returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, pause: &'static [u8]) -> i32 {
    match Cli::try_parse_from(args) {
        Ok(Cli { verb: Verb::Demo }) => verb::demo::run(pause),
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() { 2 } else { 0 }
        }
    }
}
