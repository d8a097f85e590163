//! What a base takes beside the one that an engine would have taken without us.
//!
//! podman's own is catatonit. That of docker's and containerd's pods is Kubernetes' image pause,
//! a static C program; a program that makes the same calls stands in for it, linked with this
//! system's glibc.

use std::fs;
use std::path::PathBuf;

use super::bed::{memory, ok};
use super::common::{scratch, sh};

/// The name of the image with the stand-in.
pub(crate) const STAND_IN: &str = "localhost/stand-in:1";

/// Leaves on INT and TERM, waits for its children, sleeps.
const SOURCE: &str = "\
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void leave(int signal) { (void)signal; _exit(0); }
static void reap(int signal) { (void)signal; while (waitpid(-1, NULL, WNOHANG) > 0) {} }
int main(void) {
    struct sigaction action = {.sa_handler = leave};
    struct sigaction child = {.sa_handler = reap, .sa_flags = SA_NOCLDSTOP};
    if (sigaction(SIGINT, &action, NULL) || sigaction(SIGTERM, &action, NULL) ||
        sigaction(SIGCHLD, &child, NULL)) return 1;
    for (;;) pause();
}
";

/// Loads the image of the stand-in into an engine, by these further words.
pub(crate) fn load(engine: &str, words: &[&str]) {
    let program = program().display().to_string();
    let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let pause = format!("{program}={own}");
    let all = [&["load", engine, "--arch", own, "--pause", &pause, "-t", STAND_IN], words].concat();
    ok(&all);
}

fn program() -> PathBuf {
    let program = scratch().join("stand-in");
    let source = program.with_extension("c");
    fs::write(&source, SOURCE).expect("a source");
    sh(&format!("gcc -Os -Wall -Werror -static -s -o {} {}", program.display(), source.display()));
    program
}

/// Prints what both processes take, and asserts that ours takes less.
pub(crate) fn is_larger(engine: &str, stock: &str, stock_pid: &str, our_pid: &str) {
    let (theirs, ours) = (memory(stock_pid), memory(our_pid));
    println!("{engine}: pause {} kB private, {} kB resident", ours.0, ours.1);
    println!("{engine}: {stock} {} kB private, {} kB resident", theirs.0, theirs.1);
    assert!(ours.0 < theirs.0 && ours.1 < theirs.1, "{engine}: {stock} takes less");
}
