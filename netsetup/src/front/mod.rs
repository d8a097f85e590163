//! The ways to call netsetup.

pub mod cli;
mod ns;
pub mod oci;
pub mod result;
mod show;
