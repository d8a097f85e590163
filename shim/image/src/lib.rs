//! The infra image: pause as an OCI image that every engine takes as a pod's base.
//!
//! ```text
//!   pause ──► layer ──► platform ──┐
//!   (ELF)     one file   config +  ├─► image ──► layout    a folder, or the same as one archive
//!                        manifest  │     │       docker    docker's archive, of one platform
//!                        attest ───┘     │
//!                        SBOM,           ├─────► registry  push, and read what is there
//!                        provenance      └─────► engine    docker, podman, containerd load it
//! ```
//!
//! [`image::Image`] is all blobs in memory: a platform has about 7 KB of them. What it is made
//! from decides every byte (pause, name, date); nothing of the machine or of the moment goes in.
//!
//! A leaf crate, so that what it needs of HTTP, TLS and DNS stays out of netsetup.

#![forbid(unsafe_code)]

pub mod attest;
pub mod blob;
pub mod docker;
pub mod engine;
pub mod error;
pub mod image;
pub mod inspect;
pub mod layer;
pub mod layout;
pub mod name;
pub mod pause;
pub mod platform;
pub mod progress;
pub mod registry;
pub mod time;
mod unix;

pub use error::{Error, Kind, Result};
