//! pause as an init: beside tini, dumb-init and catatonit, under docker and podman, and by
//! itself.

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod crossed;
mod engines;
mod filters;
mod own;
