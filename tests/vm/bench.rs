//! The bench of drivers on a kernel that has all kinds of links. The CPU is
//! emulated, for the reference and for us alike: ratios tell something, times don't.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::image::{self, Image};
use super::inner::{self, Seen};
use super::kernel::Kernel;
use super::machine::PC;
use super::programs::{built, messages};

/// Calls, and figures, that a median is of.
const ROUNDS: u32 = 9;

/// Docker, whose bridge pods are compared with, and what packs its image.
const DOCKER: [&str; 6] =
    ["containerd", "containerd-shim-runc-v2", "docker", "docker-proxy", "dockerd", "tar"];

/// What cargo builds for benches: the bench, or the program that it is compiled to call.
fn of_bench(name: &str, kind: &str) -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["bench", "--locked", "--no-run", "--bench", "drivers", "--message-format=json"]);
    built(&messages(&mut cargo), kind)
        .remove(name)
        .unwrap_or_else(|| panic!("cargo built no {name}"))
}

/// Builds the bench, and runs it there.
pub(super) fn drivers(most: Duration) {
    let kernel = Kernel::of("trixie", "amd64");
    let bench = of_bench("drivers", "bench");
    let mut image = Image::with_tools(&PC);
    image.modules(&kernel);
    image.program(&bench);
    image.program(&of_bench("netsetup", "bin"));
    image.reference();
    image.program(&image::find("iperf3"));
    for program in DOCKER {
        image.program(&image::find(program));
    }
    image.text("/init", include_str!("init.sh"), 0o755);
    image.text("/modules", inner::MODULES, 0o644);
    let job = format!("{} {ROUNDS} 2>&1 | sed 's/^/@out /'\n", bench.display());
    image.text("/job", &job, 0o644);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm-bench.cpio");
    image.write(&file);
    let mut seen = Seen::new();
    let end = PC.boot(&kernel.vmlinuz, &file, most, |line| inner::note("6.12", line, &mut seen));
    let whole = ["@out vxlan ", "@out docker "].iter().all(|line| end.console.contains(line));
    assert!(!end.hung && whole, "{}", end.console);
}
