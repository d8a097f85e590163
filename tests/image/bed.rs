//! What all of it needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::common::{output, scratch, sh_out, told};

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

/// Tries until it holds, for at most ten seconds.
pub(crate) fn until(holds: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| {
        let held = holds();
        if !held {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        held
    })
}

/// Debian's registry on an address of this world. It ends with the world.
pub(crate) struct Registry {
    dir: PathBuf,
}

impl Registry {
    /// Starts it with these lines in its configuration, and waits until it listens on `address`.
    #[allow(clippy::zombie_processes, reason = "the world's end collects it")]
    pub(crate) fn start(address: &str, more: &str) -> Registry {
        let dir = scratch().join(format!("registry-{address}"));
        fs::create_dir_all(dir.join("store")).expect("a folder");
        let (config, log) = (dir.join("config.yml"), dir.join("log"));
        let store = dir.join("store");
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http:\n  addr: \"{address}\"\n{more}",
            store.display()
        );
        fs::write(&config, text).expect("config.yml");
        let file = fs::File::create(&log).expect("a log");
        Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .spawn()
            .expect("docker-registry of Debian's package");
        let registry = Registry { dir };
        let up = || std::net::TcpStream::connect(address).is_ok();
        assert!(until(up), "the registry isn't up: {}", registry.log());
        registry
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

/// The digest that `build` and `push` print for the whole image.
pub(crate) fn digest_of(printed: &str) -> &str {
    let first = printed.lines().next().unwrap_or_default();
    first.split(' ').nth(1).unwrap_or_else(|| panic!("no digest in {printed}"))
}

/// Resident kilobytes of a process that nobody shares with it, and in all.
pub(crate) fn memory(pid: &str) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a process's memory");
    let sum = |names: &[&str]| {
        let lines = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    };
    (sum(&["Private_Clean:", "Private_Dirty:"]), sum(&["Rss:"]))
}

/// Asserts that an engine's base is our pause, and as small as it is by itself.
pub(crate) fn is_ours(pid: &str) {
    let program = sh_out(&format!("sha256sum </proc/{pid}/exe"));
    let ours = sh_out(&format!("sha256sum <{}", env!("CARGO_BIN_EXE_pause")));
    let carried = sh_out(&format!("sha256sum <{}", env!("PODKEEL_PAUSE")));
    assert!(program == carried || program == ours, "another program runs as base");
    let (private, resident) = memory(pid);
    println!("base: {private} kB private, {resident} kB resident");
    assert!(resident <= 64, "{resident} kB resident");
}

/// An archive of busybox's root file system, as docker and podman import it.
pub(crate) fn busybox() -> String {
    let dir = scratch().join("busybox").display().to_string();
    super::common::sh(&format!(
        "mkdir -p {dir}/root/bin && cp $(command -v busybox) {dir}/root/bin/ && \
         ln -s busybox {dir}/root/bin/sh && tar -C {dir}/root -cf {dir}/busybox.tar ."
    ));
    format!("{dir}/busybox.tar")
}

/// What a container that joined runs: a page on port 80, for as long as it lives.
pub(crate) const PAGE: &str =
    "mkdir -p /www && echo keel >/www/index.html && exec busybox httpd -f -p 80 -h /www";

/// Asserts that what loses its parent in the pid namespace of `base` becomes a child of it, and
/// is reaped when it ends. `exec` runs a shell's words in there.
pub(crate) fn reaps(base: &str, exec: impl Fn(&str)) {
    let children = || super::common::sh_out(&format!("ps --ppid {base} -o pid= || true"));
    let before = children();
    exec("(/bin/busybox sleep 1000 >/dev/null 2>&1 &); true");
    assert!(until(|| children() != before), "the orphan has another parent: {before}");
    let now = children();
    let orphan = now.lines().find(|pid| !before.contains(*pid)).expect("one more");
    super::common::sh(&format!("kill -KILL {orphan}"));
    assert!(until(|| children() == before), "the orphan isn't reaped: {}", children());
}

/// Asserts that this ends in far less than the ten seconds that engines wait before they kill.
pub(crate) fn at_once(what: &str, stop: impl FnOnce()) {
    let started = std::time::Instant::now();
    stop();
    let took = started.elapsed();
    println!("{what}: {} ms", took.as_millis());
    assert!(took.as_secs() < 6, "{what} took {took:?}");
}
