//! What a joined program gets from shim, and what shim hands back.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use super::bed::{any, before, end, fails, ok, spawn, state};
use super::common::{Kind, scratch, sh, sh_out, world};

#[test]
fn every_exit_status() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        for code in [0, 1, 2, 42, 125, 126, 127, 128, 129, 137, 143, 254, 255] {
            let output = any(&format!("shim join $in -- sh -c 'exit {code}'"));
            assert_eq!(output.status.code(), Some(code));
            assert!(output.stderr.is_empty(), "its own code needs no words: {output:?}");
        }
        // By each signal that ends a program; those two of the C library's own aside.
        for signal in (1..=64).filter(|s| ![17, 18, 19, 20, 21, 22, 23, 28, 32, 33].contains(s)) {
            let output = any(&format!("shim join $in -- sh -c 'kill -{signal} $$; sleep 1'"));
            assert_eq!(output.status.code(), Some(128 + signal), "{output:?}");
        }
        fails("shim join $in -- nosuchprogram", 127, "cannot execute nosuchprogram: No such file");
        fails("shim join $in -- /no/such/file", 127, "cannot execute /no/such/file: No such file");
        fails("shim join $in -- /etc/passwd/x", 127, "Not a directory");
        fails("shim join $in -- /etc/passwd", 126, "Permission denied");
        fails("shim join $in -- /", 126, "Permission denied");
        sh("echo text >/run/scratch/text && chmod 755 /run/scratch/text");
        fails("shim join $in -- /run/scratch/text", 126, "Exec format error");
        fails("shim join $in -- ''", 127, "No such file");
        fails("shim join --net=container:nosuch -- true", 125, "there is none of that name");
        fails("shim join $in --nosuch -- true", 2, "--nosuch");
        fails("shim join $in", 2, "CMD");
        // The same on record.
        for (line, code, known) in [
            ("sh -c 'exit 42'", 42, "stopped 42"),
            ("sh -c 'kill -9 $$'", 137, "stopped 137"),
            ("true", 0, "stopped 0"),
        ] {
            assert_eq!(
                any(&format!("shim join $in --name app -- {line}")).status.code(),
                Some(code)
            );
            assert_eq!(state("app"), known);
            ok("shim rm app");
        }
        fails("shim join $in --name app -- nosuchprogram", 127, "nosuchprogram");
        fails("shim join $in -d --name app -- nosuchprogram", 127, "nosuchprogram");
        fails("shim join $in -d --name app -- /etc/passwd", 126, "Permission denied");
        assert_eq!(ok("shim ps -q"), "base", "what couldn't start leaves no record");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn environment_directory_and_user() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let env = "env -i PATH=\"$PATH\" $(env | grep ^PODKEEL_.*_DIR=) A=1 B=two";
        for (words, line) in [
            ("", "A=1 B=two"),
            ("-e C=3 --env=A=x=y", "A=x=y B=two C=3"),
            ("-e B -e NOSUCH -e EMPTY=", "A=1 B=two EMPTY="),
        ] {
            let seen = ok(&format!(
                "{env} $(command -v shim) join $in {words} -- env | grep -v ^P | sort"
            ));
            assert_eq!(seen.replace('\n', " "), line, "{words}");
        }
        fails("shim join $in -e =x -- true", 125, "it has no name");
        assert_eq!(ok("cd /etc && shim join $in -- pwd"), "/etc");
        assert_eq!(ok("cd /etc && shim join $in -w /usr/bin -- pwd"), "/usr/bin");
        assert_eq!(ok("cd / && shim join $in --workdir usr -- pwd"), "/usr");
        fails("shim join $in -w /no/such -- true", 125, "change to working directory /no/such");
        fails("shim join $in -w /etc/passwd -- true", 125, "Not a directory");
        fails("shim join $in -u nosuchuser -- true", 125, "isn't in /etc/passwd");
        fails("shim join $in -u root:nosuch -- true", 125, "isn't in /etc/group");
        // A PATH of its own decides what is found; a relative word is no matter of it.
        fails("shim join $in -e PATH=/nowhere -- true", 127, "true");
        sh("mkdir -p /run/scratch/bin && printf '#!/bin/sh\\necho own' >/run/scratch/bin/true && \
            chmod 755 /run/scratch/bin/true");
        assert_eq!(ok("shim join $in -e PATH=/run/scratch/bin:/bin -- true"), "own");
        assert_eq!(ok("cd /run/scratch && shim join $in -- bin/true"), "own");
        let id = ok("shim join $in -u 0:0 -- id -u");
        assert_eq!(id, "0");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
