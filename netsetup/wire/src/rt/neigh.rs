//! Neighbours: which link-layer address an address has, and for a VXLAN tunnel end which
//! host a link-layer address is at. Sources: rtnetlink(7), linux/neighbour.h, bridge(8).

use std::net::IpAddr;

use linux_raw_sys::netlink as raw;

use super::{CREATE, DUMP, family, ip_attr};
use crate::read::{ip_of, u32_of};
use crate::{Batch, Message};

const NDMSG: usize = size_of::<raw::ndmsg>();
const DST: u16 = raw::NDA_DST as u16;
const LLADDR: u16 = raw::NDA_LLADDR as u16;
/// linux/neighbour.h: NUD_NOARP, NUD_PERMANENT, NTF_SELF.
const NOARP: u16 = 0x40;
const PERMANENT: u16 = 0x80;
const SELF: u8 = 0x02;

/// An entry that stays until somebody removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neigh {
    /// Index of the link.
    pub index: u32,
    /// The link-layer address.
    pub mac: [u8; 6],
    /// Who has it: a neighbour's address, or in a forwarding table the other tunnel end's.
    pub ip: IpAddr,
    /// Whether it is of the link's forwarding table (`bridge fdb`), not a neighbour (`ip neigh`).
    pub fdb: bool,
}

/// Appends an RTM_NEWNEIGH that fails with EEXIST where there is an entry already.
pub fn new_neigh(batch: &mut Batch, neigh: &Neigh) -> u32 {
    let (family, state, flags) = match neigh.fdb {
        true => (libc::AF_BRIDGE as u8, PERMANENT | NOARP, SELF),
        false => (family(neigh.ip), PERMANENT, 0),
    };
    batch.add(libc::RTM_NEWNEIGH, CREATE, |m| {
        m.body(&ndmsg(family, neigh.index, state, flags));
        ip_attr(m, DST, neigh.ip);
        m.attr(LLADDR, &neigh.mac);
    })
}

/// Appends a dump of a family's neighbours; of AF_BRIDGE: of all forwarding tables.
pub fn dump_neighs(batch: &mut Batch, family: u8) -> u32 {
    batch.add(libc::RTM_GETNEIGH, DUMP, |m| m.body(&ndmsg(family, 0, 0, 0)))
}

fn ndmsg(family: u8, index: u32, state: u16, flags: u8) -> [u8; NDMSG] {
    let [a, b, c, d] = index.to_ne_bytes();
    let [e, g] = state.to_ne_bytes();
    [family, 0, 0, 0, a, b, c, d, e, g, flags, 0]
}

impl Neigh {
    /// Reads a message, if it is an RTM_NEWNEIGH of an entry that stays.
    pub fn read(message: &Message<'_>) -> Option<Neigh> {
        if message.kind != libc::RTM_NEWNEIGH {
            return None;
        }
        let body = message.body;
        let state = u16::from_ne_bytes(*body.get(8..)?.first_chunk()?);
        let attrs = message.attrs(NDMSG);
        let neigh = Neigh {
            index: u32_of(body.get(4..)?)?,
            mac: attrs.find(LLADDR)?.try_into().ok()?,
            ip: attrs.find(DST).and_then(ip_of)?,
            fdb: *body.first()? == libc::AF_BRIDGE as u8,
        };
        (state & PERMANENT != 0).then_some(neigh)
    }
}
