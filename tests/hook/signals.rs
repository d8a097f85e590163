//! A hook that has to wait: it can be ended, by a signal or by the runtime's patience.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::bed::{Bundle, ENGINES, LEASES, assert_as_before, netsetup, until};
use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, sh, sh_any, sh_out, world};

/// Somebody who holds the lock of all that attachments share.
struct Holder(Child);

impl Holder {
    fn new() -> Self {
        sh("mkdir -m 700 /run/podkeel");
        let command = ["/run/podkeel", "sleep", "1000"];
        let child = Command::new("flock").args(command).stdin(Stdio::null()).spawn();
        let holder = Self(child.expect("flock"));
        assert!(until(|| !sh_any("flock -n /run/podkeel true").status.success()), "no lock");
        holder
    }

    fn release(mut self) {
        // flock and its sleep, which inherited the lock.
        let pid = self.0.id();
        sh(&format!("kill $(cat /proc/{pid}/task/{pid}/children) {pid}"));
        self.0.wait().expect("its end");
        assert!(until(|| sh_any("flock -n /run/podkeel true").status.success()), "still locked");
        sh_any("rmdir /run/podkeel");
    }
}

/// The process of the hook, once it waits.
fn waiting() -> String {
    let find = "pgrep -f '^netsetup hook'";
    assert!(until(|| sh_any(find).status.success()), "no hook runs");
    let pid = sh_out(find);
    // It has put its signals right before it reads its stdin, which it has by then.
    let sleeps = || {
        sh_any(&format!(
            "grep -q clock_nanosleep /proc/{pid}/syscall || \
                                     grep -q '^230 ' /proc/{pid}/syscall"
        ))
        .status
        .success()
    };
    assert!(
        until(sleeps),
        "the hook doesn't wait: {}",
        sh_out(&format!("cat /proc/{pid}/syscall"))
    );
    pid
}

#[test]
#[ignore = "needs root"]
fn a_waiting_hook_can_be_interrupted() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let before = dump(&[]);
            let holder = Holder::new();
            let bundle = Bundle::new(engine, "web");
            let (said, took) = std::thread::scope(|scope| {
                let runtime = scope.spawn(|| bundle.fails());
                let pid = waiting();
                let status = sh_out(&format!("cat /proc/{pid}/status"));
                let mask = |name: &str| {
                    let line = status.lines().find(|l| l.starts_with(name)).expect("a mask");
                    u64::from_str_radix(line[name.len()..].trim(), 16).expect("hex")
                };
                assert_eq!(mask("SigBlk:"), 0, "{engine}: {status}");
                assert_ne!(mask("SigCgt:") & (1 << 14), 0, "SIGTERM is caught: {status}");
                let start = Instant::now();
                sh(&format!("kill -TERM {pid}"));
                let said = runtime.join().expect("the runtime's end");
                (said, start.elapsed())
            });
            assert!(said.contains("signal 15"), "{said}");
            assert!(took < Duration::from_secs(5), "{took:?}");
            holder.release();
            assert_same_world(&before, &dump(&[]), LEASES);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_runtime_that_loses_patience_leaves_nothing_behind() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let before = dump(&[]);
            let holder = Holder::new();
            let bundle = Bundle::new(engine, "web").timeout(1);
            let start = Instant::now();
            bundle.fails();
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
            assert!(until(|| !sh_any("pgrep -f '^netsetup hook'").status.success()));
            holder.release();
            netsetup("gc");
            assert_as_before(&before, &dump(&[]), engine);
            // The next one has all it needs.
            let bundle = Bundle::new(engine, "web");
            bundle.start();
            bundle.stop();
            assert_as_before(&before, &dump(&[]), engine);
        });
    }
}
