//! netsetup as a hook of real runtimes: runc and crun, in worlds of their own.

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod failing;
mod life;
mod refused;
mod signals;
mod state;
mod wishes;
