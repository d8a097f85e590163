use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::Barrier,
    thread,
};

use super::*;
use crate::{Record, list, sweep, sweep_temps, testdir::TestDir};

const WAYS: [Way; 3] = [Way::Unnamed, Way::Rename, Way::Link];
const MODES: Modes = Modes { dir: 0o755, file: 0o644 };

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_claim_is_complete_exclusive_and_alone() {
    for way in WAYS {
        let root = TestDir::new();
        let dir = root.join("a/b");
        let file = publish(&dir, "name", b"mine", MODES, way).unwrap();
        let second = publish(&dir, "name", b"yours", MODES, way).unwrap_err();
        assert!(second.is_taken(), "{way:?}: {second}");
        assert_eq!(fs::read(dir.join("name")).unwrap(), b"mine", "{way:?}");
        assert_eq!(names(&dir), ["name"], "{way:?}");
        let meta = file.metadata().unwrap();
        assert_eq!((meta.nlink(), meta.permissions().mode() & 0o777), (1, 0o644), "{way:?}");
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o755, "{way:?}");
    }
}

#[test]
fn one_of_sixteen_racing_threads_wins_whatever_way_each_takes() {
    for round in 0..100 {
        let root = TestDir::new();
        let barrier = Barrier::new(16);
        let claim = |i: usize| {
            // Every other round mixes the ways; the rest has all take the same one.
            let way = WAYS[if round % 2 == 0 { i % 3 } else { round / 2 % 3 }];
            barrier.wait();
            publish(&root.join("dir"), "name", format!("thread {i}").as_bytes(), MODES, way)
        };
        let results: Vec<Result<File>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|i| scope.spawn(move || claim(i))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..16).filter(|i| results[*i].is_ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}: {results:?}");
        let bytes = fs::read_to_string(root.join("dir/name")).unwrap();
        assert_eq!(bytes, format!("thread {}", winners[0]), "round {round}");
        for error in results.iter().filter_map(|r| r.as_ref().err()) {
            assert!(error.is_taken(), "round {round}: {error}");
        }
        assert_eq!(names(&root.join("dir")), ["name"], "round {round}");
    }
}

#[test]
fn a_leftover_temporary_file_is_overwritten_not_believed() {
    for way in [Way::Rename, Way::Link] {
        let root = TestDir::new();
        fs::write(root.join(".name.tmp"), "much longer bytes of a killed process").unwrap();
        publish(&root, "name", b"new", MODES, way).unwrap();
        assert_eq!(fs::read(root.join("name")).unwrap(), b"new");
        assert_eq!(names(&root), ["name"], "{way:?}");
    }
}

/// Killed between link and unlink: the temporary name leads to the claimed file itself.
#[test]
fn a_temporary_name_of_a_claimed_file_is_not_written_through() {
    for way in [Way::Rename, Way::Link] {
        let root = TestDir::new();
        fs::write(root.join("name"), "claimed").unwrap();
        fs::hard_link(root.join("name"), root.join(".name.tmp")).unwrap();
        assert!(publish(&root, "name", b"other", MODES, way).unwrap_err().is_taken());
        assert_eq!(fs::read(root.join("name")).unwrap(), b"claimed");
        replace(&root, "name", b"replaced", MODES, Wait::No).unwrap();
        assert_eq!(fs::read(root.join("name")).unwrap(), b"replaced");
        assert_eq!(names(&root), ["name"], "{way:?}");
    }
}

#[test]
fn a_temporary_file_at_work_is_waited_for_and_left_alone() {
    let root = TestDir::new();
    let at = dir::open(&root).unwrap();
    let held = temp(&at, &root, "name", 0o644, Wait::No).unwrap().unwrap();
    assert!(replace(&root, "name", b"x", MODES, Wait::No).unwrap_err().is_busy());
    assert!(!remove_temp(&root, "name"));
    assert_eq!(sweep_temps(&root).unwrap(), Vec::<std::path::PathBuf>::new());
    thread::scope(|scope| {
        let waiter = scope
            .spawn(|| replace(&root, "name", b"x", MODES, Wait::Until(Duration::from_secs(10))));
        thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished());
        drop(held);
        waiter.join().unwrap().unwrap();
    });
    assert_eq!(names(&root), ["name"]);
}

#[test]
fn directories_may_vanish_at_any_moment() {
    for way in WAYS {
        let root = TestDir::new();
        let dir = root.join("net/web");
        thread::scope(|scope| {
            let claimer = scope.spawn(|| {
                for _ in 0..100 {
                    let record =
                        Record::create_by(&root, Path::new("net/web/eth0"), b"{}", way).unwrap();
                    record.remove().unwrap();
                }
            });
            while !claimer.is_finished() {
                dir::remove_empty_up_to(&dir, &root);
                // Far more often than containers end, but not in step with the claimer.
                thread::sleep(Duration::from_micros(100));
            }
            claimer.join().unwrap();
        });
        assert_eq!(names(&root), [""; 0], "{way:?}");
    }
}

#[test]
fn a_record_is_locked_before_it_is_seen() {
    for way in WAYS {
        let root = TestDir::new();
        let name = Path::new("net/web/eth0.json");
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                loop {
                    match Record::open_locked(&root, name, Wait::No) {
                        Err(error) if error.is_missing() => {}
                        other => return other.map(drop),
                    }
                }
            });
            let record = Record::create_by(&root, name, b"{}", way).unwrap();
            let seen = watcher.join().unwrap().unwrap_err();
            assert!(seen.is_busy(), "{way:?}: {seen}");
            drop(record);
        });
        Record::open_locked(&root, name, Wait::No).unwrap();
    }
}

#[test]
fn sweep_takes_litter_and_leaves_records() {
    let root = TestDir::new();
    let kept = Record::create(&root, Path::new("net/web/eth0.json"), b"{}").unwrap();
    fs::create_dir_all(root.join("net/killed/before")).unwrap();
    fs::write(root.join("net/web/.eth1.json.tmp"), "half").unwrap();
    fs::write(root.join("net/.hidden"), "").unwrap();
    assert_eq!(list(&root).unwrap(), [Path::new("net/web/eth0.json")]);
    let mut removed = sweep(&root).unwrap();
    removed.sort();
    let expected =
        ["net/killed", "net/killed/before", "net/web/.eth1.json.tmp"].map(|p| root.join(p));
    assert_eq!(removed, expected);
    assert_eq!(kept.read().unwrap(), b"{}");
    assert_eq!(names(&root.join("net")), [".hidden", "web"]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let root = TestDir::new();
    for name in ["", ".", "..", ".x.tmp", "a/b", "/x", "a\0b"] {
        let error = claim(&root, name, b"", MODES).unwrap_err();
        assert_eq!(error.errno(), Errno::INVAL.raw_os_error(), "{name:?}");
    }
    assert_eq!(names(&root), [""; 0]);
}
