//! `shim demo`, the first thing that anybody runs.

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::{output, told};

/// Everything that the demo starts has the words of this test in its environment.
const MARK: &str = "PODKEEL_DEMO_TEST";

fn demo(mark: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shim"));
    command.arg("demo").env(MARK, mark);
    command
}

/// Processes whose environment has the mark. pause is started with an empty
/// environment; its parent is what has the mark, and it dies with its parent.
fn running(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}");
    let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
    pids.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok())
        .filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|b| *b == 0).any(|word| word == wanted.as_bytes())
        })
        .collect()
}

/// Children of a process, all the way down.
fn descendants(pid: i32) -> Vec<i32> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<i32> = text.split_whitespace().filter_map(|p| p.parse().ok()).collect();
    children.iter().copied().chain(children.iter().flat_map(|c| descendants(*c))).collect()
}

fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn it_shows_the_request_and_the_picture_and_leaves_nothing() {
    let netdev = || std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let before = netdev();
    let shown = output(&mut demo("whole"));
    assert!(shown.status.success(), "{}", told("shim demo", &shown));
    let text = String::from_utf8_lossy(&shown.stdout);
    // The pod saw the other host's own address: it came by the wire, not over lo.
    for line in [
        "its localhost answers:  hello 127.0.0.1, this is the pod",
        "its shared memory:      written by web",
        "the processes it sees:  1 pause, 2 web, 3 app",
        "hello 192.0.2.2, this is the pod",
        "└─ app  stopped (0)",
        "bridge podkeel0  10.89.0.1/16  up",
        "eth0 10.89.0.2/16",
        "port 0.0.0.0:8080/tcp to 10.89.0.2:80",
        "all of it is taken away",
    ] {
        assert!(text.contains(line), "{line:?} is missing\n{}", told("shim demo", &shown));
    }
    let said = String::from_utf8_lossy(&shown.stderr);
    assert_eq!(said, "");
    assert_eq!(before, netdev(), "mounts of the machine");
    assert_eq!(running("whole"), [0; 0], "processes left");
}

#[test]
fn killed_at_any_moment_it_leaves_no_process() {
    for delay in (0..120).step_by(8) {
        let mark = format!("killed{delay}");
        let quiet = Stdio::null;
        let mut child = demo(&mark).stdout(quiet()).stderr(quiet()).spawn().expect("shim");
        std::thread::sleep(Duration::from_millis(delay));
        let mut all = descendants(child.id() as i32);
        child.kill().expect("kill");
        child.wait().expect("wait");
        all.extend(running(&mark));
        for _ in 0..200 {
            all.retain(|pid| lives(*pid));
            if all.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(all, [0; 0], "processes left after a kill at {delay} ms");
    }
}

#[test]
fn where_user_namespaces_are_forbidden_it_names_the_knob_and_runs_what_it_can() {
    // In a user namespace of its own, this test may turn the switch for itself.
    let shim = env!("CARGO_BIN_EXE_shim");
    let script = format!("echo 0 > /proc/sys/user/max_user_namespaces && exec {shim} demo");
    let refused =
        output(Command::new("unshare").args(["--user", "--map-root-user", "sh", "-c", &script]));
    assert_eq!(refused.status.code(), Some(6), "{}", told("shim demo", &refused));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("sysctl -w user.max_user_namespaces="), "{said}");
    let shown = String::from_utf8_lossy(&refused.stdout);
    assert!(shown.contains("pause ended with exit code 0"), "{shown}");
}

#[test]
fn bad_words_are_refused_and_help_is_there() {
    let help = output(Command::new(env!("CARGO_BIN_EXE_shim")).arg("--help"));
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("demo"));
    let wrong = output(Command::new(env!("CARGO_BIN_EXE_shim")).arg("demoo"));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("'demo'"), "it offers the right word");
}
