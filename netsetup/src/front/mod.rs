//! The ways to call netsetup.

pub mod cli;
pub mod oci;
pub mod result;
mod show;
