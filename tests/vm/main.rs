//! The programs and their tests on other kernels: the oldest that we ask for, a recent
//! one, and a kernel of another architecture. Kernels are Debian's, in QEMU.
//!
//! ```text
//! debian    packages of any release, fetched into a cache
//! kernel    Debian's kernels and their modules
//! image     tools, modules, programs and tests, as ...
//! cpio      ... the initramfs that a kernel unpacks
//! machine   QEMU: boot, read the serial line, end what hangs
//! choice    which tests run in there
//! inner     runs them, and judges how they ended
//! said      whether tests run where they say
//! programs  the tests and what they test, built for that CPU
//! bench     the bench of drivers where all kinds of links are
//! init.sh   PID 1 in there      inner.sh   runs one test
//! ```
//!
//! No privilege is needed: in the VM everything is root.

#[path = "../common/mod.rs"]
mod common;

mod bench;
mod choice;
mod cpio;
mod debian;
mod image;
mod inner;
mod kernel;
mod machine;
mod programs;
mod said;

use std::process::Command;
use std::time::Duration;

/// Runs a command of the harness's own and returns what it printed.
fn run(command: &mut Command) -> String {
    let output = common::output(command);
    assert!(output.status.success(), "{}", common::told(&format!("{command:?}"), &output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Longest time that a VM may take, on a machine that has other work, too.
const MOST: Duration = Duration::from_secs(1200);

#[test]
fn linux_5_10() {
    inner::on(&choice::OLDEST, MOST);
}

#[test]
fn linux_6_12() {
    inner::on(&choice::RECENT, MOST);
}

/// Behind the other two, which take longer, in the order of names that the runner takes.
#[test]
fn linux_6_1_aarch64() {
    inner::on(&choice::AARCH64, MOST);
}

#[test]
#[ignore = "a bench: cargo test --test vm -- --ignored vm_bench"]
fn vm_bench_of_drivers() {
    bench::drivers(3 * MOST);
}
