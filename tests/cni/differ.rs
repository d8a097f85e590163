//! The reference and ours, asked the same in equal worlds.
//!
//! ```text
//! cases    plugin x key x value x version, good and bad      what is asked
//! see      results, codes, files, both namespaces, as words  what is seen
//! packets  who reaches whom, with which source address
//! compare  what of it can be compared
//! table    docs/cni-differences.md                           what may differ, and why
//! vlans    which VLANs and addresses a bridge knows where
//! errors   errors.txt                                        what ours refuses with
//! ```
//!
//! Each case is run twice, each time with a host and a pod that are as new: ADD, CHECK,
//! DEL, DEL once more. A line of difference that no pattern of the table matches is a failure;
//! so is a pattern that no line matches any more, and an error with another code or text.
//!
//! Some cases alone: `PODKEEL_DIFFER='bridge 1.0.0 mtu*|ptp * dual'` (patterns) tells what
//! differs in them, the table's lines too. Handed on to a VM, too, where [`vm`]'s run.

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
mod vlans;
mod vm;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::call::{ours, reference};
use super::common::dump::glob;
use super::common::{Kind, scratch, worlds};
use cases::Case;
use errors::Errors;
use table::Place;

/// Cases that one kernel is asked, and the rows that they must show.
struct Run {
    place: Place,
    cases: fn() -> Vec<Case>,
    /// Worlds at once.
    slices: &'static [usize],
}

/// More than a small machine has processors, for a plugin waits for the kernel most of its time.
const ANY: Run = Run { place: Place::Any, cases: here, slices: &[0, 1, 2, 3, 4, 5, 6, 7] };
/// An emulated processor has enough with few.
const FULL: Run = Run { place: Place::Full, cases: vm::all, slices: &[0, 1, 2] };

#[test]
fn nothing_differs_but_what_the_table_says() {
    ANY.go();
}

#[test]
#[ignore = "needs ipvlan, vlan, vrf and VLANs of a bridge: tests/vm runs it on Linux 6.12"]
fn vm_nothing_differs_on_a_kernel_with_all_kinds() {
    FULL.go();
}

impl Run {
    fn go(&self) {
        worlds(Kind::User, self.slices, |slice| self.work(slice));
        // Only here, on the host: all worlds have come to their end.
        self.judge();
    }

    /// Where a world leaves what it has found.
    fn file(&self, slice: usize) -> PathBuf {
        let name = format!("differ-{:?}-{slice}", self.place);
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
    }

    /// The rows that count here.
    fn table(&self) -> Vec<table::Entry> {
        let here = |entry: &table::Entry| self.place == Place::Full || entry.place == Place::Any;
        table::read().into_iter().filter(here).collect()
    }

    /// Runs one slice of the cases on both sides.
    fn work(&self, slice: usize) {
        let wanted = |case: &Case| {
            only().is_none_or(|only| only.split('|').any(|one| glob(one, &case.name)))
        };
        let all = (self.cases)().into_iter().filter(wanted).enumerate();
        let mine = all.filter(|(i, _)| i % self.slices.len() == slice);
        let (table, sides) = (self.table(), [reference(), ours()]);
        let (mut found, mut stage) = (Found::default(), see::Stage::default());
        let began = Instant::now();
        // A relative path of a case is below it.
        std::env::set_current_dir(scratch()).expect("a directory");
        for (_, case) in mine {
            assert!(found.cases.insert(case.name.clone()), "two cases are called {}", case.name);
            let [theirs, ours] =
                sides.each_ref().map(|plugins| see::run(&mut stage, &case, plugins));
            for line in compare::differences(&theirs, &ours) {
                let entries: Vec<_> = table
                    .iter()
                    .filter(|e| e.covers(&case.name, &line))
                    .map(|e| e.name())
                    .collect();
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
        found.leave(&self.file(slice));
    }

    /// Judges what all worlds have found.
    fn judge(&self) {
        let mut found = Found::default();
        for slice in self.slices {
            found.take(&self.file(*slice));
        }
        assert!(!found.cases.is_empty(), "no such case");
        let mut faults = Vec::new();
        if !found.wrong.is_empty() {
            faults.push(format!("not in {}:\n  {}", table::FILE, found.wrong.join("\n  ")));
        }
        faults.extend(other_errors(&found).map(|see| format!("ours refuses otherwise: see {see}")));
        let is_idle =
            |entry: &table::Entry| entry.place == self.place && !found.used.contains(&entry.name());
        let idle: Vec<String> =
            self.table().iter().filter(|e| is_idle(e)).map(table::Entry::name).collect();
        // Some cases alone use some entries alone.
        if !idle.is_empty() && only().is_none() {
            faults.push(format!("no case shows these entries of {}: {idle:#?}", table::FILE));
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
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

/// What ours refuses otherwise than is written down: where both stand, and the cases' lines.
fn other_errors(found: &Found) -> Option<String> {
    let mut all = errors::read();
    let expected: Errors = found.cases.iter().filter_map(|case| all.remove_entry(case)).collect();
    if expected == found.errors {
        return None;
    }
    all.extend(found.errors.clone());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("differ-errors.txt");
    fs::write(&file, errors::in_words(&all)).expect("a file");
    let is_new = |(case, lines): &(&String, &String)| expected.get(*case) != Some(*lines);
    let new: Errors =
        found.errors.iter().filter(is_new).map(|(c, l)| (c.clone(), l.clone())).collect();
    Some(format!("`diff {} {}`\n{}", errors::FILE, file.display(), errors::in_words(&new)))
}

/// What is written down belongs to a case, and a case to one kernel.
#[test]
fn no_row_and_no_error_is_left_of_an_older_case() {
    let [any, full] = [&ANY, &FULL].map(|run| -> BTreeSet<String> {
        (run.cases)().into_iter().map(|case| case.name).collect()
    });
    assert!(any.is_disjoint(&full), "{:?}", any.intersection(&full));
    let is_idle = |entry: &table::Entry| {
        let all = if entry.place == Place::Any { &any } else { &full };
        !all.iter().any(|case| glob(&entry.case, case))
    };
    let idle: Vec<_> = table::read().into_iter().filter(is_idle).collect();
    assert!(idle.is_empty(), "in {}: {idle:#?}", table::FILE);
    let of_none = |case: &String| !any.contains(case) && !full.contains(case);
    let idle: Vec<String> = errors::read().into_keys().filter(of_none).collect();
    assert!(idle.is_empty(), "in {}: {idle:#?}", errors::FILE);
}
