//! netsetup: attaches pods to networks. See the library, podkeel-netsetup.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use dlmalloc::GlobalDlmalloc;
use podkeel_netsetup::front::{cli, cni};

/// A plugin lives for a few milliseconds: what it allocates comes in few large pieces from the
/// kernel, and none goes back before its end.
#[global_allocator]
static HEAP: GlobalDlmalloc = GlobalDlmalloc;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let code = match cni::asked_for(&args, &cni::Process) {
        Some(plugin) => {
            cni::run(plugin, &cni::Process, &mut io::stdin().lock(), &mut out, &mut err)
        }
        None => cli::run(args, &mut out, &mut err),
    };
    ExitCode::from(code as u8)
}
