//! The ways to call netsetup.

pub mod cli;
pub mod cni;
pub mod install;
mod ns;
pub mod oci;
mod show;
