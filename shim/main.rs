//! shim: pods from nothing but a kernel. See the library, podkeel-shim.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod entry;

use std::process::ExitCode;

use podkeel_shim::{Build, Carried};

/// The programs of this build that shim carries.
static CARRIED: Carried = Carried {
    pause: include_bytes!(env!("PODKEEL_PAUSE")),
    monitor: include_bytes!(env!("PODKEEL_MONITOR")),
    pauses: &include!(env!("PODKEEL_PAUSES")),
    build: Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("PODKEEL_COMMIT"),
        compiler: env!("PODKEEL_COMPILER"),
    },
};

fn main() -> ExitCode {
    ExitCode::from(podkeel_shim::cli::run(std::env::args_os(), CARRIED) as u8)
}
