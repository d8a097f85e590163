//! Names: given, listed, looked up, taken away; and what is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Child, Command};

use serde_json::Value;

use super::common::{Kind, dirs, output, sh, sh_fails, sh_out, told, world, worlds};
use super::{
    DENIED, INPUT, MISSING, NETSETUP, TAKEN, files, mounted, mounts, ns, ns_any, ns_fails,
};

/// Both kinds of world, where root is there.
#[test]
fn each_sees_the_others() {
    world(Kind::User, both_ways);
}

#[test]
#[ignore = "needs root"]
fn each_sees_the_others_as_root() {
    world(Kind::Root, both_ways);
}

fn both_ways() {
    ns(&["add", "ours"]);
    sh("ip netns add its");
    assert_eq!(sh_out("ip netns list | cut -d' ' -f1 | sort"), "its\nours");
    assert_eq!(sh_out("ip netns exec ours ip -br link | cut -d' ' -f1"), "lo");
    let ours = Sleeper::new(Command::new(NETSETUP).args(["ns", "exec", "its"]));
    let its = Sleeper::new(Command::new("ip").args(["netns", "exec", "ours"]));
    for (name, sleeper) in [("its", &ours), ("ours", &its)] {
        let pid = sleeper.pid();
        assert_eq!(sh_out(&format!("ip netns identify {pid}")), name);
        assert_eq!(ns(&["identify", &pid]), format!("{name}\n"));
        assert_eq!(sh_out(&format!("ip netns pids {name}")), pid);
        assert_eq!(ns(&["pids", name]), format!("{pid}\n"));
    }
    assert_eq!(ns(&["identify"]), "", "the host's has no name");
    let table = ns(&["list"]);
    let columns = |name: &str| {
        let line = table.lines().find(|l| l.starts_with(name)).expect("a line of the table");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(columns("ours")[2..], ["1", "podkeel", "ns"]);
    assert_eq!(columns("its")[2..], ["1", "-"]);
    drop((ours, its));
    assert_eq!(ns(&["pids", "ours"]), "");
    sh("ip netns del ours");
    ns(&["delete", "its"]);
    assert_eq!(files(), [""; 0]);
    assert_eq!(sh_out("ip netns list"), "");
    assert_eq!(mounted(), 0);
}

#[test]
fn the_directory_is_made_as_ip_makes_it() {
    let by = |by: &str| {
        fs::remove_dir(dirs().netns).expect("no directory of names");
        match by {
            "ip" => drop(sh("ip netns add web")),
            _ => drop(ns(&["add", "web"])),
        }
        let mode = sh_out("stat -c %A /run/netns");
        assert_eq!(mode, "drwxr-xr-x", "by {by}");
        let point = |name: &str| (format!("/run/netns{name}"), "shared".to_owned());
        assert_eq!(mounts(), [point(""), point("/web")], "by {by}");
        // A mount namespace that was made before doesn't keep the name.
        let other = Sleeper::new(Command::new("unshare").args(["-m", "--propagation", "slave"]));
        let seen = |name: &str| {
            let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", other.pid()));
            mounts.expect("mountinfo").contains(&format!(" /run/netns/{name} "))
        };
        assert!(seen("web"), "by {by}");
        match by {
            "ip" => drop((sh("ip netns add two"), sh("ip netns del web"))),
            _ => drop((ns(&["add", "two"]), ns(&["delete", "web"]))),
        }
        assert!(seen("two") && !seen("web"), "by {by}");
    };
    worlds(Kind::User, &["ip", "netsetup"], by);
}

#[test]
fn answers_for_programs() {
    world(Kind::User, || {
        ns(&["add", "web"]);
        let sleeper = Sleeper::new(Command::new(NETSETUP).args(["ns", "exec", "web"]));
        let pid: i64 = sleeper.pid().parse().expect("a number");
        let json = |words: &[&str]| -> Value {
            serde_json::from_str(&ns(&[words, &["--format", "json"]].concat())).expect("JSON")
        };
        let inode: u64 = sh_out("stat -L -c %i /run/netns/web").parse().expect("a number");
        let list = json(&["list"]);
        assert_eq!(list[0]["name"], "web");
        assert_eq!(list[0]["namespace"]["kind"], "net");
        assert_eq!(list[0]["namespace"]["inode"], inode);
        assert!(list[0]["namespace"]["cookie"].as_u64().is_some_and(|cookie| cookie > 0));
        assert_eq!(list[0]["owner"], "podkeel ns");
        assert_eq!(list[0]["processes"], 1);
        assert_eq!(json(&["pids", "web"]), serde_json::json!([{"pid": pid, "command": "sleep"}]));
        let identity = json(&["identify", &sleeper.pid()]);
        assert_eq!(identity["names"], serde_json::json!(["web"]));
        assert_eq!(identity["namespace"], list[0]["namespace"]);
    });
}

#[test]
fn a_containers_namespace_gets_a_name() {
    world(Kind::User, || {
        let container = Sleeper::new(Command::new("unshare").arg("--net"));
        ns(&["attach", "web", "--pid", &container.pid()]);
        assert_eq!(sh_out(&format!("ip netns identify {}", container.pid())), "web");
        ns(&["attach", "www", "--netns", &format!("/proc/{}/ns/net", container.pid())]);
        assert_eq!(ns(&["identify", &container.pid()]), "web\nwww\n");
        assert_eq!(ns(&["pids", "www"]), format!("{}\n", container.pid()));
        let taken = ns_fails(&["attach", "web", "--pid", &container.pid()], TAKEN);
        assert!(taken.contains("/run/netns/web: the name is taken: namespace net:["), "{taken}");
        drop(container);
        sh("ip netns exec web ip link set lo up");
        assert!(sh_out("ip netns exec www ip -br addr").contains("127.0.0.1"));
        sh("ip netns del web");
        ns(&["delete", "www"]);
        assert_eq!((files(), mounted()), (vec![], 0));
    });
}

#[test]
fn wrong_words_change_nothing() {
    world(Kind::User, || {
        fs::remove_dir(dirs().netns).expect("no directory of names");
        let long = "x".repeat(256);
        for name in ["", ".", "..", "...", "a/b", "/", "../x", ".hidden", &long] {
            for words in [&["add", name][..], &["attach", name, "--pid", "1"]] {
                let why = ns_fails(words, INPUT);
                assert!(why.contains("as a namespace's name: it ") || why.contains("'/'"), "{why}");
            }
        }
        for name in ["", ".", "..", "a/b"] {
            for words in [&["delete", name][..], &["pids", name], &["exec", name, "true"]] {
                ns_fails(words, INPUT);
            }
        }
        // Not the namespace that everybody else is in.
        let host = ns_fails(&["attach", "web", "--pid", "1"], INPUT);
        assert!(host.contains("the host's own network namespace"), "{host}");
        ns_fails(&["attach", "web", "--netns", "/proc/self/ns/net"], INPUT);
        let uts = ns_fails(&["attach", "web", "--netns", "/proc/self/ns/uts"], INPUT);
        assert!(uts.contains("another kind"), "{uts}");
        ns_fails(&["attach", "web", "--netns", "/etc/passwd"], INPUT);
        ns_fails(&["attach", "web", "--netns", "/nonexistent"], MISSING);
        for which in [&["--pid", "0"][..], &["--pid", "x"], &[], &["--pid", "1", "--netns", "/x"]] {
            ns_fails(&[&["attach", "web"][..], which].concat(), INPUT);
        }
        let gone = ns_fails(&["attach", "web", "--pid", "2000000000"], MISSING);
        assert!(gone.contains("no such process"), "{gone}");
        ns_fails(&["identify", "2000000000"], MISSING);
        for words in [&["delete", "web"][..], &["pids", "web"], &["exec", "web", "true"]] {
            let missing = ns_fails(words, MISSING);
            assert!(missing.contains("web in /run/netns: no such name"), "{missing}");
        }
        assert_eq!(ns(&["list", "--format", "json"]), "[]\n");
        assert!(!dirs().netns.exists(), "nothing was made");
    });
}

#[test]
fn twice() {
    world(Kind::User, || {
        ns(&["add", "web"]);
        let inode = sh_out("stat -L -c %i /run/netns/web");
        ns_fails(&["add", "web"], TAKEN);
        sh_fails("ip netns add web");
        assert_eq!(sh_out("stat -L -c %i /run/netns/web"), inode, "the first one stays");
        assert_eq!(mounted(), 1);
        ns(&["delete", "web"]);
        ns_fails(&["delete", "web"], MISSING);
        sh("ip netns add web");
        ns_fails(&["add", "web"], TAKEN);
    });
}

#[test]
fn names_as_ip_takes_them() {
    world(Kind::User, || {
        for name in ["a b", "ähm", "a..b", "x:y@z", &"x".repeat(255)] {
            ns(&["add", name]);
            sh(&format!("ip netns exec '{name}' true"));
            assert_eq!(files(), [name]);
            sh(&format!("ip netns del '{name}'"));
        }
        // Which ip makes, and we don't.
        sh("ip netns add ...");
        ns(&["exec", "...", "true"]);
        ns(&["delete", "..."]);
        ns(&["add", "--", "-x"]);
        ns(&["delete", "--", "-x"]);
        sh("ip netns add 'a\x1b[31mb'");
        assert!(ns(&["list"]).contains("a\\u{1b}[31mb "), "no escape reaches the terminal");
        sh("ip netns del 'a\x1b[31mb'");
        assert_eq!(files(), [""; 0]);
    });
}

#[test]
fn what_is_no_namespace() {
    world(Kind::User, || {
        ns(&["add", "web"]);
        let dir = dirs().netns;
        let at = |name: &str| dir.join(name);
        fs::write(at("empty"), "").unwrap();
        fs::write(at("foreign"), "mine\n").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink(at("web"), at("link")).unwrap();
        symlink("/nonexistent", at("broken")).unwrap();
        sh("mkfifo /run/netns/fifo; touch /run/netns/uts");
        sh("mount --bind /proc/self/ns/uts /run/netns/uts");
        let list = ns(&["list"]);
        for (name, what) in [
            ("empty", "none: an empty file"),
            ("foreign", "none: a file that is no namespace"),
            ("folder", "none: a directory"),
            ("broken", "none: a symbolic link to /nonexistent"),
            ("fifo", "none: a special file"),
            ("link", "net:["),
            ("uts", "uts:["),
        ] {
            let line = list.lines().find(|line| line.starts_with(name)).expect(name);
            assert!(
                line.split_once("  ").is_some_and(|(_, l)| l.trim().starts_with(what)),
                "{line}"
            );
            ns_fails(&["add", name], TAKEN);
        }
        for name in ["foreign", "folder", "fifo", "uts"] {
            let left = ns_fails(&["delete", name], TAKEN);
            assert!(left.contains("it was left as it is"), "{left}");
            assert!(at(name).exists());
            let code = if name == "uts" { INPUT } else { MISSING };
            ns_fails(&["exec", name, "true"], code);
        }
        // What `ip netns` leaves when it is killed, and what people link by hand.
        ns_fails(&["exec", "empty", "true"], MISSING);
        ns(&["exec", "link", "true"]);
        for name in ["empty", "link", "broken"] {
            ns(&["delete", name]);
        }
        ns(&["exec", "web", "true"]);
        assert_eq!(files(), ["fifo", "folder", "foreign", "uts", "web"]);
    });
}

#[test]
#[ignore = "needs root"]
fn without_permission() {
    world(Kind::Root, || {
        ns(&["add", "web"]);
        let nobody = |words: &[&str]| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", NETSETUP, "ns"]);
            output(command.args(words))
        };
        for words in [&["add", "two"][..], &["delete", "web"], &["exec", "web", "true"]] {
            let output = nobody(words);
            assert_eq!(output.status.code(), Some(DENIED), "{}", told("nobody", &output));
        }
        let output = nobody(&["list"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("web   net:["), "{}", told("nobody: list", &output));
        let warned = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(warned.contains("processes that may not be looked at"), "{warned}");
        assert_eq!((files(), mounted()), (vec!["web".to_owned()], 1));
        assert!(ns_any(&["exec", "web", "true"]).status.success());
    });
}

/// A program that sleeps until it is dropped.
struct Sleeper(Child);

impl Sleeper {
    /// Starts `sleep` by this command, and waits until it is one.
    fn new(command: &mut Command) -> Sleeper {
        let child = command.args(["sleep", "1000"]).spawn().expect("sleep");
        let comm = format!("/proc/{}/comm", child.id());
        while fs::read_to_string(&comm).expect("it is there") != "sleep\n" {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Sleeper(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}
