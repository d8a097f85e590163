//! What a process leaves that dies at work. A file of its own: a fork in the middle of
//! other tests would keep their locks for a moment.

use std::{
    env,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{self, Command},
};

use podkeel_keep::{Record, Wait};

#[path = "../src/testdir.rs"]
mod testdir;
use testdir::TestDir;

fn eth0() -> &'static Path {
    Path::new("net/web/eth0.json")
}

const ROOT: &str = "KEEP_TEST_ROOT";

/// Runs this test once more as a child, which makes a record, replaces it, and dies holding it.
#[test]
fn the_dead_hold_no_lock() {
    if let Some(root) = env::var_os(ROOT) {
        let mut record = Record::create(Path::new(&root), eth0(), b"begun").unwrap();
        record.replace(b"half done").unwrap();
        process::abort();
    }
    let root = TestDir::new();
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_dead_hold_no_lock"])
        .env(ROOT, &*root)
        .output()
        .unwrap()
        .status;
    assert_eq!(status.signal(), Some(6));
    let record = Record::open_locked(&root, eth0(), Wait::No).unwrap();
    assert_eq!(record.read().unwrap(), b"half done");
}
