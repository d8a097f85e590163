//! The kernel's side: sockets of one network namespace each, and the few
//! questions that plans and verbs put to them.
//!
//! ```text
//!   Netns ── visit ──► in that namespace for a moment, to open sockets and
//!                      files; they stay bound to it
//!   Ns ── a namespace of any kind; Census: which processes are in which
//!   cookie ── by which a network namespace is known for good
//!   Socket ── exchange(batch) ──► one send, the answers, in order
//!   rtnl, nft, sysctl ── find and change one kind of object each
//!   conntrack ── flows that are to be forgotten
//!   tap ── a link whose other end is a program
//!   apart ── what would take long is another process's
//!   announce ── neighbours are told who has an address now
//!   guard ── what link-layer addresses a pod may send from
//!   forward ── accepts in iptables' table, where it drops
//!   reference ── rules of a pod that the reference plugins have made
//!   set_mark ── what a chain of iptables does to a packet's mark
//! ```

pub mod announce;
pub mod apart;
pub mod conntrack;
mod cookie;
pub mod forward;
pub mod guard;
pub mod netns;
pub mod nft;
pub mod ns;
pub mod reference;
pub mod rtnl;
pub mod ruleset;
pub mod set_mark;
pub mod socket;
mod sys;
pub mod sysctl;
pub mod tap;

pub use netns::{Netns, NetnsId};
pub use nft::Nft;
pub use ns::{Ns, NsId, NsKind};
pub use rtnl::Rtnl;
