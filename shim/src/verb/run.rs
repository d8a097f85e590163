//! `shim run`: starts a base.

use std::sync::Arc;

use podkeel_netsetup::error::{Error, Kind, Result};

use crate::cli::Run;
use crate::record::Held;
use crate::{Shim, alive, base, foreground, process};

/// Starts it. Returns the exit code: 0, or pause's own where shim stays in the foreground.
pub fn run(shim: &Shim, wish: &Run) -> Result<i32> {
    // Until it runs, a signal rolls back; then it is for pause.
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        if process::ignored_at_start(signal) {
            continue;
        }
        let flag = Arc::clone(&shim.context.signal);
        signal_hook::flag::register_usize(signal, flag, signal as usize)
            .map_err(|e| Error::io(format!("catch signal {signal}"), &e))?;
    }
    let running = base::run(shim, &wish.base)?;
    for warning in &running.warnings {
        eprintln!("shim: warning: {warning}");
    }
    let name = &running.container.name;
    let Some(child) = running.child else {
        println!("{name}");
        return Ok(0);
    };
    if wish.detach {
        child.leave();
        println!("{name}");
        return Ok(0);
    }
    foreground::hold_signals()?;
    let (code, _) = match shim.context.go_on() {
        // An init passes on what comes; a pause that holds a pod heeds little of it.
        Ok(()) if !wish.base.command.is_empty() => foreground::attend(child)?,
        Ok(()) => foreground::attend_pause(child)?,
        // It came between the last look and the block.
        Err(_) => {
            let process = running.container.process;
            let living = process.map(alive::Living::find).transpose()?.flatten();
            living.map_or(Ok(()), |living| living.stop(base::GRACE))?;
            foreground::attend_pause(child)?
        }
    };
    match Held::open(&shim.context.roots, name) {
        Ok(held) if held.container.id == running.container.id => base::undo(shim, held)?,
        Ok(_) => {}
        Err(e) if e.kind == Kind::Missing => {}
        Err(e) => return Err(e),
    }
    Ok(code)
}
