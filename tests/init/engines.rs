//! docker and podman with pause as their init: `--init-path` of dockerd and of podman run,
//! and as what runs in a container that shares the PID namespace of another, where it isn't
//! PID 1.

use super::common::{Kind, cgroup, output, scratch, sh, sh_any, sh_out, told, world};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PAUSE: &str = env!("PODKEEL_PAUSE");

/// Tries until it holds.
#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not seen: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An archive with a root file system of busybox, and with pause under the inits' names.
fn image() -> String {
    let dir = scratch().join("image").display().to_string();
    sh(&format!(
        "mkdir -p {dir}/bin {dir}/proc && cp $(command -v busybox) {dir}/bin/ && \
         ln -s busybox {dir}/bin/sh && cp {PAUSE} {dir}/pause && \
         for name in tini dumb-init catatonit; do ln {dir}/pause {dir}/$name; done && \
         tar -C {dir} -cf {dir}.tar ."
    ));
    format!("{dir}.tar")
}

/// Asserts that this process is pause; a runtime may answer just before it executes it.
#[track_caller]
fn is_ours(pid: &str) {
    let ours = fs::metadata(PAUSE).expect("pause").ino();
    until(&format!("pause as process {pid}"), || {
        fs::metadata(format!("/proc/{pid}/exe")).expect("the init's program").ino() == ours
    });
}

/// A dockerd whose init is pause. It dies with the world.
#[allow(clippy::zombie_processes, reason = "the world's end collects it")]
fn dockerd() {
    let dir = scratch().join("docker").display().to_string();
    fs::create_dir_all(&dir).expect("a folder");
    let log = fs::File::create(format!("{dir}/log")).expect("a log");
    Command::new("dockerd")
        .args(["--host", "unix:///var/run/docker.sock", "--data-root", &format!("{dir}/root")])
        .args(["--exec-root", &format!("{dir}/exec"), "--pidfile", &format!("{dir}/pid")])
        .args(["--storage-driver", "overlay2", "--cgroup-parent", &cgroup("docker")])
        .args(["--bridge", "none", "--init-path", PAUSE])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("dockerd of Debian's package");
    until("dockerd", || sh_any("docker version").status.success());
}

/// An engine's command line: with `run` before and `log`, `stop` and so on after it.
type Engine = fn(&str) -> Command;

fn docker(words: &str) -> Command {
    let mut sh = Command::new("sh");
    sh.args(["-c", &format!("docker {words}")]);
    sh
}

fn podman(words: &str) -> Command {
    let dir = scratch().display();
    let mut sh = Command::new("sh");
    sh.args(["-c", &format!("podman --root {dir}/r --runroot {dir}/rr --tmpdir {dir}/t {words}")]);
    sh.env("CONTAINERS_CONF", scratch().join("containers.conf"));
    sh
}

