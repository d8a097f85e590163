//! A pod's network as a plan of kernel objects: add, check, del, rollback, gc
//! and explain from one description.
//!
//! ```text
//!            front     cli: flags     oci: state on stdin     cni: a plugin's call
//!              │
//!            verbs     add  del  check  explain  gc  map  ns ──► pins: namespaces under names
//!              │         and what runtimes ask of plugins
//!              │         │
//!   conf ──► driver ─┐   │ record ──► disk (podkeel-keep)
//!   request  meta   ─┼─► plan: [Step]
//!   facts ─────────► ┘   │
//!                      kernel: sockets of one namespace each (podkeel-wire: bytes)
//! ```
//!
//! Called as a library, nothing of the caller changes: threads that enter a
//! namespace end before the call returns, and no file descriptor survives into
//! the caller's children.

pub mod conf;
pub mod driver;
pub mod error;
pub mod facts;
pub mod front;
pub mod ipam;
pub mod kernel;
pub mod meta;
pub mod names;
pub mod pins;
pub mod plan;
mod ports;
pub mod record;
pub mod request;
pub mod result;
pub mod roots;
pub mod verbs;

pub use error::{Error, Kind, Result};
