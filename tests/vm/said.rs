//! A test that needs another kernel says which one runs it: that must be so.

use std::fs;
use std::path::{Path, PathBuf};

use super::choice::{OLDEST, On, RECENT};

/// How it says so, in its `#[ignore]`.
const SAID: &str = "tests/vm runs it on Linux ";

/// All Rust files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of tests");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect()
}

/// What tests of a file are called in [`On::run`], and where they say that they run.
fn said(root: &Path, file: &Path) -> Vec<(String, String)> {
    let path = file.strip_prefix(root).expect("a file below it").with_extension("");
    let parts = path.iter().map(|part| part.to_string_lossy());
    let module: String =
        parts.filter(|part| part != "main").map(|part| part.into_owned() + "::").collect();
    let text = fs::read_to_string(file).expect("a file of tests");
    text.split(SAID)
        .skip(1)
        .filter_map(|rest| {
            let (kernels, rest) = rest.split_once("\"]\nfn ")?;
            let (name, _) = rest.split_once('(')?;
            Some((format!("{module}{name}"), kernels.to_owned()))
        })
        .collect()
}

#[test]
fn where_a_test_says_that_it_runs_it_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let all: Vec<_> = files(&root).iter().flat_map(|file| said(&root, file)).collect();
    assert!(all.len() > 20, "{all:?}");
    let runs = |on: &On, name: &str| on.run.iter().any(|start| name.starts_with(start));
    for (name, kernels) in all {
        let where_it_runs = [&OLDEST, &RECENT].map(|on| runs(on, &name).then_some(on.label));
        let truly: Vec<&str> = where_it_runs.into_iter().flatten().collect();
        assert_eq!(kernels, truly.join(" and "), "{name}");
    }
}
