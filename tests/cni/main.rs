//! netsetup as CNI plugins, called by name with a configuration on stdin, beside the
//! reference plugins where they can do the same (Debian's `containernetworking-plugins`).
//!
//! Worlds that need no privilege; judged by `ip`, `nft`, files and packets.

#[path = "../common/mod.rs"]
mod common;

#[path = "../common/by_hand.rs"]
mod by_hand;

mod bridge;
mod call;
mod chain;
mod delegate;
mod differ;
mod firewall;
mod foreign;
mod front;
mod gc;
mod guard;
mod ipam;
mod left;
mod newest;
mod side;
mod status;
mod terms;