#[track_caller]
fn ok(engine: Engine, words: &str) -> String {
    let output = output(&mut engine(words));
    assert!(output.status.success(), "{}", told(words, &output));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// What both streams have and the exit code.
fn run(engine: Engine, words: &str) -> (Option<i32>, String) {
    let output = output(&mut engine(&format!("{words} 2>&1")));
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

/// A container's init is pause: it hands the exit code and TERM on, and it reaps.
fn is_its_init(engine: Engine, flags: &str, name: &str) {
    let run = |words: &str| run(engine, &format!("run --rm {flags} busybox:1 {words}"));
    assert_eq!(run("sh -c 'exit 7'"), (Some(7), String::new()));
    assert_eq!(run("sh -c 'kill -TERM $$'"), (Some(143), String::new()));
    let (code, said) = run("/no/such/command");
    assert_eq!(code, Some(127), "{said}");
    assert!(said.contains("cannot execute /no/such/command: No such file or directory"), "{said}");

    let script = "trap \"exit 9\" TERM; (sleep 0.1 &); while :; do sleep 0.05; done";
    let script = script.replace("sleep", "busybox sleep");
    ok(engine, &format!("run -d --name base {flags} busybox:1 sh -c '{script}'"));
    let pid = ok(engine, "inspect -f '{{.State.Pid}}' base");
    is_ours(&pid);
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("a command line");
    assert!(line.starts_with(&format!("{name}\0--\0sh\0")), "{line:?}");
    // The orphan came and went.
    let children = format!("ps --ppid {pid} -o comm=");
    until("the command alone", || sh_out(&children).lines().count() == 1);
    let asked = Instant::now();
    ok(engine, "stop -t 20 base");
    assert!(asked.elapsed() < Duration::from_secs(15), "TERM got there");
    assert_eq!(ok(engine, "inspect -f '{{.State.ExitCode}}' base"), "9");
    let (_, said) = self::run(engine, "logs base");
    assert_eq!(said, "", "nothing to say");
    ok(engine, "rm base");
}

/// In the PID namespace of another container an init isn't PID 1: it adopts its orphans by
/// itself or where it is told to, and only then has nothing to warn of.
fn joins_a_pid_namespace(engine: Engine) {
    ok(engine, "run -d --name base busybox:1 /pause");
    let orphan =
        "sh -c \"(sh -c \\\"busybox sleep 0.3; echo ended\\\" &); busybox sleep 1; exit 5\"";
    let join = "run --rm --pid=container:base busybox:1";
    for (init, said) in [
        ("/pause --wait-all", "ended\n"),
        ("/catatonit", "ended\n"),
        ("/tini -s", "ended\n"),
        ("/dumb-init", "ended\n"),
        ("/tini", "tini: neither process 1 nor a subreaper (-s): orphans go to others\nended\n"),
    ] {
        let (code, seen) = run(engine, &format!("{join} {init} -- {orphan}"));
        assert_eq!((code, &*seen), (Some(5), said), "{init}");
    }
    // Who has adopted the orphan: the init that is told to, or the base.
    let script = "(busybox sleep 77 &); busybox sleep 78";
    for (init, adopts) in [("pause", true), ("tini", false)] {
        let words = format!("run -d --name app --pid=container:base busybox:1 /{init} --");
        ok(engine, &format!("{words} sh -c '{script}; :'"));
        let parent = || {
            let pid = sh_out("pgrep -f '^busybox sleep 77$' || true");
            sh_out(&format!("ps -o comm= -p $(ps -o ppid= -p {pid} || echo 0) || true"))
        };
        let expected = if adopts { init } else { "pause" };
        until(init, || parent() == expected);
        ok(engine, "stop -t 5 app");
        ok(engine, "rm app");
        sh_any("pkill -f '^busybox sleep 7[78]$'");
    }
    ok(engine, "stop -t 5 base");
    assert_eq!(ok(engine, "inspect -f '{{.State.ExitCode}}' base"), "0");
    ok(engine, "rm base");
}

#[test]
#[ignore = "needs root"]
fn docker_has_it_as_its_init() {
    world(Kind::Root, || {
        let image = image();
        dockerd();
        ok(docker, &format!("import {image} busybox:1"));
        // docker asks the program for its version, and warns where it isn't one.
        let info = sh_out("docker info 2>&1");
        assert!(info.contains("Init Binary: "), "{info}");
        assert!(!info.contains("init is not"), "{info}");
        is_its_init(docker, "--init --net none", "/sbin/docker-init");
        joins_a_pid_namespace(docker);
    });
}

#[test]
#[ignore = "needs root"]
fn podman_has_it_as_its_init() {
    world(Kind::Root, || {
        let conf = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
                    netns = \"none\"\n[engine]\ncgroup_manager = \"cgroupfs\"\n\
                    events_logger = \"file\"\nruntime = \"runc\"\n";
        fs::write(scratch().join("containers.conf"), conf).expect("containers.conf");
        ok(podman, &format!("import -q {} localhost/busybox:1", image()));
        is_its_init(
            podman,
            &format!("--pull=never --init --init-path {PAUSE}"),
            "/run/podman-init",
        );
        joins_a_pid_namespace(podman);
    });
}
