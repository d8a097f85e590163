//! What a program finds that `netsetup ns exec` has become.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, output, scratch, sh, sh_out, told, world};
use super::{NETSETUP, ns, ns_any};

#[test]
fn network_devices_and_files_are_the_namespaces_own() {
    world(Kind::User, || {
        // As most machines have it: what one mounts, all would see.
        sh("mount --make-rshared /");
        ns(&["add", "web"]);
        ns(&["exec", "web", "ip", "link", "add", "in0", "type", "veth", "peer", "in1"]);
        sh("mkdir -p /etc/netns/web && echo '192.0.2.1 only-here' >/etc/netns/web/hosts");
        sh("echo x >/etc/netns/web/is-not-in-etc");
        let before = (dump(&[]), sh_out("sort /proc/self/mountinfo"), sh_out("cat /etc/hosts"));
        let output = ns_any(&["exec", "web", "sh", "-c", "ls /sys/class/net; cat /etc/hosts"]);
        let ip = sh_out("ip netns exec web sh -c 'ls /sys/class/net; cat /etc/hosts' 2>/dev/null");
        assert!(output.status.success(), "{}", told("exec", &output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), ip, "as ip does it");
        assert_eq!(ip, "in0\nin1\nlo\n192.0.2.1 only-here");
        let warned = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(warned.contains("warning: cannot bind /etc/netns/web/is-not-in-etc"), "{warned}");
        assert_eq!(warned.lines().count(), 1, "{warned}");
        // Only the program sees all that.
        let after = (dump(&[]), sh_out("sort /proc/self/mountinfo"), sh_out("cat /etc/hosts"));
        assert_same_world(&before.0, &after.0, &[]);
        assert_eq!((before.1, before.2), (after.1, after.2));
    });
}

#[test]
#[ignore = "needs root"]
fn control_groups_stay() {
    world(Kind::Root, || {
        ns(&["add", "web"]);
        let list = "ls /sys/fs/cgroup";
        assert_eq!(ns(&["exec", "web", "sh", "-c", list]).trim_end(), sh_out(list));
        assert!(!sh_out(list).is_empty(), "this machine has control groups");
    });
}

#[test]
fn exit_codes() {
    world(Kind::User, || {
        ns(&["add", "web"]);
        let code = |words: &[&str]| ns_any(&[&["exec", "web"], words].concat()).status;
        assert_eq!(code(&["true"]).code(), Some(0));
        assert_eq!(code(&["--", "sh", "-c", "exit 77"]).code(), Some(77));
        assert_eq!(code(&["sh", "-c", "kill -9 $$"]).signal(), Some(9));
        for (words, expected, text) in [
            (&["/nonexistent"][..], 127, "cannot run /nonexistent: No such file or directory"),
            (&["no-such-program"], 127, "cannot run no-such-program: No such file"),
            (&["/etc/passwd"], 126, "cannot run /etc/passwd: Permission denied"),
            (&["/etc"], 126, "cannot run /etc: Permission denied"),
        ] {
            let output = ns_any(&[&["exec", "web"], words].concat());
            assert_eq!(output.status.code(), Some(expected), "{}", told("exec", &output));
            assert!(String::from_utf8_lossy(&output.stderr).contains(text), "{output:?}");
        }
        // The words behind the program's name are its own.
        assert_eq!(ns(&["exec", "web", "echo", "-n", "--", "--pid", "-h"]), "-- --pid -h");
        assert_eq!(ns_any(&["exec", "web"]).status.code(), Some(super::INPUT));
    });
}

#[test]
fn signals_files_and_surroundings_are_the_callers() {
    world(Kind::User, || {
        ns(&["add", "web"]);
        // SIGINT ignored, as in the background of a shell; SIGUSR1 blocked.
        let run = |before: &[&str], program: &[&str]| {
            let mut command = Command::new("sh");
            command.args(["-c", "trap '' INT; umask 027; cd /proc; exec \"$@\"", "sh"]);
            command.args(["env", "--block-signal=USR1"]).args(before).args(program);
            let output = output(command.env("A", "b c"));
            assert!(output.status.success(), "{}", told("exec", &output));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let exec = [NETSETUP, "ns", "exec", "web"];
        let show = "pwd; umask; env | sort; ls /proc/self/fd | wc -l; ps -o pgid=,sid= -p $$";
        for program in [&["grep", "-E", "^(Sig[BIC]|Shd)", "self/status"][..], &["sh", "-c", show]]
        {
            let (plain, within) = (run(&[], program), run(&exec, program));
            assert_eq!(plain, within);
            let Some(blocked) = plain.lines().find(|l| l.starts_with("SigBlk")) else { continue };
            assert!(blocked.ends_with("0200"), "SIGUSR1 is blocked: {blocked}");
            let ignored = plain.lines().find(|l| l.starts_with("SigIgn")).expect("SigIgn");
            assert!(ignored.ends_with("0002"), "SIGINT is ignored, SIGPIPE isn't: {ignored}");
        }
    });
}

#[test]
fn stdin_and_stdout_go_through() {
    world(Kind::User, || {
        ns(&["add", "web"]);
        let file = scratch().join("big");
        fs::write(&file, vec![b'x'; 3 << 20]).expect("a big file");
        let input = fs::File::open(&file).expect("the big file");
        let mut command = Command::new(NETSETUP);
        command.args(["ns", "exec", "web", "cat"]).stdin(Stdio::from(input));
        let output = command.stderr(Stdio::inherit()).output().expect("cat");
        assert_eq!(output.stdout.len(), 3 << 20);
        // Whoever reads no further ends the writer, by SIGPIPE.
        let yes = format!("{{ {NETSETUP} ns exec web yes; echo $? >{}/code; }} | head -n 1", dir());
        assert_eq!(sh_out(&yes), "y");
        assert_eq!(sh_out(&format!("cat {}/code", dir())), "141");
    });
}

fn dir() -> std::path::Display<'static> {
    Path::new(scratch()).display()
}
