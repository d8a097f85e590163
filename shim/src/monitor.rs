//! The parent of a detached container: it waits, and writes down how that one ended.
//!
//! The container writes its log itself, so a monitor that is killed takes nothing with
//! it but the exit status: the container then belongs to the host's init, which reaps it.

use podkeel_netsetup::error::Result;

use crate::process::Child;
use crate::record::Held;
use crate::{Shim, member};

/// Stays until the container has ended. Returns the monitor's own exit code.
pub fn stay(shim: &Shim, held: Held, child: Child, remove: bool) -> i32 {
    let (name, id) = (held.container.name.clone(), held.container.id.clone());
    let Ok(dir) = member::open_dir(shim, &held.container) else { return 1 };
    drop(held);
    match settle(shim, child, remove.then_some(name.as_str()), &id, &dir) {
        Ok(()) => 0,
        // Nobody is there to read why.
        Err(_) => 1,
    }
}

fn settle(
    shim: &Shim,
    child: Child,
    remove: Option<&str>,
    id: &str,
    dir: &std::fs::File,
) -> Result<()> {
    let _ = nix::unistd::setsid();
    let _ = std::env::set_current_dir("/");
    leave_outputs();
    let (code, signal) = crate::foreground::attend(child)?;
    match remove {
        Some(name) => member::remove(shim, name, id),
        None => member::write_exit(dir, id, code, signal),
    }
}

/// Callers wait for the end of their pipes.
fn leave_outputs() {
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