#[ignore = "needs root"]
fn another_user() {
    world(Kind::Root, || {
        ok("shim run -d --name base --net none");
        let id = ok("shim join $in -u daemon -- sh -c 'id -un; id -gn; echo $HOME'");
        assert_eq!(id, format!("daemon\ndaemon\n{}", sh_out("getent passwd daemon | cut -d: -f6")));
        assert_eq!(
            ok("shim join $in -u 4711:4712 -- sh -c 'id -u; id -g; id -G'"),
            "4711\n4712\n4712"
        );
        assert_eq!(ok("shim join $in -u 4711 -- id -g"), "0");
        assert_eq!(ok("shim join $in -u daemon:tty -- id -gn"), "tty");
        // Nothing of root's is left to it.
        let caps =
            ok("shim join $in -u daemon -- grep -E 'Cap(Prm|Eff|Inh|Amb)' /proc/self/status");
        assert!(caps.lines().all(|l| l.ends_with("0000000000000000")), "{caps}");
        fails("shim join $in -u daemon -- cat /etc/shadow", 1, "Permission denied");
        fails("shim join $in -u daemon -w /root -- true", 125, "change to working directory /root");
        ok("shim rm -f base");
    });
}

#[test]
fn standard_streams() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        assert_eq!(ok("echo some input | shim join $in -- cat"), "some input");
        assert_eq!(ok("shim join $in -- sh -c 'echo out; echo err >&2' 2>/dev/null"), "out");
        assert_eq!(ok("shim join $in -- sh -c 'echo out; echo err >&2' 2>&1 >/dev/null"), "err");
        // A reader that leaves ends the writer by SIGPIPE, as without shim.
        assert_eq!(ok("(shim join $in -- sh -c 'yes; kill -l $?' || echo $?) | head -1"), "y");
        let code = ok("(shim join $in -- yes; echo $? >/run/scratch/code) | head -1 >/dev/null; \
                       cat /run/scratch/code");
        assert_eq!(code, "141");
        // Closed: what the program does there is its own affair, and its status comes back.
        for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            let output = any(&format!("shim join $in -- sh -c 'exit 7' {closed}"));
            assert_eq!(output.status.code(), Some(7), "{closed}");
            let output = any(&format!("shim join $in -- ls -l /proc/self/fd {closed}"));
            assert!(!String::from_utf8_lossy(&output.stdout).contains("/run/"), "{output:?}");
            // Nothing of shim's comes to lie on a number that was closed.
            ok(&format!("shim join $in -d --name app -- sh -c 'exit 7' {closed}"));
            assert_eq!(ok("shim wait app"), "7");
            ok(&format!("shim rm app {closed}"));
        }
        // Large, both ways.
        let count = 20_000_000;
        let words = format!("head -c {count} /dev/zero | shim join $in -- cat | wc -c");
        assert_eq!(ok(&words), count.to_string());
        let mut child = {
            let mut command = std::process::Command::new("sh");
            let path = scratch().join("fifo");
            sh(&format!("mkfifo {}", path.display()));
            let line = format!("cat >{}", path.display());
            command.args(["-c", &line]).stdin(Stdio::piped()).spawn().expect("sh")
        };
        let mut reader = spawn("sh -c 'shim join $in -- cat </run/scratch/fifo'");
        child.stdin.take().expect("piped").write_all(b"late").expect("write");
        assert!(end(&mut child).success() && end(&mut reader).success());
        let mut out = String::new();
        std::io::Read::read_to_string(&mut reader.stdout.take().expect("piped"), &mut out)
            .expect("read");
        assert_eq!(out, "late");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn the_mask_and_ignored_signals_are_the_callers() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let masks = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status";
        // grep itself catches nothing, so it is what a program sees at its start.
        let own = sh_out(masks);
        assert_eq!(ok(&format!("shim join $in -- {masks}")), own);
        ok(&format!("shim join $in -d --name app -- {masks}"));
        ok("shim wait app");
        assert_eq!(ok("shim logs app"), own);
        let hup = ok(&format!("trap '' HUP USR1 INT TERM; shim join $in -- {masks}"));
        assert_eq!(hup, sh_out(&format!("trap '' HUP USR1 INT TERM; {masks}")));
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn mounts_are_the_programs_own() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        ok("shim join $in -- mount -t tmpfs inner /mnt");
        assert!(!sh_out("cat /proc/self/mounts").contains("inner"));
        // --mnt host: the caller's mounts, with /proc of the caller's pids.
        let pid = std::fs::read_link("/proc/self/ns/mnt").expect("own");
        let own = ok("shim join $in --mnt host -- readlink /proc/1/ns/mnt");
        let inside = ok("shim join $in -- sh -c 'readlink /proc/self/ns/mnt'");
        assert_eq!(own, sh_out("readlink /proc/1/ns/mnt"));
        assert_ne!(inside, pid.to_string_lossy());
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn ended_by_a_signal_a_core_is_no_other_status() {
    world(Kind::User, || {
        ok("shim run -d --name base --net none");
        let mut child = spawn("shim join $in -- sh -c 'kill -SEGV $$'");
        let status = end(&mut child);
        // As shells have it, and no death of shim itself.
        assert_eq!((status.code(), status.signal()), (Some(139), None));
        ok("shim rm -f base");
    });
}
