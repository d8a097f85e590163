//! The reference and ours, asked the same in equal worlds.
//!
//! ```text
//! cases    plugin x key x value x version, good and bad      what is asked
//! see      results, codes, files, both namespaces, as words  what is seen
//! packets  who reaches whom, with which source address
//! compare  what of it can be compared
//! table    docs/cni-differences.md                           what may differ, and why
//! errors   errors.txt                                        what ours refuses with
//! ```
//!
//! Each case is run twice, each time with a host and a pod that are as new: ADD, CHECK,
//! DEL, DEL once more. A line of difference that no pattern of the table matches is a failure;
//! so is a pattern that no line matches any more, and an error with another code or text.
//!
//! Some cases alone: `PODKEEL_DIFFER='bridge 1.0.0 mtu*|ptp * dual'` (patterns) tells what
//! differs in them, the table's lines too.

mod behind;
mod beside;
mod case;
mod cases;
mod chained;
mod compare;
mod errors;
mod firewall;
mod forms;
mod front;
mod harmed;
mod links;
mod managers;
mod packets;
mod pods;
mod sctp;
mod see;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::call::{ours, reference};
use super::common::dump::glob;
use super::common::{Kind, scratch, worlds};
use cases::Case;
use errors::Errors;

/// Worlds at once: more than a small machine has processors, for a plugin waits for the
/// kernel most of its time.
const SLICES: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7];

#[test]
fn nothing_differs_but_what_the_table_says() {
    worlds(Kind::User, SLICES, |slice| work(slice, &here()));
    // Only here, on the host: all worlds have come to their end.
    judge(&here());
}

/// Cases for any kernel.
fn here() -> Vec<Case> {
    let all = [
        cases::all(),
        forms::all(),
        managers::all(),
        front::all(),
        chained::all(),
        behind::all(),
        firewall::all(),
        harmed::all(),
        links::all(),
        pods::all(),
    ];
    all.concat()
}

/// What a world has found.
#[derive(Default)]
struct Found {
    /// Lines that no entry covers.
    wrong: Vec<String>,
    /// The entries that it has used.
    used: BTreeSet<String>,
    errors: Errors,
    /// The cases that it had.
    cases: BTreeSet<String>,
}

impl Found {
    /// Where a world leaves it.
    fn file(slice: usize) -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("differ-{slice}"))
    }

    fn leave(&self, file: &Path) {
        let all = (&self.wrong, &self.used, &self.errors, &self.cases);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, serde_json::to_string(&all).expect("JSON")).expect("a file");
    }

    /// Adds what a world has left.
    fn take(&mut self, file: &Path) {
        type All = (Vec<String>, BTreeSet<String>, Errors, BTreeSet<String>);
        let text = fs::read_to_string(file).expect("a world's file");
        fs::remove_file(file).expect("a world's file");
        let (wrong, used, errors, cases): All = serde_json::from_str(&text).expect("its form");
        self.wrong.extend(wrong);
        self.used.extend(used);
        self.errors.extend(errors);
        self.cases.extend(cases);
    }
}

/// Patterns of the cases that alone are asked for.
fn only() -> Option<String> {
    std::env::var("PODKEEL_DIFFER").ok()
}

/// Runs one slice of the cases on both sides.
fn work(slice: usize, all: &[Case]) {
    let wanted =
        |case: &&Case| only().is_none_or(|only| only.split('|').any(|one| glob(one, &case.name)));
    let mine = all.iter().filter(wanted).enumerate().filter(|(i, _)| i % SLICES.len() == slice);
    let (table, sides) = (table::read(), [reference(), ours()]);
    let (mut found, mut stage) = (Found::default(), see::Stage::default());
    let began = Instant::now();
    // A relative path of a case is below it.
    std::env::set_current_dir(scratch()).expect("a directory");
    for (_, case) in mine {
        assert!(found.cases.insert(case.name.clone()), "two cases are called {}", case.name);
        let [theirs, ours] = sides.each_ref().map(|plugins| see::run(&mut stage, case, plugins));
        for line in compare::differences(&theirs, &ours) {
            let entries: Vec<_> =
                table.iter().filter(|e| e.covers(&case.name, &line)).map(|e| e.name()).collect();
            println!("{}: {line}{}", case.name, if entries.is_empty() { " (!)" } else { "" });
            if entries.is_empty() {
                found.wrong.push(format!("{}: {line}", case.name));
            }
            found.used.extend(entries);
        }
        let lines = errors::of(&ours);
        if !lines.is_empty() {
            found.errors.insert(case.name.clone(), lines);
        }
    }
    println!("{} cases in {:.1} s", found.cases.len(), began.elapsed().as_secs_f64());
    found.leave(&Found::file(slice));
}

/// Judges what all worlds of a run have found.
fn judge(all: &[Case]) {
    let mut found = Found::default();
    for slice in SLICES {
        found.take(&Found::file(*slice));
    }
    assert!(!found.cases.is_empty(), "no such case");
    let other = other_errors(&found);
    assert!(found.wrong.is_empty(), "not in {}:\n  {}", table::FILE, found.wrong.join("\n  "));
    assert!(other.is_none(), "ours refuses otherwise: see `{}`", other.unwrap_or_default());
    // Some cases alone use some entries alone.
    if only().is_some() {
        return;
    }
    let here = |entry: &table::Entry| all.iter().any(|case| glob(&entry.case, &case.name));
    let idle: Vec<String> = table::read()
        .iter()
        .filter(|entry| here(entry))
        .map(table::Entry::name)
        .filter(|name| !found.used.contains(name))
        .collect();
    assert!(idle.is_empty(), "no case shows these entries of {}: {idle:#?}", table::FILE);
}

/// The command that tells in what ours refuses with something else than is written down.
fn other_errors(found: &Found) -> Option<String> {
    let mut all = errors::read();
    let expected: Errors = found.cases.iter().filter_map(|case| all.remove_entry(case)).collect();
    if expected == found.errors {
        return None;
    }
    all.extend(found.errors.clone());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("differ-errors.txt");
    fs::write(&file, errors::in_words(&all)).expect("a file");
    Some(format!("diff {} {}", errors::FILE, file.display()))
}

/// What is written down belongs to a case.
#[test]
fn no_row_and_no_error_is_left_of_an_older_case() {
    let all: BTreeSet<String> = here().into_iter().map(|case| case.name).collect();
    let rows = table::read().into_iter().map(|entry| entry.case);
    let idle: Vec<String> =
        rows.filter(|pattern| !all.iter().any(|case| glob(pattern, case))).collect();
    assert!(idle.is_empty(), "in {}: {idle:#?}", table::FILE);
    let idle: Vec<String> = errors::read().into_keys().filter(|case| !all.contains(case)).collect();
    assert!(idle.is_empty(), "in {}: {idle:#?}", errors::FILE);
}
