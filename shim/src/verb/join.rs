//! `shim join`: a program in the namespaces of others.

use crate::enter::Refused;
use crate::member::{self, Wish};
use crate::{Shim, foreground};

/// Runs it. Returns the exit code.
pub fn join(shim: &Shim, wish: &Wish) -> Result<i32, Refused> {
    // A signal that comes during the start is kept, and gets to the program.
    foreground::hold_signals().map_err(|e| Refused::own(&e))?;
    member::run(shim, wish)
}
