//! Switches of IPv4 and IPv6 that are sysctls below net.ipv4.conf and net.ipv6.conf, too.
//! Sources: linux/netconf.h, linux/ip.h, linux/ipv6.h; IFLA_AF_SPEC of linux/if_link.h.

use linux_raw_sys::net::{DEVCONF_ACCEPT_RA, IPV4_DEVCONF_ROUTE_LOCALNET};
use linux_raw_sys::netlink::{
    IFLA_INET_CONF, IFLA_INET6_ADDR_GEN_MODE, IFLA_INET6_CONF, RTM_GETNETCONF, RTM_NEWNETCONF,
    in6_addr_gen_mode,
};

use super::REQUEST;
use crate::read::u32_of;
use crate::write::Msg;
use crate::{Attrs, Batch, Message, attrs};

/// Attributes of linux/netconf.h, and the index that stands for net.FAMILY.conf.all.
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_FORWARDING: u16 = 2;
const NETCONFA_IFINDEX_ALL: u32 = u32::MAX;
/// Bytes of struct netconfmsg: the family, padded.
const NETCONFMSG: usize = 4;

const AF_INET: u16 = libc::AF_INET as u16;
const AF_INET6: u16 = libc::AF_INET6 as u16;

/// What a link's message says of its sysctls; `None` where it says nothing, as of a family
/// that the link or the kernel doesn't have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// net.ipv4.conf.LINK.route_localnet.
    pub route_localnet: Option<u32>,
    /// net.ipv6.conf.LINK.accept_ra.
    pub accept_ra: Option<u32>,
    /// Whether it makes itself no link-local address (net.ipv6.conf.LINK.addr_gen_mode is 1).
    pub no_link_local: Option<bool>,
}

impl Switches {
    /// Reads IFLA_AF_SPEC of a link: for each family an array of numbers.
    pub(super) fn read(families: &Attrs<'_>) -> Switches {
        let array = |family, kind| {
            let array = families.find(family).and_then(|family| attrs(family).find(kind));
            move |at: usize| u32_of(array?.get(4 * at..)?)
        };
        let v4 = array(AF_INET, IFLA_INET_CONF as u16);
        let v6 = array(AF_INET6, IFLA_INET6_CONF as u16);
        Switches {
            // Those of IPv4 are counted from 1.
            route_localnet: v4(IPV4_DEVCONF_ROUTE_LOCALNET as usize - 1),
            accept_ra: v6(DEVCONF_ACCEPT_RA as usize),
            no_link_local: families
                .find(AF_INET6)
                .and_then(|family| attrs(family).find(IFLA_INET6_ADDR_GEN_MODE as u16))
                .and_then(|mode| mode.first())
                .map(|mode| *mode == ADDR_GEN_NONE),
        }
    }
}

const ADDR_GEN_NONE: u8 = in6_addr_gen_mode::IN6_ADDR_GEN_MODE_NONE as u8;

/// Writes, into IFLA_AF_SPEC, that a link makes itself no link-local address.
pub(super) fn no_link_local(m: &mut Msg<'_>) {
    m.nest(AF_INET6, |m| m.u8(IFLA_INET6_ADDR_GEN_MODE as u16, ADDR_GEN_NONE));
}

/// Appends a question for net.ipv4.ip_forward (AF_INET) or net.ipv6.conf.all.forwarding
/// (AF_INET6). EOPNOTSUPP where the kernel runs without the family.
pub fn get_forwarding(batch: &mut Batch, family: i32) -> u32 {
    batch.add(RTM_GETNETCONF as u16, REQUEST, |m| {
        m.body(&[family as u8]);
        m.u32(NETCONFA_IFINDEX, NETCONFA_IFINDEX_ALL);
    })
}

/// The answer to [`get_forwarding`].
pub fn read_forwarding(message: &Message<'_>) -> Option<u32> {
    let is_answer = message.kind == RTM_NEWNETCONF as u16;
    is_answer.then(|| message.attrs(NETCONFMSG).find(NETCONFA_FORWARDING).and_then(u32_of))?
}
