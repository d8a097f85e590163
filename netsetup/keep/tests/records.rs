//! Records and locks as their users see them: handover, death, removal.

use std::{
    fs,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use podkeel_keep::{Lock, Modes, Record, Wait, list, overwrite, remove_if};

#[path = "../src/testdir.rs"]
mod testdir;
use testdir::TestDir;

const LONG: Wait = Wait::Until(Duration::from_secs(10));
const SHORT: Wait = Wait::Until(Duration::from_millis(30));

fn eth0() -> &'static Path {
    Path::new("net/web/eth0.json")
}

#[test]
fn a_second_opener_waits_through_replacements_and_reads_the_last_one() {
    let root = TestDir::new();
    let mut record = Record::create(&root, eth0(), b"0").unwrap();
    let path: &Path = &root;
    thread::scope(|scope| {
        let (opened, at) = mpsc::channel();
        scope.spawn(move || {
            let record = Record::open_locked(path, eth0(), LONG).unwrap();
            opened.send(record.read().unwrap()).unwrap();
        });
        for n in 1..=50 {
            thread::sleep(Duration::from_millis(1));
            record.replace(n.to_string().as_bytes()).unwrap();
            assert!(at.try_recv().is_err(), "the lock was lost at replacement {n}");
        }
        assert_eq!(record.read().unwrap(), b"50");
        drop(record);
        assert_eq!(at.recv().unwrap(), b"50");
    });
}

#[test]
fn a_second_opener_learns_that_the_record_was_removed() {
    let root = TestDir::new();
    let record = Record::create(&root, eth0(), b"{}").unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| Record::open_locked(&root, eth0(), LONG).map(drop));
        thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished());
        record.remove().unwrap();
        assert!(waiter.join().unwrap().unwrap_err().is_missing());
    });
    assert_eq!(fs::read_dir(&*root).unwrap().count(), 0, "the empty directories went with it");
}

#[test]
fn a_second_opener_gets_the_successor_of_a_removed_record() {
    let root = TestDir::new();
    let old = Record::create(&root, eth0(), b"old").unwrap();
    let next = thread::scope(|scope| {
        let waiter = scope.spawn(|| Record::open_locked(&root, eth0(), SHORT).map(drop));
        old.remove().unwrap();
        let next = Record::create(&root, eth0(), b"new").unwrap();
        // It saw either nothing or the new record, which is locked; never the old one.
        let error = waiter.join().unwrap().unwrap_err();
        assert!(error.is_missing() || error.is_busy(), "{error}");
        next
    });
    drop(next);
    assert_eq!(Record::open_locked(&root, eth0(), Wait::No).unwrap().read().unwrap(), b"new");
}

#[test]
fn busy_comes_at_once_or_after_the_time_that_was_given() {
    let root = TestDir::new();
    let _held = Record::create(&root, eth0(), b"{}").unwrap();
    assert!(Record::open_locked(&root, eth0(), Wait::No).unwrap_err().is_busy());
    let begun = Instant::now();
    let error = Record::open_locked(&root, eth0(), SHORT).unwrap_err();
    assert!(error.is_busy() && begun.elapsed() >= Duration::from_millis(30), "{error}");
    let text = format!("cannot lock {}: another process holds it", root.join(eth0()).display());
    assert_eq!(error.to_string(), text);
}

#[test]
fn increments_by_eight_threads_are_all_kept() {
    let root = TestDir::new();
    drop(Record::create(&root, eth0(), b"0").unwrap());
    let increment = || {
        for _ in 0..50 {
            let mut record = Record::open_locked(&root, eth0(), LONG).unwrap();
            let old: u32 = String::from_utf8(record.read().unwrap()).unwrap().parse().unwrap();
            record.replace((old + 1).to_string().as_bytes()).unwrap();
        }
    };
    thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(increment))));
    assert_eq!(fs::read(root.join(eth0())).unwrap(), b"400");
    assert_eq!(list(&root).unwrap(), [eth0()]);
}

