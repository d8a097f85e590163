//! Reference counting on disk.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use podkeel_keep::{file_name, hold, holders, holders_of_file, keys, release, release_file, sweep};

#[path = "../src/testdir.rs"]
mod testdir;
use testdir::TestDir;

#[test]
fn the_last_one_out_is_told_so_and_told_again() {
    let root = TestDir::new();
    hold(&root, "pk0", "web.eth0", "/run/a").unwrap();
    hold(&root, "pk0", "web.eth0", "/run/a").unwrap();
    hold(&root, "pk0", "db.eth0", "/run/b").unwrap();
    assert_eq!(keys(&root).unwrap(), ["pk0"]);
    let found = holders(&root, "pk0").unwrap();
    assert_eq!(
        found,
        [("db.eth0".to_owned(), PathBuf::from("/run/b")), ("web.eth0".to_owned(), "/run/a".into())]
    );
    assert!(!release(&root, "pk0", "web.eth0").unwrap());
    assert!(!release(&root, "pk0", "web.eth0").unwrap());
    assert!(release(&root, "pk0", "db.eth0").unwrap());
    assert!(release(&root, "pk0", "db.eth0").unwrap());
    assert_eq!(fs::read_dir(&*root).unwrap().count(), 0);
}

#[test]
fn a_new_target_replaces_the_old_one() {
    let root = TestDir::new();
    hold(&root, "pk0", "web", "/run/old").unwrap();
    hold(&root, "pk0", "web", "/run/new").unwrap();
    assert_eq!(holders(&root, "pk0").unwrap(), [("web".to_owned(), PathBuf::from("/run/new"))]);
}

#[test]
fn any_string_can_be_a_key_and_a_holder() {
    let root = TestDir::new();
    let (key, holder) = ("../bridge pk0", "pod/web\neth0");
    hold(&root, key, holder, "t").unwrap();
    assert_eq!(keys(&root).unwrap(), [file_name(key)]);
    assert_eq!(holders(&root, key).unwrap(), [(file_name(holder), PathBuf::from("t"))]);
    // What is listed can be asked for and released again by its listed name.
    let listed = &keys(&root).unwrap()[0];
    let found = holders_of_file(&root, listed).unwrap();
    assert_eq!(found, [(file_name(holder), PathBuf::from("t"))]);
    assert!(release_file(&root, listed, &found[0].0).unwrap());
    assert_eq!(keys(&root).unwrap(), [""; 0]);
    hold(&root, key, holder, "t").unwrap();
    assert!(release(&root, key, holder).unwrap());
}

#[test]
fn a_holder_killed_before_its_link_leaves_a_key_without_holders() {
    let root = TestDir::new();
    fs::create_dir(root.join("pk0")).unwrap();
    assert_eq!(keys(&root).unwrap(), ["pk0"]);
    assert_eq!(holders(&root, "pk0").unwrap(), []);
    assert_eq!(sweep(&root).unwrap(), [root.join("pk0")]);
    assert_eq!(holders(Path::new("/nonexistent"), "pk0").unwrap(), []);
    assert_eq!(keys(Path::new("/nonexistent")).unwrap(), [""; 0]);
}

#[test]
fn an_empty_target_is_an_error_not_a_loop() {
    let root = TestDir::new();
    assert!(hold(&root, "pk0", "web", "").unwrap_err().is_missing());
}

#[test]
fn racing_holders_never_lose_a_hold() {
    let root = TestDir::new();
    let last = AtomicUsize::new(0);
    let (root_path, last_count): (&Path, &AtomicUsize) = (&root, &last);
    thread::scope(|scope| {
        for holder in 0..8 {
            scope.spawn(move || {
                let name = format!("h{holder}");
                for _ in 0..200 {
                    hold(root_path, "pk0", &name, "t").unwrap();
                    assert!(holders(root_path, "pk0").unwrap().iter().any(|(h, _)| *h == name));
                    last_count.fetch_add(
                        release(root_path, "pk0", &name).unwrap().into(),
                        Ordering::Relaxed,
                    );
                }
            });
        }
    });
    assert!(last.into_inner() >= 1);
    assert_eq!(keys(&root).unwrap(), [""; 0]);
}
