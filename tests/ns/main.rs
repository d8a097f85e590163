//! `netsetup ns` beside `ip netns`: each sees what the other makes, in a world of its own.
//!
//! ```text
//! names    made, listed, identified, deleted, both ways; what is refused, and how
//! exec     what a program finds that runs in a namespace
//! race     several at once, of ours and of ip's
//! harm     killed, or refused, at every system call
//! pins     the library: any kind of namespace under a name
//! ```

#[path = "../common/mod.rs"]
mod common;

mod exec;
mod harm;
mod names;
mod pins;
mod race;

use std::fs;
use std::process::{Command, Output};

use common::{dirs, output, told};

const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");

const INPUT: i32 = 2;
const TAKEN: i32 = 4;
const MISSING: i32 = 5;
const DENIED: i32 = 6;

/// `netsetup ns` with these words.
fn ns_any(words: &[&str]) -> Output {
    output(Command::new(NETSETUP).arg("ns").args(words))
}

/// The same, expecting success; what it printed.
#[track_caller]
fn ns(words: &[&str]) -> String {
    let output = ns_any(words);
    assert!(output.status.success(), "{}", told(&words.join(" "), &output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The same, expecting this exit code and one line of an error; its words.
#[track_caller]
fn ns_fails(words: &[&str], code: i32) -> String {
    let output = ns_any(words);
    assert_eq!(output.status.code(), Some(code), "{}", told(&words.join(" "), &output));
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(text.starts_with("netsetup: cannot ") || text.starts_with("error: "), "{text}");
    assert!(output.stdout.is_empty(), "it failed and printed an answer");
    text
}

/// The files in the directory of names, hidden ones too, sorted.
fn files() -> Vec<String> {
    let entries = fs::read_dir(dirs().netns).expect("the directory of names");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries.map(|e| name(e).into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// What is mounted in the directory of names: mount point, propagation, in order. The host
/// may have mounts of these names, too; the world's own /run covers them.
fn mounts() -> Vec<(String, String)> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let dir = dirs().netns.display().to_string();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let run = lines.iter().rfind(|words| words[4] == "/run").expect("the world's own /run");
    let mut below = vec![run[0]];
    let mut mounts = Vec::new();
    // ID PARENT DEVICE ROOT POINT OPTIONS TAGS (proc_pid_mountinfo(5)): parents come first.
    for words in lines.iter().filter(|words| words[4].starts_with(&dir)) {
        if below.contains(&words[1]) {
            below.push(words[0]);
            let spread = words[6].split(':').next().unwrap_or_default();
            mounts.push((words[4].to_owned(), spread.to_owned()));
        }
    }
    mounts
}

/// What is mounted on names.
fn mounted() -> usize {
    let dir = dirs().netns.display().to_string();
    mounts().iter().filter(|(point, _)| *point != dir).count()
}
