//! shim starts no other program than pause, and nothing of its own stays in who it starts.

use std::collections::BTreeSet;
use std::fs;

use super::bed::{SHIM, any, before, monitor_of, ok, pid_of, processes};
use super::common::{Kind, scratch, sh_out, told, world};

/// Runs a line of shim under strace; all that it executed.
fn executed(line: &str) -> Vec<String> {
    let file = scratch().join("strace");
    // strace itself is no part of it; it lets go of what outlives shim (-b is for exec).
    let words = format!("strace -f -qq -e trace=execve,execveat -o {} {line}", file.display());
    let output = any(&words);
    assert!(output.status.success(), "{}", told(&words, &output));
    let text = fs::read_to_string(file).expect("strace's file");
    let calls = text.lines().filter(|l| l.contains("execve") && l.ends_with("= 0"));
    calls.map(str::to_owned).collect()
}

#[test]
fn no_other_program_is_run() {
    world(Kind::User, || {
        let before = before(true);
        // strace waits for all that it follows: so pause is ended from outside.
        let ender = std::thread::spawn(|| {
            super::bed::until("a base", || ok("shim ps -q -f state=running") == "base");
            std::thread::sleep(std::time::Duration::from_millis(300));
            ok("shim kill -s TERM base");
        });
        let calls = executed("shim run -d --name base -p 8080:80 --sysctl net.ipv4.ip_forward=1");
        ender.join().expect("the base was ended");
        assert_eq!(calls.len(), 2, "shim itself, and pause: {calls:#?}");
        assert!(calls[0].contains("/shim\"") && calls[1].contains("[\"pause\"]"), "{calls:#?}");
        let known = ok("shim inspect base");
        assert!(known.contains("10.89.0.") && known.contains("8080:80"), "in-process: {known}");
        for line in ["ps", "inspect base", "stop base", "rename base pod", "rm -f pod"] {
            let calls = executed(&format!("shim {line}"));
            assert_eq!(calls.len(), 1, "{line}: {calls:#?}");
        }
        ok("shim run -d --name base --net none");
        let calls = executed("shim join $in -- true");
        assert_eq!(calls.len(), 2, "{calls:#?}");
        assert!(calls[1].contains("/true\""), "{calls:#?}");
        ok("shim rm -f base");
        before.is_now("all of it");
    });
}

/// Open files of a process: what each descriptor leads to.
fn files(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").flatten();
    let link = |path: std::path::PathBuf| fs::read_link(path).ok();
    let links = entries.filter_map(|e| Some((e.file_name(), link(e.path())?)));
    let mut all: Vec<String> =
        links.map(|(n, to)| format!("{} {}", n.display(), to.display())).collect();
    all.sort();
    all
}

/// Before Linux 5.11 the kernel can't mark them all at once.
#[test]
fn what_the_caller_has_open_is_not_inherited() {
    world(Kind::User, || {
        let before = before(false);
        ok("exec 7</etc/passwd; shim run -d --name base --net none");
        ok("exec 7</etc/passwd; shim join $in -d --name app -- sleep 1000");
        for name in ["base", "app"] {
            assert_eq!(files(pid_of(name)).len(), 3, "{name}");
        }
        let seen = ok("exec 7</etc/passwd; shim join $in -- ls -l /proc/self/fd");
        assert!(seen.contains(" 2 -> ") && !seen.contains("passwd"), "{seen}");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn no_descriptor_and_no_lock_stays() {
    world(Kind::User, || {
        let before = before(true);
        let own: BTreeSet<i32> = processes().into_keys().collect();
        ok("exec 7</etc/passwd; shim run -d --name base -p 8080:80 7<&-");
        ok("shim join $in -d --name app -- sleep 1000");
        ok("shim join --net=container:base --ipc=container:base -d --name beside -- sleep 1000");
        ok("shim stop -t 1 base && shim start base && shim rm app");
        ok("shim join $in -d --name app -- sleep 1000");
        let log = |name: &str| super::common::dirs().run.join("pods").join(name).join("log");
        for name in ["base", "app", "beside"] {
            let log = log(name).display().to_string();
            let wanted = ["0 /dev/null".to_owned(), format!("1 {log}"), format!("2 {log}")];
            // pause sees paths from its own root.
            let found = files(pid_of(name));
            assert_eq!(found.len(), 3, "{name}: {found:?}");
            if name != "base" {
                assert_eq!(found, wanted, "{name}");
            }
        }
        for name in ["app", "beside"] {
            // What it is to become again.
            let shim = format!("3 {}", SHIM);
            let wanted = ["0 /dev/null", "1 /dev/null", "2 /dev/null", &shim];
            assert_eq!(files(monitor_of(name)), wanted, "the monitor of {name}");
        }
        // Whoever still runs holds no flock: others can work on all of it.
        let mine: Vec<i32> = processes().into_keys().filter(|pid| !own.contains(pid)).collect();
        let locks = fs::read_to_string("/proc/locks").expect("locks");
        for line in locks.lines() {
            let pid = line.split_whitespace().nth(4).and_then(|p| p.parse::<i32>().ok());
            assert!(!pid.is_some_and(|pid| mine.contains(&pid)), "{line}");
        }
        // Working directories and roots: nobody keeps the caller's busy.
        assert_eq!(
            fs::read_link(format!("/proc/{}/cwd", monitor_of("app"))).expect("cwd"),
            std::path::Path::new("/")
        );
        let mounts =
            fs::read_to_string(format!("/proc/{}/mounts", pid_of("base"))).expect("mounts");
        assert!(mounts.lines().count() <= 3, "nothing of the host is in pause's: {mounts}");
        assert_eq!(sh_out(&format!("tr -d '\\0' </proc/{}/environ", pid_of("base"))), "");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}
