//! The ids by which one network namespace knows others. Source: linux/net_namespace.h.

use super::{DUMP, REQUEST};
use crate::read::u32_of;
use crate::{Batch, Message};

const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// struct rtgenmsg: the family, AF_UNSPEC.
const RTGENMSG: [u8; 1] = [0];

/// Appends a dump of the ids that this namespace has given to others (RTM_GETNSID).
pub fn dump_nsids(batch: &mut Batch) -> u32 {
    batch.add(libc::RTM_GETNSID, DUMP, |m| m.body(&RTGENMSG))
}

/// Appends a question for the id that this namespace has given to one that is open.
pub fn get_nsid(batch: &mut Batch, netns: i32) -> u32 {
    batch.add(libc::RTM_GETNSID, REQUEST, |m| {
        m.body(&RTGENMSG);
        m.u32(NETNSA_FD, netns as u32);
    })
}

/// Appends an RTM_NEWNSID: EEXIST where the open namespace has an id in this one already,
/// or another has this id. There is no message that changes it or takes it away.
pub fn new_nsid(batch: &mut Batch, netns: i32, nsid: u32) -> u32 {
    batch.add(libc::RTM_NEWNSID, REQUEST, |m| {
        m.body(&RTGENMSG);
        m.u32(NETNSA_FD, netns as u32);
        m.u32(NETNSA_NSID, nsid);
    })
}

/// The id in an RTM_NEWNSID of the kernel; `None` too for -1, which says that there is none.
pub fn read_nsid(message: &Message<'_>) -> Option<u32> {
    let is = message.kind == libc::RTM_NEWNSID;
    let nsid = is.then(|| message.attrs(RTGENMSG.len()).find(NETNSA_NSID))?;
    nsid.and_then(u32_of).filter(|nsid| i32::try_from(*nsid).is_ok())
}
