//! A plugin called as a runtime calls it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Debian's containernetworking-plugins.
pub(crate) const REFERENCE: &str = "/usr/lib/cni";
const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");

/// The netsetup that is measured: the one that cargo has built for the bench, or another, as
/// one of a release, by the environment.
pub(crate) fn netsetup() -> PathBuf {
    std::env::var_os("PODKEEL_BENCH_NETSETUP").map_or(NETSETUP.into(), PathBuf::from)
}

/// netsetup under the names of its plugins.
pub(crate) fn install(dir: &Path) {
    let done = Command::new(netsetup()).arg("install").arg(dir).output().expect("netsetup");
    assert!(done.status.success(), "netsetup install: {}", String::from_utf8_lossy(&done.stderr));
}

/// One call of a plugin of `dir`, for the namespace of this name: how long it took from its start
/// to its end, and what it answered. Panics unless it succeeds.
pub(crate) fn call(
    dir: &Path,
    kind: &str,
    verb: &str,
    name: &str,
    conf: &Value,
) -> (Duration, Value) {
    let conf = conf.to_string();
    let mut command = Command::new(dir.join(kind));
    command
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", name)
        .env("CNI_NETNS", format!("/run/netns/{name}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_ARGS", "")
        .env("CNI_PATH", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().expect("a plugin");
    let mut stdin = child.stdin.take().expect("a pipe");
    // VERSION of the reference reads none of it.
    let _ = stdin.write_all(conf.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("an answer");
    let took = began.elapsed();
    assert!(output.status.success(), "{kind} {verb}: {}", String::from_utf8_lossy(&output.stdout));
    let answer = match output.stdout.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&output.stdout).expect("JSON"),
    };
    (took, answer)
}

/// A shell command that must succeed.
pub(crate) fn sh(script: &str) {
    let done = Command::new("sh").args(["-c", script]).status().expect("sh");
    assert!(done.success(), "{script}");
}
