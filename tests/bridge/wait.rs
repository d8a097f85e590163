//! Who waits for what the kernel does after a link is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bed::{NETSETUP, add, netsetup};
use super::common::{Kind, ns_add, sh_out, world};

/// Processes of netsetup, by their directory in /proc.
fn waiting() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let named =
        |path: &Path| fs::read_to_string(path.join("comm")).is_ok_and(|n| n == "netsetup\n");
    entries.map(|entry| entry.path()).filter(|path| named(path)).collect()
}

/// The process that waits has nothing of its caller's open, and goes by itself.
#[test]
fn a_deleted_link_is_waited_for_by_nobody_who_asks() {
    world(Kind::User, || {
        let mut caught = 0;
        // How long the kernel lets it wait is the kernel's: until a few were seen.
        for round in 0..60 {
            if caught >= 3 {
                break;
            }
            let name = format!("p{round}");
            ns_add(&name);
            add(&format!("bridge --netns /run/netns/{name}"));
            // Returns when the pipes are closed: whoever lives on has none of them.
            netsetup(&format!("del bridge --netns /run/netns/{name}"));
            for process in waiting() {
                // One that ends just now has neither.
                let Ok(cwd) = fs::read_link(process.join("cwd")) else { continue };
                let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
                let files = files.filter_map(|entry| fs::read_link(entry.path()).ok());
                let files: Vec<_> = files.map(|to| to.display().to_string()).collect();
                // Who tells the neighbours has two namespaces and a socket.
                let is_own = |to: &String| to.starts_with("socket:") || to.starts_with("net:");
                assert!(
                    cwd == Path::new("/") && files.len() <= 3 && files.iter().all(is_own),
                    "{files:?}"
                );
                caught += 1;
            }
            assert!(!sh_out("ip -br link").contains("pk"), "it is gone");
        }
        assert!(caught > 0, "the kernel made nobody wait: then this is needless");
        let end = Instant::now() + Duration::from_secs(10);
        while !waiting().is_empty() {
            assert!(Instant::now() < end, "{:?} stay: {}", waiting(), sh_out("ps -ef"));
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

/// Whatever becomes of those who wait: what was asked for is done when del says so, and
/// nothing is left behind.
#[test]
fn who_waits_may_be_killed_at_any_time() {
    world(Kind::User, || {
        let before = sh_out("nft list ruleset; ip -br link");
        let mut killed = 0;
        for round in 0..30 {
            let name = format!("k{round}");
            ns_add(&name);
            add(&format!("bridge --netns /run/netns/{name} -p 8080:80"));
            let words = ["del", "bridge", "--netns"];
            let mut del = Command::new(NETSETUP)
                .args(words)
                .arg(format!("/run/netns/{name}"))
                .spawn()
                .expect("netsetup");
            let own = PathBuf::from(format!("/proc/{}", del.id()));
            // At another moment each time; once it has ended, whoever is left.
            let end = loop {
                let end = del.try_wait().expect("wait for netsetup");
                for process in waiting().iter().filter(|process| **process != own) {
                    let pid = process.file_name().and_then(|pid| pid.to_str()?.parse().ok());
                    let pid = Pid::from_raw(pid.expect("a number"));
                    killed += usize::from(kill(pid, Signal::SIGKILL).is_ok());
                }
                match end {
                    Some(end) => break end,
                    None => std::thread::sleep(Duration::from_micros(37 * round)),
                }
            };
            assert!(end.success(), "{end}");
            assert_eq!(sh_out("nft list ruleset; ip -br link"), before, "round {round}");
        }
        assert!(killed > 30, "{killed} were killed: it wasn't looked for well enough");
    });
}
