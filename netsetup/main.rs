//! netsetup: attaches pods to networks. See the library, podkeel-netsetup.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let code = podkeel_netsetup::front::cli::run(
        std::env::args_os(),
        &mut io::stdout(),
        &mut io::stderr(),
    );
    ExitCode::from(code as u8)
}
