//! Plugins of others: programs in CNI_PATH, run as the specification says. Address managers
//! that a plugin of ours is told to ask, and those of lists that netsetup calls by hand.
//!
//! A name that could lead out of CNI_PATH is refused (CVE-2021-20206). What such a
//! program says when it fails is handed on word for word.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::env::Input;
use super::failure::{Failure, code};
use crate::request::names::check_name;

/// Runs the plugin `kind` with this verb and the same configuration. Returns what it
/// printed; nothing is `Value::Null`.
pub(super) fn run(kind: &str, verb: &str, input: &Input, stdin: &str) -> Result<Value, Failure> {
    let program = find(kind, input.path.as_deref().unwrap_or_default())?;
    let fail = |why: String| {
        Failure::new(code::OWN + 1, format!("run {} with {verb}: {why}", program.display()))
    };
    let mut child = Command::new(&program)
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", &input.container)
        .env("CNI_NETNS", input.netns.as_deref().unwrap_or(Path::new("")))
        .env("CNI_IFNAME", &input.ifname)
        .env("CNI_ARGS", &input.args)
        .env("CNI_PATH", input.path.as_deref().unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| fail(e.to_string()))?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that doesn't read it all may be right, or says what is wrong itself.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    // wait_with_output() panics where the pipe can't be read.
    let mut stdout = Vec::new();
    let read = child.stdout.take().map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut stdout));
    let status = child.wait().map_err(|e| fail(e.to_string()))?;
    read.map_err(|e| fail(format!("read what it printed: {e}")))?;
    let answer: Option<Value> = serde_json::from_slice(&stdout).ok();
    if !status.success() {
        let is_error =
            answer.as_ref().is_some_and(|a| a.get("code").is_some() || a.get("msg").is_some());
        return Err(match is_error {
            true => Failure::Theirs(stdout),
            false => {
                let said = String::from_utf8_lossy(&stdout).trim().to_owned();
                fail(format!("it ended with {status}")).details(said)
            }
        });
    }
    match answer {
        Some(value) => Ok(value),
        None if stdout.iter().all(u8::is_ascii_whitespace) => Ok(Value::Null),
        None => Err(fail("what it printed is no JSON".into())),
    }
}

/// The program of a plugin: the first file of its name.
pub(super) fn find(kind: &str, path: &str) -> Result<PathBuf, Failure> {
    if check_name(kind).is_err() {
        let why = format!("type {kind:?} cannot be a plugin's name");
        return Err(Failure::new(code::CONFIG, why));
    }
    let dirs = path.split(':').filter(|dir| !dir.is_empty());
    let mut files = dirs.map(|dir| Path::new(dir).join(kind));
    files.find(|file| file.is_file()).ok_or_else(|| {
        let why = format!("failed to find plugin {kind:?} in path [{path}]");
        Failure::new(code::OWN + 5, why)
    })
}
