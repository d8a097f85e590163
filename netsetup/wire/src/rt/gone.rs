//! Links that are to go, and what says that they are gone.

use super::{REQUEST, ifinfo};
use crate::read::u32_of;
use crate::{Batch, Message};

/// Appends an RTM_DELLINK by index.
pub fn del_link(batch: &mut Batch, index: u32) -> u32 {
    batch.add(libc::RTM_DELLINK, REQUEST, |m| m.body(&ifinfo(index, 0, 0)))
}

/// Appends an RTM_DELLINK of all links of a group. ENODEV where it has none; group 0 is
/// refused with EPERM.
pub fn del_group(batch: &mut Batch, group: u32) -> u32 {
    batch.add(libc::RTM_DELLINK, REQUEST, |m| {
        m.body(&ifinfo(0, 0, 0));
        m.u32(libc::IFLA_GROUP, group);
    })
}

/// The group of notifications about links: RTNLGRP_LINK of linux/rtnetlink.h.
pub const GROUP_LINK: u32 = 1;

/// The index of the link that a notification says is gone. A bridge's port that is none
/// any more (AF_BRIDGE) is still a link.
pub fn read_gone(message: &Message<'_>) -> Option<u32> {
    let is_link = message.body.first() == Some(&(libc::AF_UNSPEC as u8));
    let gone = message.kind == libc::RTM_DELLINK && is_link;
    gone.then(|| u32_of(message.body.get(4..)?)).flatten()
}
