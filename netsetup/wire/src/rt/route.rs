//! Routes.

use std::net::IpAddr;

use linux_raw_sys::netlink as raw;

use super::{CREATE, DUMP, PROTOCOL, REQUEST, family, ip_attr};
use crate::read::{attrs as attrs_of, ip_of, u32_of};
use crate::{Batch, Message, Msg};

const RTMSG: usize = size_of::<raw::rtmsg>();

/// linux/rtnetlink.h: kinds of what is in RTA_METRICS.
const RTAX_MTU: u16 = 2;
const RTAX_ADVMSS: u16 = 8;

/// A unicast route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Destination and its prefix length; a default route is the unspecified address with 0.
    pub dst: (IpAddr, u8),
    /// Next hop; without one the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Index of the link.
    pub oif: u32,
    /// Metric.
    pub priority: Option<u32>,
    /// RTAX_MTU, bytes.
    pub mtu: Option<u32>,
    /// RTAX_ADVMSS, bytes.
    pub advmss: Option<u32>,
    /// The table; `None` = main.
    pub table: Option<u32>,
    /// RT_SCOPE_*; `None` = by whether there is a next hop.
    pub scope: Option<u8>,
    /// RTNH_F_ONLINK: the next hop is on the link, whatever the link's addresses say.
    pub onlink: bool,
}

impl Route {
    /// A route of the main table of which only this much is said.
    pub fn new(dst: (IpAddr, u8), gateway: Option<IpAddr>, oif: u32) -> Route {
        Route {
            dst,
            gateway,
            oif,
            priority: None,
            mtu: None,
            advmss: None,
            table: None,
            scope: None,
            onlink: false,
        }
    }
}

/// Appends an RTM_NEWROUTE that fails with EEXIST where the route is already.
pub fn new_route(batch: &mut Batch, route: &Route) -> u32 {
    batch.add(libc::RTM_NEWROUTE, CREATE, |m| route_body(m, route))
}

/// Appends an RTM_DELROUTE; only a route with our [`PROTOCOL`] matches.
pub fn del_route(batch: &mut Batch, route: &Route) -> u32 {
    batch.add(libc::RTM_DELROUTE, REQUEST, |m| route_body(m, route))
}

/// Appends a dump of the routes of one family (AF_INET, AF_INET6).
pub fn dump_routes(batch: &mut Batch, family: u8) -> u32 {
    let mut body = [0; RTMSG];
    body[0] = family;
    batch.add(libc::RTM_GETROUTE, DUMP, |m| m.body(&body))
}

fn route_body(m: &mut Msg<'_>, route: &Route) {
    let (dst, prefix) = route.dst;
    let usual = if route.gateway.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
    let scope = route.scope.unwrap_or(usual);
    let number = route.table.unwrap_or(libc::RT_TABLE_MAIN.into());
    // A number that the byte can't hold stands in the attribute alone.
    let table = u8::try_from(number).unwrap_or(libc::RT_TABLE_UNSPEC);
    let mut body =
        [family(dst), prefix, 0, 0, table, PROTOCOL, scope, libc::RTN_UNICAST, 0, 0, 0, 0];
    if route.onlink {
        body[8..12].copy_from_slice(&raw::RTNH_F_ONLINK.to_ne_bytes());
    }
    if dst.is_ipv6() {
        body[6] = libc::RT_SCOPE_UNIVERSE; // IPv6 knows no other
    }
    m.body(&body);
    if prefix > 0 {
        ip_attr(m, libc::RTA_DST, dst);
    }
    if let Some(gateway) = route.gateway {
        ip_attr(m, libc::RTA_GATEWAY, gateway);
    }
    m.u32(libc::RTA_OIF, route.oif);
    if let Some(priority) = route.priority {
        m.u32(libc::RTA_PRIORITY, priority);
    }
    if table == libc::RT_TABLE_UNSPEC {
        m.u32(libc::RTA_TABLE, number);
    }
    if route.mtu.is_some() || route.advmss.is_some() {
        m.nest(libc::RTA_METRICS, |m| {
            for (kind, bytes) in [(RTAX_MTU, route.mtu), (RTAX_ADVMSS, route.advmss)] {
                if let Some(bytes) = bytes {
                    m.u32(kind, bytes);
                }
            }
        });
    }
}

/// What an RTM_NEWROUTE of the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// Destination and its prefix length.
    pub dst: (IpAddr, u8),
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// Index of the link.
    pub oif: Option<u32>,
    /// RT_TABLE_MAIN, RT_TABLE_LOCAL, ...
    pub table: u32,
    /// Who made it: RTPROT_KERNEL, RTPROT_RA, ours.
    pub protocol: u8,
    /// RTN_UNICAST, RTN_BLACKHOLE, ...
    pub kind: u8,
    /// RT_SCOPE_*; IPv6 knows RT_SCOPE_UNIVERSE alone.
    pub scope: u8,
    /// Metric.
    pub priority: u32,
    /// RTAX_MTU, bytes.
    pub mtu: Option<u32>,
    /// RTAX_ADVMSS, bytes.
    pub advmss: Option<u32>,
}

impl RouteInfo {
    /// Reads a message, if it is an RTM_NEWROUTE of IPv4 or IPv6.
    pub fn read(message: &Message<'_>) -> Option<RouteInfo> {
        if message.kind != libc::RTM_NEWROUTE {
            return None;
        }
        let attrs = message.attrs(RTMSG);
        let body = message.body;
        let any = match i32::from(*body.first()?) {
            libc::AF_INET => IpAddr::from([0u8; 4]),
            libc::AF_INET6 => IpAddr::from([0u8; 16]),
            _ => return None,
        };
        let table = attrs.find(libc::RTA_TABLE).and_then(u32_of);
        let metrics = attrs.find(libc::RTA_METRICS).unwrap_or_default();
        let metric = |kind| attrs_of(metrics).find(kind).and_then(u32_of);
        Some(RouteInfo {
            dst: (attrs.find(libc::RTA_DST).and_then(ip_of).unwrap_or(any), *body.get(1)?),
            gateway: attrs.find(libc::RTA_GATEWAY).and_then(ip_of),
            oif: attrs.find(libc::RTA_OIF).and_then(u32_of),
            table: table.unwrap_or(u32::from(*body.get(4)?)),
            protocol: *body.get(5)?,
            kind: *body.get(7)?,
            scope: *body.get(6)?,
            priority: attrs.find(libc::RTA_PRIORITY).and_then(u32_of).unwrap_or(0),
            mtu: metric(RTAX_MTU),
            advmss: metric(RTAX_ADVMSS),
        })
    }
}
