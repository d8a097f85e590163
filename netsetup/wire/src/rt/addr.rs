//! Addresses. Sources: rtnetlink(7), linux/if_addr.h.

use std::net::IpAddr;

use linux_raw_sys::netlink as raw;

use super::{CREATE, DUMP, PROTOCOL, REQUEST, family, ip_attr};
use crate::read::{ip_of, u32_of};
use crate::{Batch, Message, Msg};

const IFADDRMSG: usize = size_of::<raw::ifaddrmsg>();

/// An address on a link.
#[derive(Clone, Copy, Debug)]
pub struct Addr {
    /// Index of the link.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of its subnet's prefix.
    pub prefix: u8,
    /// IPv4: the broadcast address.
    pub broadcast: Option<std::net::Ipv4Addr>,
    /// IPv6: in use at once, without duplicate address detection.
    pub nodad: bool,
    /// The kernel makes no route to its subnet.
    pub no_route: bool,
}

/// Appends an RTM_NEWADDR that fails with EEXIST where the address is already.
pub fn new_addr(batch: &mut Batch, addr: &Addr) -> u32 {
    batch.add(libc::RTM_NEWADDR, CREATE, |m| addr_body(m, addr, true))
}

/// Appends an RTM_DELADDR.
pub fn del_addr(batch: &mut Batch, addr: &Addr) -> u32 {
    batch.add(libc::RTM_DELADDR, REQUEST, |m| addr_body(m, addr, false))
}

/// Appends a dump of the addresses of one link (0 = of all). The kernel keeps
/// to the index only on a socket with NETLINK_GET_STRICT_CHK.
pub fn dump_addrs(batch: &mut Batch, index: u32) -> u32 {
    batch.add(libc::RTM_GETADDR, DUMP, |m| m.body(&ifaddr(0, 0, 0, index)))
}

fn addr_body(m: &mut Msg<'_>, addr: &Addr, make: bool) {
    let flags = if addr.nodad && addr.ip.is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
    m.body(&ifaddr(family(addr.ip), addr.prefix, flags, addr.index));
    ip_attr(m, libc::IFA_LOCAL, addr.ip);
    ip_attr(m, libc::IFA_ADDRESS, addr.ip);
    if addr.no_route {
        // The flag has no place in the header's byte.
        m.u32(libc::IFA_FLAGS, u32::from(flags) | libc::IFA_F_NOPREFIXROUTE);
    }
    if let Some(broadcast) = addr.broadcast {
        m.attr(libc::IFA_BROADCAST, &broadcast.octets());
    }
    if make {
        // Older than 5.18, the kernel skips what it doesn't know.
        m.u8(raw::IFA_PROTO as u16, PROTOCOL);
    }
}

fn ifaddr(family: u8, prefix: u8, flags: u8, index: u32) -> [u8; IFADDRMSG] {
    let [a, b, c, d] = index.to_ne_bytes();
    [family, prefix, flags, libc::RT_SCOPE_UNIVERSE, a, b, c, d]
}

/// What an RTM_NEWADDR of the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrInfo {
    /// Index of the link.
    pub index: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of its subnet's prefix.
    pub prefix: u8,
    /// IFA_PROTO, from 5.18 on.
    pub proto: Option<u8>,
    /// RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, ...
    pub scope: u8,
    /// IFA_F_TENTATIVE and the like.
    pub flags: u32,
}

impl AddrInfo {
    /// Reads a message, if it is an RTM_NEWADDR with an address.
    pub fn read(message: &Message<'_>) -> Option<AddrInfo> {
        if message.kind != libc::RTM_NEWADDR {
            return None;
        }
        let attrs = message.attrs(IFADDRMSG);
        let ip = attrs
            .find(libc::IFA_LOCAL)
            .or_else(|| attrs.find(libc::IFA_ADDRESS))
            .and_then(ip_of)?;
        Some(AddrInfo {
            index: u32_of(message.body.get(4..)?)?,
            ip,
            prefix: *message.body.get(1)?,
            proto: attrs.find(raw::IFA_PROTO as u16).and_then(|b| b.first().copied()),
            scope: *message.body.get(3)?,
            flags: attrs
                .find(libc::IFA_FLAGS)
                .and_then(u32_of)
                .unwrap_or(u32::from(*message.body.get(2)?)),
        })
    }
}
