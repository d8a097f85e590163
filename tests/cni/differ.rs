//! The reference and ours, asked the same in equal worlds.
//!
//! ```text
//! cases    plugin x key x value x version, good and bad      what is asked
//! see      results, codes, files, both namespaces, as words  what is seen
//! packets  who reaches whom, with which source address
//! table    docs/cni-differences.md                           what may differ, and why
//! ```
//!
//! Each case is run twice, each time with a host and a pod that are as new: ADD, CHECK,
//! DEL, DEL once more. A line of difference that no pattern of the table matches is a failure;
//! so is a pattern that no line matches any more.
//!
//! One case alone: `PODKEEL_DIFFER='bridge 1.0.0 mtu*'` (a pattern) tells what differs in
//! it, the table's lines too.

mod cases;
mod chained;
mod firewall;
mod front;
mod harmed;
mod packets;
mod sctp;
mod see;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::call::{ours, reference};
use super::common::dump::glob;
use super::common::{Kind, worlds};

/// Worlds at once: more than a small machine has processors, for a plugin waits for the
/// kernel most of its time.
const SLICES: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7];

#[test]
fn nothing_differs_but_what_the_table_says() {
    let only = std::env::var("PODKEEL_DIFFER").ok();
    worlds(Kind::User, SLICES, |slice| {
        let all =
            [cases::all(), front::all(), chained::all(), firewall::all(), harmed::all()].concat();
        let mine = all.iter().enumerate().filter(|(i, _)| i % SLICES.len() == slice);
        let mine = mine.map(|(_, case)| case);
        compare(slice, mine.filter(|c| only.as_ref().is_none_or(|only| glob(only, &c.name))));
    });
    // Only here, on the host: all worlds have come to their end.
    if only.is_some() {
        return;
    }
    let used: BTreeSet<String> = SLICES
        .iter()
        .flat_map(|slice| {
            let text = fs::read_to_string(used_file(*slice)).expect("a world's list");
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let idle: Vec<String> =
        table::read().iter().map(table::Entry::name).filter(|name| !used.contains(name)).collect();
    assert!(idle.is_empty(), "no case shows these entries of {}: {idle:#?}", table::FILE);
}

/// Where a world leaves the names of the entries that it has used.
fn used_file(slice: usize) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("differ-{slice}"))
}

/// Runs these cases on both sides.
fn compare<'a>(slice: usize, cases: impl Iterator<Item = &'a cases::Case>) {
    let (table, sides) = (table::read(), [reference(), ours()]);
    let (mut used, mut wrong, mut count) = (BTreeSet::new(), Vec::new(), 0);
    let (began, mut stage) = (Instant::now(), see::Stage::default());
    for case in cases {
        count += 1;
        let [theirs, ours] = sides.each_ref().map(|plugins| see::run(&mut stage, case, plugins));
        for line in see::differences(&theirs, &ours) {
            let entries: Vec<_> =
                table.iter().filter(|e| e.covers(&case.name, &line)).map(|e| e.name()).collect();
            println!("{}: {line}{}", case.name, if entries.is_empty() { " (!)" } else { "" });
            if entries.is_empty() {
                wrong.push(format!("{}: {line}", case.name));
            }
            used.extend(entries);
        }
    }
    println!("{count} cases in {:.1} s", began.elapsed().as_secs_f64());
    assert!(count > 0, "no such case");
    assert!(wrong.is_empty(), "not in {}:\n  {}", table::FILE, wrong.join("\n  "));
    let used: Vec<String> = used.into_iter().collect();
    fs::write(used_file(slice), used.join("\n")).expect("a list");
}
