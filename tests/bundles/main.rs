//! Pods of real OCI bundles: with a base of the runtime's own, and with one of shim's.

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod join;
mod killed;
mod life;
mod pods;
mod refused;
