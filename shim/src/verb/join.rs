//! `shim join`: a program, or a bundle's container, in the namespaces of others.

use crate::enter::Refused;
use crate::{Shim, bundle, foreground, member};

/// What joins.
#[derive(Clone, Debug)]
pub enum Wish {
    /// A program of the host's.
    Program(member::Wish),
    /// A container of an OCI runtime.
    Bundle(bundle::Wish),
}

/// Runs it. Returns the exit code.
pub fn join(shim: &Shim, wish: &Wish) -> Result<i32, Refused> {
    // A signal that comes during the start is kept, and gets to the program.
    foreground::hold_signals().map_err(|e| Refused::own(&e))?;
    match wish {
        Wish::Program(wish) => member::run(shim, wish),
        Wish::Bundle(wish) => bundle::run(shim, wish),
    }
}
