//! netsetup as a hook of real runtimes: runc and crun, in worlds of their own.

#[path = "../common/mod.rs"]
mod common;

#[path = "../common/by_hand.rs"]
#[allow(dead_code, reason = "most goes by the hook here")]
mod by_hand;

mod bed;
mod failing;
mod kinds;
mod life;
mod refused;
mod signals;
mod state;
mod wishes;
