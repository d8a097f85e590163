//! Pods from nothing but a kernel.
//!
//! ```text
//!   cli ──► verb ──► process   the only unsafe: clone, exec
//!            │
//!            └────► podkeel-netsetup   networks; netlink is never seen here
//! ```

pub mod cli;
pub mod process;
pub mod verb;
