//! A plugin called as a runtime calls it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Debian's containernetworking-plugins.
pub(crate) const REFERENCE: &str = "/usr/lib/cni";
pub(crate) const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");

/// netsetup under the names of its plugins.
pub(crate) fn install(dir: &Path) {
    let done = Command::new(NETSETUP).arg("install").arg(dir).output().expect("netsetup");
    assert!(done.status.success(), "netsetup install: {}", String::from_utf8_lossy(&done.stderr));
}

/// One call of a plugin of `dir`, for the namespace of this name. Panics unless it succeeds.
pub(crate) fn call(dir: &Path, kind: &str, verb: &str, name: &str, conf: &Value) -> Value {
    let mut child = Command::new(dir.join(kind))
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", name)
        .env("CNI_NETNS", format!("/run/netns/{name}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_ARGS", "")
        .env("CNI_PATH", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a plugin");
    let mut stdin = child.stdin.take().expect("a pipe");
    // VERSION of the reference reads none of it.
    let _ = stdin.write_all(conf.to_string().as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("an answer");
    assert!(output.status.success(), "{kind} {verb}: {}", String::from_utf8_lossy(&output.stdout));
    if output.stdout.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

/// A shell command that must succeed.
pub(crate) fn sh(script: &str) {
    let done = Command::new("sh").args(["-c", script]).status().expect("sh");
    assert!(done.success(), "{script}");
}
