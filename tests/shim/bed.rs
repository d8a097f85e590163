//! What the tests share: shim called by shell lines, and what is left after it.

use std::collections::BTreeMap;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::common::dump::{Dump, diff, dump};
use super::common::{sh_any, told};

pub(super) const SHIM: &str = env!("CARGO_BIN_EXE_shim");
pub(super) const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");

/// How long anything here may take to come about on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// Before every line: `$in` are the words that join all of base's namespaces.
fn prelude() -> String {
    let dir = std::path::Path::new(SHIM).parent().expect("a directory").display();
    let kinds = ["net", "ipc", "pid", "uts"].map(|k| format!("--{k}=container:base"));
    format!("PATH={dir}:$PATH; export PATH; in='{}'; ", kinds.join(" "))
}

/// Runs a shell line in which `shim` is the program under test.
pub(super) fn any(line: &str) -> Output {
    sh_any(&(prelude() + line))
}

/// Runs a line that must succeed, and returns what it printed, without the last newline.
#[track_caller]
pub(super) fn ok(line: &str) -> String {
    let output = any(line);
    assert!(output.status.success(), "{}", told(line, &output));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Runs a line that must fail with this code and these words on stderr.
#[track_caller]
pub(super) fn fails(line: &str, code: i32, words: &str) {
    let output = any(line);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}", told(line, &output));
    assert!(said.contains(words), "no {words:?} in: {}", told(line, &output));
}

/// Starts a line in the background, as a process of its own whose pid is `shim`'s:
/// the line is executed by the shell.
pub(super) fn spawn(line: &str) -> Child {
    let words = format!("{}exec {line}", prelude());
    let mut command = Command::new("sh");
    command.args(["-c", &words]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("sh")
}

/// Waits until `look` says so; panics with `what` if it doesn't.
#[track_caller]
pub(super) fn until(what: &str, mut look: impl FnMut() -> bool) {
    let start = Instant::now();
    while !look() {
        assert!(start.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The end of a child, within reasonable time.
#[track_caller]
pub(super) fn end(child: &mut Child) -> std::process::ExitStatus {
    let mut status = None;
    until("the end of a child", || {
        status = child.try_wait().expect("wait");
        status.is_some()
    });
    status.expect("it has ended")
}

/// What `shim inspect` says of a container.
#[track_caller]
pub(super) fn inspect(name: &str) -> Value {
    let text = ok(&format!("shim inspect {name}"));
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all[0].clone()
}

#[track_caller]
pub(super) fn pid_of(name: &str) -> i32 {
    let pid = inspect(name)["pid"].as_i64().unwrap_or_else(|| panic!("{name} has no pid"));
    i32::try_from(pid).expect("a pid")
}

#[track_caller]
pub(super) fn monitor_of(name: &str) -> i32 {
    let monitor = inspect(name)["monitor"]["pid"].as_i64();
    i32::try_from(monitor.unwrap_or_else(|| panic!("{name} has no monitor"))).expect("a pid")
}

/// State, and the exit status where one is known.
#[track_caller]
pub(super) fn state(name: &str) -> String {
    let all = inspect(name);
    let word = all["status"].as_str().expect("a status");
    match all["exit"]["code"].as_i64() {
        Some(code) => format!("{word} {code}"),
        None => word.to_owned(),
    }
}

pub(super) fn kill(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("kill");
}

/// All processes of the world but this one: what each was called with. A zombie has
/// nothing of that any more, and is told by its name.
pub(super) fn processes() -> BTreeMap<i32, String> {
    let own = std::process::id().cast_signed();
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|e| e.file_name().to_string_lossy().parse::<i32>().ok());
    let told = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        Some((pid, if line.is_empty() { stat } else { line.trim_end().to_owned() }))
    };
    pids.filter(|pid| *pid != own).filter_map(told).collect()
}

/// The world at one moment: kernel, files, processes.
pub(super) struct Before {
    dump: Dump,
    processes: BTreeMap<i32, String>,
}

impl Before {
    pub(super) fn now() -> Before {
        Before { dump: dump(&[]), processes: processes() }
    }

    /// What there is more or less by now. Processes that were killed may take a moment.
    pub(super) fn left(&self) -> Vec<String> {
        let mut left = self.left_processes();
        left.extend(diff(&self.dump, &dump(&[])));
        left
    }

    pub(super) fn left_processes(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let more = processes().into_iter().filter(|(pid, _)| !self.processes.contains_key(pid));
            let more: Vec<String> =
                more.map(|(pid, line)| format!("process {pid}: {line}")).collect();
            if more.is_empty() || start.elapsed() > Duration::from_secs(3) {
                return more;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    pub(super) fn is_now(&self, after: &str) {
        let left = self.left();
        assert!(left.is_empty(), "after {after}:\n  {}", left.join("\n  "));
    }
}

/// Once around, so that what stays for good (forwarding) is there; then the world as it
/// is to be again.
pub(super) fn before(bridge: bool) -> Before {
    if bridge {
        super::common::sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    }
    // A pin makes /run/netns a shared mount, as ip netns does; a lease
    // that was given back leaves its directory, as host-local does.
    let net = if bridge { "bridge" } else { "none" };
    ok(&format!("shim run -d --name first --net {net} && shim rm -f first"));
    Before::now()
}
