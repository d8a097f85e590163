//! How links and processes of ours go: what `ip monitor` announces, and who is still there when
//! a caller has heard the end of what was said.

use std::fs::{File, metadata, read_dir, read_to_string};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{scratch, sh};

/// Runs a job, and waits until so many veths of ours are gone: the lines of `ip monitor`.
pub fn gone_links(count: usize, job: impl FnOnce()) -> Vec<String> {
    let log = scratch().join("announced");
    let mut monitor = Command::new("ip")
        .args(["-o", "monitor", "link"])
        .stdout(File::create(&log).expect("a file"))
        .spawn()
        .expect("ip of iproute2");
    let announced = || read_to_string(&log).expect("what was announced");
    // It listens once it has heard of something.
    sh("ip link add heard type bridge");
    wait_for("ip monitor", || {
        sh("ip link set heard down && ip link set heard up");
        announced().contains("heard")
    });
    job();
    let gone = || announced().lines().filter(|l| is_gone(l)).map(str::to_owned).collect();
    wait_for("links to be gone", || Vec::<String>::len(&gone()) == count);
    monitor.kill().and_then(|()| monitor.wait()).expect("ip monitor ends");
    sh("ip link del heard");
    gone()
}

/// A line of `ip monitor` about a veth of ours: not what it was as a bridge's port, which
/// has no group.
fn is_gone(line: &str) -> bool {
    line.starts_with("Deleted") && line.contains(": pk") && line.contains(" group ")
}

/// The group that a line of `ip monitor` tells.
pub fn group_of(line: &str) -> Option<String> {
    line.split_once(" group ")?.1.split_whitespace().next().map(str::to_owned)
}

/// Whether a process of this program is there, by whatever name it was called.
pub fn runs(program: &str) -> bool {
    let own = metadata(program).expect("the program");
    let processes = read_dir("/proc").expect("/proc").flatten();
    let exes = processes.filter_map(|process| metadata(process.path().join("exe")).ok());
    exes.into_iter().any(|exe| (exe.dev(), exe.ino()) == (own.dev(), own.ino()))
}

#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
