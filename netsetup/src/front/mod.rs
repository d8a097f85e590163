//! The ways to call netsetup.

pub mod cli;
mod ns;
pub mod cni;
pub mod install;
pub mod oci;
mod show;
