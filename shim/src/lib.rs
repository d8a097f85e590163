//! Pods from nothing but a kernel.
//!
//! ```text
//!   cli ──► verb ──► base      pause, its namespaces, their pins, its networks
//!            │       member    a process that joined; monitor: its parent
//!            │       bundle    a container of runc or crun that joined
//!            │         │
//!            │       join      which namespaces ──► enter ──► inside ──► exec
//!            │       record    one file a container: intent first, claim, state
//!            │       alive     recorded processes, held by pidfds
//!            │       process   the only unsafe: clone, exec, exit
//!            │
//!            └────► podkeel-netsetup   networks and pins; netlink is never seen here
//! ```

pub mod alive;
pub mod base;
pub mod bundle;
pub mod cli;
pub mod enter;
pub mod foreground;
pub mod inside;
pub mod join;
pub mod log;
pub mod member;
pub mod monitor;
pub mod ns;
pub mod process;
pub mod record;
pub mod shm;
pub mod sysctl;
pub mod user;
pub mod verb;

use nix::sys::signal::SigSet;
use podkeel_netsetup::verbs::Context;

/// What every verb needs to know.
#[derive(Debug)]
pub struct Shim {
    /// Where state lives; and netsetup's own context.
    pub context: Context,
    /// Which boot this is.
    pub boot: String,
    /// The signal mask that shim was started with: programs get it back.
    pub mask: SigSet,
    /// The pause that shim carries.
    pub pause: &'static [u8],
    /// The monitor that shim carries.
    pub monitor: &'static [u8],
}

/// The programs that shim carries inside: one file is enough.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// The first process of a base.
    pub pause: &'static [u8],
    /// The parent of a detached member.
    pub monitor: &'static [u8],
    /// pause for images, by the architecture's name in images.
    pub pauses: &'static [(&'static str, &'static [u8])],
    /// What this build is.
    pub build: Build,
}

/// What a build of shim is made of.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The version, and that of the pauses.
    pub version: &'static str,
    /// The commit, or nothing where the build didn't know it.
    pub commit: &'static str,
    /// The compiler, as it names itself.
    pub compiler: &'static str,
}
