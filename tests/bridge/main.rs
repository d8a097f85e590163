//! Pods on a bridge: what add makes, who reaches whom and is seen as whom, what check
//! finds, and that del leaves the host as it was.
//!
//! Judged by `ip`, `nft`, /proc/sys and real packets, in worlds that need no privilege.

#[path = "../common/mod.rs"]
mod common;

#[path = "../common/by_hand.rs"]
mod by_hand;

mod bed;
mod calls;
mod check;
mod knock;
mod localhost;
mod packets;
mod ports;
mod router;
mod show;
mod vlan;
mod wait;
mod whole;
