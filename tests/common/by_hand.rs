//! netsetup by its command line, for the test programs that try it by hand.

use std::process::{Command, Output};

use serde_json::Value;

use super::common::{output, told};

/// The program under test.
pub(crate) const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");

/// Runs netsetup with these words, parted by spaces.
pub(crate) fn run(words: &str) -> Output {
    output(Command::new(NETSETUP).args(words.split_whitespace()))
}

/// Runs netsetup and expects success; returns what it printed.
#[track_caller]
pub(crate) fn netsetup(words: &str) -> String {
    let output = run(words);
    assert!(output.status.success(), "{}", told(words, &output));
    String::from_utf8(output.stdout).expect("netsetup prints UTF-8")
}

/// Runs netsetup, expects exit code `code`, and returns what it said and printed.
#[track_caller]
pub(crate) fn refused(words: &str, code: i32) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(code), "{}", told(words, &output));
    let both = [output.stderr, output.stdout].concat();
    String::from_utf8(both).expect("netsetup prints UTF-8")
}

/// `netsetup add`; returns the CNI result.
#[track_caller]
pub(crate) fn add(words: &str) -> Value {
    let text = netsetup(&format!("add {words}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("add {words}: {e}: {text}"))
}
