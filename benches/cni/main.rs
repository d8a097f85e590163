//! netsetup as CNI plugins beside the reference plugins, called as a runtime calls them,
//! one process per plugin: `cargo bench --bench cni [-- --quick]`.
//!
//! ```text
//! bridge + portmap   host-local, ipMasq, one port
//! podman             its default network: bridge, portmap, firewall, tuning
//! ```
//!
//! ADD and DEL of one container alone, and beside others that the same plugins have made.
//! Each side has a world of its own, [`side`]; both are there at once and asked in turn, so
//! that whatever else this machine does befalls both.
//!
//! A call's time is that from the start of its process to its end. PODKEEL_BENCH_NETSETUP names
//! another netsetup than cargo's, as one of a release.
//!
//! About five minutes; `--quick` is one of them, with fewer others. Needs root, or a user
//! namespace, and Debian's containernetworking-plugins and iptables; nothing of the host is
//! touched.

#[path = "../common/plugin.rs"]
mod plugin;
mod side;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use plugin::{REFERENCE, install, netsetup};
use side::Side;

/// How much is measured.
struct Extent {
    /// Calls that a median is of.
    rounds: usize,
    /// Other containers.
    others: usize,
}

const WHOLE: Extent = Extent { rounds: 25, others: 400 };
const QUICK: Extent = Extent { rounds: 15, others: 100 };
/// How many containers are made between two looks at the progress.
const AT_ONCE: usize = 10;
const CHAINS: [&str; 2] = ["bridge + portmap", "podman"];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure(&WHOLE),
        ["--quick"] => measure(&QUICK),
        [side::INSIDE, asked] => side::serve(asked),
        _ => {
            eprintln!("usage: cargo bench --bench cni [-- --quick]");
            std::process::exit(2);
        }
    }
}

fn measure(extent: &Extent) {
    let Extent { rounds, others } = extent;
    println!(
        "{:38} {:>8}  {:>8}  {:>8}  {:>8}",
        format!("medians of {rounds}, ms"),
        "ADD 0",
        format!("ADD {others}"),
        "DEL 0",
        format!("DEL {others}")
    );
    for chain in CHAINS {
        of_chain(chain, extent);
    }
    versions(4 * extent.rounds);
    sizes();
}

fn of_chain(chain: &str, extent: &Extent) {
    let mut sides = ["reference", "netsetup"].map(|name| Side::start(&format!("{name}/{chain}")));
    let alone = rounds(&mut sides, chain, extent.rounds);
    let mut made = 0;
    while made < extent.others {
        progress(&format!("{chain}: {made} of {} others", extent.others));
        let more = AT_ONCE.min(extent.others - made);
        sides.iter_mut().for_each(|side| side.ask(&format!("others {more}")));
        sides.iter_mut().for_each(|side| _ = side.answer());
        made += more;
    }
    let beside = rounds(&mut sides, chain, extent.rounds);
    progress("");
    // ADD alone and beside others, DEL alone and beside others.
    let row = |side: usize, of: fn(&[f64]) -> f64| {
        [(&alone, 0), (&beside, 0), (&alone, 1), (&beside, 1)].map(|(t, verb)| of(&t[side][verb]))
    };
    for (what, of) in [("", median as fn(&[f64]) -> f64), (", fastest", fastest)] {
        let (theirs, ours) = (row(0, of), row(1, of));
        let times = [0, 1, 2, 3].map(|i| theirs[i] / ours[i]);
        for (name, figures, unit) in
            [("reference", theirs, " "), ("netsetup", ours, " "), ("times faster", times, "x")]
        {
            let [a, b, c, d] = figures.map(|figure| format!("{figure:8.2}{unit}"));
            println!("{chain:16} {:21} {a} {b} {c} {d}", format!("{name}{what}"));
        }
    }
    for (side, name) in ["reference", "netsetup"].iter().enumerate() {
        let [add, add_more, del, del_more] = row(side, median);
        println!(
            "{chain:16} {name}: growth of ADD {:.2}, of DEL {:.2}",
            add_more / add,
            del_more / del
        );
    }
}

/// How long each ADD and each DEL took, ms, by side: the reference, netsetup.
fn rounds(sides: &mut [Side; 2], chain: &str, rounds: usize) -> [[Vec<f64>; 2]; 2] {
    let mut times: [[Vec<f64>; 2]; 2] = Default::default();
    for round in 0..rounds {
        progress(&format!("{chain}: {round} of {rounds} rounds"));
        for (side, times) in sides.iter_mut().zip(&mut times) {
            side.ask("round");
            let figures = side.answer();
            times.iter_mut().zip(figures).for_each(|(times, time)| times.push(time));
        }
    }
    times
}

fn versions(calls: usize) {
    let mut sides = ["reference", "netsetup"].map(|name| Side::start(&format!("{name}/podman")));
    let mut times: [Vec<f64>; 2] = Default::default();
    for _ in 0..calls {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            side.ask("version");
            times.extend(side.answer());
        }
    }
    let [theirs, ours] = times.map(|times| median(&times));
    println!(
        "VERSION, median of {calls}, ms: reference {theirs:.2}, netsetup {ours:.2}, {:.1}x",
        theirs / ours
    );
}

fn sizes() {
    let names = Path::new(env!("CARGO_TARGET_TMPDIR")).join("names");
    install(&names);
    let entries = std::fs::read_dir(&names).expect("what was installed").flatten();
    let theirs: Vec<PathBuf> = entries
        .map(|entry| Path::new(REFERENCE).join(entry.file_name()))
        .filter(|path| path.exists())
        .collect();
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    println!(
        "files, bytes: reference {} ({} plugins that netsetup has, too), netsetup {}",
        theirs.iter().map(|path| size(path)).sum::<u64>(),
        theirs.len(),
        size(&netsetup())
    );
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// What a busy machine disturbs least.
fn fastest(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// One line that changes, where somebody looks.
fn progress(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r{text:60}\r");
        let _ = stderr.flush();
    }
}
