//! The plain join, which is done before the C library starts: that it is, and that it is
//! what the whole of shim does.

use std::process::Output;

use super::bed::{any, before, fails, ok};
use super::common::{Kind, dirs, world};

/// An option that the plain join doesn't know, and that changes nothing.
const WHOLE: &str = "--mnt private";

/// Whether a line's own process had a C library started in it: it asks for the break first.
fn starts_libc(line: &str) -> bool {
    // The first process of the trace is shim, and the others come from it.
    ok(&format!("strace -o /run/scratch/trace -e trace=brk,execve {line}; cat /run/scratch/trace"))
        .lines()
        .filter(|line| line.starts_with("brk("))
        .count()
        > 0
}

#[test]
fn it_needs_no_c_library() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        ok("shim run -d --name other --net none");
        for plain in [
            "$in --",
            "$in",
            "--net=container:base",
            "--network container:base --pid container:base",
            "--ipc=container:other",
        ] {
            assert!(!starts_libc(&format!("shim join {plain} true")), "{plain}");
        }
        for more in [
            "$in --mnt host",
            "$in --name app --rm",
            "$in -e A=B",
            "--net=container:base --ipc=container:other",
            "--net=host",
        ] {
            assert!(starts_libc(&format!("shim join {more} -- true")), "{more}");
        }
        ok("shim rm -f base other");
        before.is_now("rm -f");
    });
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_program_sees_what_the_whole_of_shim_shows_it() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        ok("shim join $in -- sh -c 'echo shared >/dev/shm/file'");
        let programs = [
            "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/pid /proc/self/ns/uts",
            "sh -c 'cut -d\" \" -f4- /proc/self/mountinfo | sed \"s/master:[0-9]*//\"'",
            "cat /dev/shm/file",
            "ps -e -o comm,args",
            "readlink /proc/self/fd/0 /proc/self/cwd",
            "grep -E '^(SigBlk|SigIgn|Cap|NoNew|Seccomp|Uid|Gid|Groups)' /proc/self/status",
            "sh -c 'ls /proc/self/fd | wc -l'",
            "sh -c 'ulimit -a; umask; env | grep -v ^_= | sort'",
            "sh -c 'kill -RTMIN+3 $$'",
            "sh -c 'exit 99'",
            "sh -c 'cd /; exec ls -d .'",
            "nosuch",
            "/etc/passwd",
            "/etc/passwd/x",
            "''",
            "sh -c 'test -e /proc/$PPID; echo $PPID'",
        ];
        for program in programs {
            let line = |more| format!("exec 7</etc/passwd; shim join $in {more} -- {program}");
            let (plain, whole) = (any(&line("")), any(&line(WHOLE)));
            assert_eq!(told(plain), told(whole), "{program}");
        }
        for path in ["/nowhere", "/nowhere:/bin:/usr/bin", ":/bin", "/etc/passwd:/usr/bin"] {
            let line = |more| format!("S=$(command -v shim); PATH={path} $S join $in {more} -- id");
            assert_eq!(told(any(&line(""))), told(any(&line(WHOLE))), "{path}");
        }
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

/// What isn't as shim writes it, is read by the whole of shim; so is what is wrong.
#[test]
fn what_is_odd_is_left_to_the_whole_of_shim() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none --uts host");
        assert_eq!(ok("shim join --uts=container:base -- echo yes"), "yes", "the caller's own");
        let path = dirs().run.join("pods/base/container.json");
        let text = std::fs::read_to_string(&path).expect("a record");
        let spaced = text.replacen(':', ": ", 1);
        std::fs::write(&path, &spaced).expect("write");
        assert_eq!(ok("shim join --net=container:base -- echo yes"), "yes");
        std::fs::write(&path, text.replacen("ready", "removing", 1)).expect("write");
        fails("shim join --net=container:base -- true", 125, "its state is");
        std::fs::write(&path, &text[..text.len() / 2]).expect("write");
        fails("shim join --net=container:base -- true", 125, "read the record of base");
        std::fs::write(&path, text).expect("write");
        for bad in
            ["container:", "container:../base", "container:base/", "container:.", "base:base"]
        {
            let output = any(&format!("shim join --net={bad} -- true"));
            assert!(matches!(output.status.code(), Some(2 | 125)), "{bad}: {output:?}");
        }
        fails("shim join --net=container:base --net=container:base -- true", 2, "multiple times");
        fails("shim join --net=container:base --", 2, "CMD");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}
