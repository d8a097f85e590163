//! conntrack: flows listed and deleted.
//! Sources: linux/netfilter/nfnetlink_conntrack.h, nfnetlink.h.

use std::net::IpAddr;

use crate::nf::{DUMP, GENMSG, REQUEST, genmsg};
use crate::read::ip_of;
use crate::{Attrs, Batch, Message, attrs};

pub(crate) const CTA_TUPLE_ORIG: u16 = 1;
pub(crate) const CTA_TUPLE_REPLY: u16 = 2;
pub(crate) const CTA_ID: u16 = 12;
pub(crate) const CTA_ZONE: u16 = 18;
pub(crate) const CTA_TUPLE_IP: u16 = 1;
pub(crate) const CTA_TUPLE_PROTO: u16 = 2;
pub(crate) const CTA_IP_V4_SRC: u16 = 1;
pub(crate) const CTA_IP_V4_DST: u16 = 2;
pub(crate) const CTA_IP_V6_SRC: u16 = 3;
pub(crate) const CTA_IP_V6_DST: u16 = 4;
pub(crate) const CTA_PROTO_NUM: u16 = 1;
pub(crate) const CTA_PROTO_SRC_PORT: u16 = 2;
pub(crate) const CTA_PROTO_DST_PORT: u16 = 3;
/// enum cntl_msg_types.
pub(crate) const IPCTNL_MSG_CT_NEW: u16 = 0;
pub(crate) const IPCTNL_MSG_CT_GET: u16 = 1;
pub(crate) const IPCTNL_MSG_CT_DELETE: u16 = 2;

/// The type number of a ctnetlink message.
const fn kind(message: u16) -> u16 {
    ((libc::NFNL_SUBSYS_CTNETLINK as u16) << 8) | message
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source address and port; port 0 where the protocol has none.
    pub from: (IpAddr, u16),
    /// Destination address and port.
    pub to: (IpAddr, u16),
    /// IPPROTO_*.
    pub proto: u8,
}

/// A flow that conntrack knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As the first packet had it.
    pub original: Tuple,
    /// As answers have it: who really answers is its source.
    pub reply: Tuple,
    family: u8,
    /// What names it to the kernel, as it came: the original tuple, zone and id.
    name: [Option<Vec<u8>>; 3],
}

/// The attributes that name a flow.
const NAME: [u16; 3] = [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID];

/// Asks for all flows of a family, AF_INET or AF_INET6.
pub fn dump(batch: &mut Batch, family: i32) -> u32 {
    batch.add(kind(IPCTNL_MSG_CT_GET), DUMP, |m| m.body(&genmsg(family as u8, 0)))
}

impl Flow {
    /// Reads a message, if it is a flow of a protocol that has ports.
    pub fn read(message: &Message<'_>) -> Option<Flow> {
        if message.kind != kind(IPCTNL_MSG_CT_NEW) {
            return None;
        }
        let all = message.attrs(GENMSG);
        Some(Flow {
            original: tuple(&all, CTA_TUPLE_ORIG)?,
            reply: tuple(&all, CTA_TUPLE_REPLY)?,
            family: *message.body.first()?,
            name: NAME.map(|kind| all.find(kind).map(<[u8]>::to_vec)),
        })
    }

    /// Deletes it; ENOENT where it is gone, or another by now (it has an id).
    pub fn delete(&self, batch: &mut Batch) -> u32 {
        batch.add(kind(IPCTNL_MSG_CT_DELETE), REQUEST, |m| {
            m.body(&genmsg(self.family, 0));
            for (kind, bytes) in NAME.iter().zip(&self.name) {
                let nested = if *kind == CTA_TUPLE_ORIG { libc::NLA_F_NESTED as u16 } else { 0 };
                if let Some(bytes) = bytes {
                    m.attr(kind | nested, bytes);
                }
            }
        })
    }
}

fn tuple(all: &Attrs<'_>, which: u16) -> Option<Tuple> {
    let tuple = attrs(all.find(which)?);
    let (ip, proto) = (attrs(tuple.find(CTA_TUPLE_IP)?), attrs(tuple.find(CTA_TUPLE_PROTO)?));
    let addr = |v4, v6| ip.find(v4).or_else(|| ip.find(v6)).and_then(ip_of);
    let port =
        |kind| proto.find(kind).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b));
    Some(Tuple {
        from: (addr(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?, port(CTA_PROTO_SRC_PORT)),
        to: (addr(CTA_IP_V4_DST, CTA_IP_V6_DST)?, port(CTA_PROTO_DST_PORT)),
        proto: *proto.find(CTA_PROTO_NUM)?.first()?,
    })
}
