//! The ways to call netsetup.

mod chain;
pub mod cli;
pub mod cni;
pub mod install;
mod ns;
pub mod oci;
mod show;
mod words;
