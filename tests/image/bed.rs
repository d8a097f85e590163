//! What all of it needs.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::common::{output, sh_out, told};

/// The program under test.
pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_shim");
/// The name that the image has when none is given.
pub(crate) const NAME: &str = concat!("localhost/podkeel/pause:", env!("CARGO_PKG_VERSION"));
/// Its tag.
pub(crate) const TAG: &str = env!("CARGO_PKG_VERSION");

/// `shim image` with these words.
pub(crate) fn image(words: &[&str]) -> Command {
    let mut command = Command::new(SHIM);
    command.arg("image").args(words).env_remove("SOURCE_DATE_EPOCH");
    command
}

/// Runs it and expects success; what it printed.
#[track_caller]
pub(crate) fn ok(words: &[&str]) -> String {
    done(&mut image(words))
}

/// The same of a prepared command.
#[track_caller]
pub(crate) fn done(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{}", told(&format!("{command:?}"), &output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs it and expects this exit code; what it said.
#[track_caller]
pub(crate) fn fails(code: i32, words: &[&str]) -> String {
    refused(code, &mut image(words))
}

/// The same of a prepared command.
#[track_caller]
pub(crate) fn refused(code: i32, command: &mut Command) -> String {
    let output: Output = output(command);
    assert_eq!(output.status.code(), Some(code), "{}", told(&format!("{command:?}"), &output));
    String::from_utf8(output.stderr).expect("UTF-8")
}

/// What sha256sum prints of every file in a folder.
pub(crate) fn sums(dir: &Path) -> String {
    sh_out(&format!("cd {} && find . -type f | sort | xargs sha256sum", dir.display()))
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A digest's file in a layout.
pub(crate) fn blob(layout: &Path, digest: &Value) -> Vec<u8> {
    let hex = digest.as_str().and_then(|d| d.strip_prefix("sha256:")).expect("a sha256 digest");
    std::fs::read(layout.join("blobs/sha256").join(hex)).unwrap_or_else(|e| panic!("{hex}: {e}"))
}
