//! shim: pods from nothing but a kernel. See the library, podkeel-shim.

use std::process::ExitCode;

/// The pause of this build, so that one file is enough.
static PAUSE: &[u8] = include_bytes!(env!("PODKEEL_PAUSE"));

fn main() -> ExitCode {
    ExitCode::from(podkeel_shim::cli::run(std::env::args_os(), PAUSE) as u8)
}
