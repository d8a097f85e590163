//! A router that advertises itself: one ICMPv6 message, as radvd would send it.

use std::net::{Ipv6Addr, SocketAddrV6};

use super::netns::{Ns, in_netns};
use super::raw::icmp6_socket;

/// Sends one router advertisement (RFC 4861, 4.2) from `link` of `ns` to all nodes
/// there: "I am a default router for `lifetime` seconds"; 0 takes that back.
///
/// The kernel fills in the checksum (RFC 3542, 3.1) and takes the link-local address of
/// `link` as the source, which receivers ask for, as they do for a hop limit of 255.
pub fn advertise(ns: &Ns, link: &str, lifetime: u16) {
    const ROUTER_ADVERTISEMENT: u8 = 134;
    let mut message = [0; 16];
    message[0] = ROUTER_ADVERTISEMENT;
    message[4] = 64; // hop limit that hosts are to use
    message[6..8].copy_from_slice(&lifetime.to_be_bytes());
    let index = ns.sh_json(&format!("ip -j link show dev {link}"))[0]["ifindex"].take();
    let index = serde_json::from_value(index).unwrap_or_else(|e| panic!("index of {link}: {e}"));
    let all_nodes = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index);
    in_netns(ns, || {
        let socket = icmp6_socket().expect("a raw ICMPv6 socket");
        socket.send_to(&message, all_nodes).expect("send a router advertisement");
    });
}