#[test]
fn removal_takes_leftovers_along_but_no_neighbour() {
    let root = TestDir::new();
    let eth1 = Path::new("net/web/eth1.json");
    let first = Record::create(&root, eth0(), b"{}").unwrap();
    let second = Record::create(&root, eth1, b"{}").unwrap();
    fs::write(root.join("net/web/.eth0.json.tmp"), "half a rec").unwrap();
    first.remove().unwrap();
    assert_eq!(list(&root).unwrap(), [eth1]);
    assert_eq!(fs::read_dir(root.join("net/web")).unwrap().count(), 1);
    second.remove().unwrap();
    assert_eq!(fs::read_dir(&*root).unwrap().count(), 0);
}

#[test]
fn an_empty_record_can_be_opened_and_filled() {
    let root = TestDir::new();
    fs::create_dir_all(root.join("net/web")).unwrap();
    fs::write(root.join(eth0()), "").unwrap();
    assert!(Record::create(&root, eth0(), b"{}").unwrap_err().is_taken());
    let mut record = Record::open_locked(&root, eth0(), Wait::No).unwrap();
    assert_eq!(record.read().unwrap(), b"");
    record.replace(b"{}").unwrap();
    assert_eq!(record.read().unwrap(), b"{}");
}

#[test]
fn only_what_the_judge_condemns_is_removed() {
    let root = TestDir::new();
    fs::write(root.join("lease"), "mine").unwrap();
    assert!(!remove_if(&root, "lease", Wait::No, |bytes| bytes == b"yours").unwrap());
    assert!(remove_if(&root, "lease", Wait::No, |bytes| bytes == b"mine").unwrap());
    assert!(!remove_if(&root, "lease", Wait::No, |_| true).unwrap());
}

#[test]
fn a_directory_lock_leaves_no_file_and_makes_the_directory() {
    let root = TestDir::new();
    let dir = root.join("net/bridge");
    let lock = Lock::exclusive(&dir, Wait::No).unwrap();
    assert!(Lock::exclusive(&dir, SHORT).unwrap_err().is_busy());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    lock.tidy();
    assert!(!dir.exists());
    Lock::exclusive(&dir, Wait::No).unwrap();
}

#[test]
fn a_locked_directory_outlives_the_record_in_it() {
    let root = TestDir::new();
    let record = Record::create(&root, eth0(), b"{}").unwrap();
    let lock = Lock::exclusive(&root.join("net"), Wait::No).unwrap();
    record.remove().unwrap();
    assert!(root.join("net").exists() && !root.join("net/web").exists());
    assert!(Lock::exclusive(&root.join("net"), Wait::No).unwrap_err().is_busy());
    lock.tidy();
    assert_eq!(fs::read_dir(&*root).unwrap().count(), 0);
}

#[test]
fn directory_locks_exclude_even_while_the_directory_is_removed_and_made_again() {
    let root = TestDir::new();
    let dir = root.join("net");
    let witness = root.join("inside");
    let work = || {
        for _ in 0..100 {
            let lock = Lock::exclusive(&dir, LONG).unwrap();
            fs::create_dir(&witness).expect("nobody else inside");
            fs::remove_dir(&witness).unwrap();
            lock.tidy();
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    assert!(!dir.exists());
}

#[test]
fn an_overwritten_hint_has_exactly_the_new_bytes() {
    let root = TestDir::new();
    let modes = Modes { dir: 0o755, file: 0o600 };
    for text in ["10.1.0.254", "10.1.0.2", "10.1.0.33"] {
        overwrite(&root.join("net"), "hint", text.as_bytes(), modes).unwrap();
        assert_eq!(fs::read_to_string(root.join("net/hint")).unwrap(), text);
    }
    assert_eq!(fs::read_dir(root.join("net")).unwrap().count(), 1);
}
