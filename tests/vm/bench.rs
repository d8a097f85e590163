//! The calls of the bench of drivers on a kernel that has all kinds of links. The CPU is
//! emulated, for the reference and for us alike: ratios tell something, times don't.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::image::Image;
use super::inner::{self, Seen};
use super::kernel::Kernel;
use super::machine::PC;
use super::run;

/// Calls that a median is of.
const ROUNDS: u32 = 9;

/// The bench and netsetup, as cargo builds them for benches.
fn built() -> Vec<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["bench", "--locked", "--no-run", "--bench", "drivers", "--message-format=json"]);
    let text = run(cargo.current_dir(env!("CARGO_MANIFEST_DIR")));
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let wanted = messages.filter(|m| {
        let target = (m["target"]["kind"][0].as_str(), m["target"]["name"].as_str());
        [(Some("bench"), Some("drivers")), (Some("bin"), Some("netsetup"))].contains(&target)
    });
    let paths = wanted.filter_map(|m| m["executable"].as_str().map(PathBuf::from));
    let mut paths: Vec<PathBuf> = paths.collect();
    paths.sort_by_key(|path| path.ends_with("netsetup"));
    paths
}

/// Builds the bench, and runs it there.
pub(super) fn drivers(most: Duration) {
    let kernel = Kernel::of("trixie", "amd64");
    let programs = built();
    let mut image = Image::with_tools();
    image.modules(&kernel);
    programs.iter().for_each(|program| image.program(program));
    image.tree(Path::new("/usr/lib/cni"), Path::new("/usr/lib/cni"));
    image.text("/init", include_str!("init.sh"), 0o755);
    image.text("/modules", inner::MODULES, 0o644);
    let job = format!("{} calls {ROUNDS} 2>&1 | sed 's/^/@out /'\n", programs[0].display());
    image.text("/job", &job, 0o644);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm-bench.cpio");
    image.write(&file);
    let mut seen = Seen::new();
    let end = PC.boot(&kernel.vmlinuz, &file, most, |line| inner::note("6.12", line, &mut seen));
    assert!(!end.hung && end.console.contains("@out loopback "), "{}", end.console);
}
