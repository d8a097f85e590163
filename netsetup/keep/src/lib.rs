//! Records on disk: who claimed a name, who is at work on it, what it says.
//!
//! ```text
//! <root>/<network>/<container>/eth0.json      a Record: one file, claimed, locked, replaced, removed
//! <root>/<network>/<container>/.eth0.json.tmp its next content, for the moment before rename(2)
//! <root>/<key>/<holder> -> target             Holders: who still needs the thing called key
//! <dir>/<name>                                claim: the file name is the claim, its bytes are complete
//! ```
//!
//! # Theory
//!
//! - **The name is the claim.** A file is finished first, without a name
//!   (O_TMPFILE), and then linked; link(2) fails with EEXIST if the name is
//!   taken. Whoever sees the name sees all bytes, and a killed process leaves
//!   nothing. Where the file system has no O_TMPFILE, or /proc isn't mounted, a
//!   temporary file with a name and renameat2(RENAME_NOREPLACE) do the same.
//! - **The flock is "somebody is at work".** A record is locked before it becomes
//!   visible, and the lock moves on to the new file at every replacement. The
//!   kernel drops it when the process dies: a lock that can be had, on a record
//!   that says "unfinished", proves that its maker is gone.
//! - **A lock counts only on the file that has the name.** After flock(2) the file
//!   is compared with what the path leads to now; another one means: try again.
//! - **A temporary file has one name per target**, `.NAME.tmp`, and is written,
//!   renamed or unlinked only under its own flock. What a killed process left is
//!   overwritten by the next one, so it can't pile up and can't be mistaken.
//! - **Nothing is synced.** What is kept dies with the boot: after a power cut a
//!   file may be empty or torn, and so neither may ever block anything. Reading
//!   returns the bytes that are there; the caller decides what they mean.
//!
//! All descriptors are O_CLOEXEC. A child made by fork(2) without exec keeps the
//! locks of its parent until it exits. Modes are subject to the caller's umask.

#![forbid(unsafe_code)]

mod claim;
mod dir;
mod error;
mod holders;
mod list;
mod lock;
mod name;
mod record;
#[cfg(test)]
mod testdir;

pub use claim::{Modes, claim, overwrite, remove_if, replace};
pub use error::{Error, Result};
pub use holders::{hold, holders, holders_of_file, keys, release, release_file};
pub use list::{list, sweep, sweep_temps};
pub use lock::{Lock, Wait};
pub use name::{file_name, fnv1a64};
pub use record::Record;
