//! The drivers, each from explain to del: what it says it will do, what
//! is there then, who reaches whom, what check finds when somebody has changed it, and
//! that nothing is left.
//!
//! Links of kinds that not every kernel has are asked for first ([`bed::needs`]). Tests of
//! kinds that come as modules are called `vm_...`: tests/vm runs them on Debian's Linux 5.10 and
//! 6.12, which have all of them; everywhere else they are counted as ignored.

#[path = "../common/mod.rs"]
mod common;

#[path = "../common/by_hand.rs"]
mod by_hand;

mod again;
mod bed;
mod bond;
#[path = "../cni/call.rs"]
#[allow(dead_code, reason = "the tests of plugins use all of it")]
mod call;
mod called;
mod each;
mod hands;
mod host_device;
mod macvlan;
mod map;
mod modules;
mod neighbours;
mod pci;
mod place;
mod plugin;
mod tap;
mod vanished;
mod vm;
mod vxlan;
mod walkthrough;
mod whole;
