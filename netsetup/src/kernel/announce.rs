//! Neighbours are told who has an address now: a gratuitous ARP reply's sibling for IPv4
//! (RFC 5227, 2.3: an ARP request for one's own address), an unsolicited neighbour
//! advertisement for IPv6 (RFC 4861, 7.2.6).
//!
//! The kernel would do it itself with arp_notify and ndisc_notify, but when a link goes
//! up, which for a veth on a bridge is before the bridge's port passes anything on, and for
//! IPv6 not at all where duplicate address detection is off. Two frames need no sysctl,
//! and say the same on every kernel.
//!
//! A packet socket costs nothing to open, but when it is closed the kernel waits until no
//! CPU looks at it any more: 3 to 70 ms. So a process of its own sends, and closes, and
//! nobody waits for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Netns, Nft, sys};

/// Who has which addresses.
#[derive(Debug)]
pub struct Announcement {
    /// Index of the link that neighbours are told over.
    pub index: u32,
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// What is there now.
    pub addresses: Vec<IpAddr>,
}

/// Has one frame sent for each address over links of a network namespace, [`SOON`]. Where that
/// can't be done, nobody hears of it: the neighbours will ask. Where a process waits for
/// nftables anyway, that one does it. It also is the last to close a file that is `slow` to
/// close.
///
/// Until what is returned is dropped, that process may have the caller's files open, too.
pub fn send(
    netns: BorrowedFd<'_>,
    told: &[Announcement],
    slow: Option<BorrowedFd<'_>>,
    nft: Option<&mut Nft>,
) -> Option<impl Sized + use<>> {
    let frames: Vec<(u32, Vec<u8>)> = told
        .iter()
        .flat_map(|told| told.addresses.iter().map(move |ip| (told.index, frame(told.mac, ip))))
        .collect();
    if frames.is_empty() {
        return None;
    }
    let home = Netns::own().ok()?;
    let enter = |netns| move_into_link_name_space(netns, Some(LinkNameSpaceType::Network));
    let job = move |files: &'static [BorrowedFd<'static>]| {
        let _ = poll(&mut [], Some(&SOON));
        if enter(files[0]).is_err() {
            return;
        }
        let (family, kind) = (AddressFamily::PACKET, SocketType::RAW);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None);
        // Whoever counts the pod's processes must not count this one while it closes.
        let _ = enter(files[1]);
        let Ok(socket) = socket else { return };
        for (index, frame) in &frames {
            let _ = sys::send_frame(socket.as_fd(), *index, frame);
        }
    };
    let mut keep = vec![netns, home.as_fd()];
    keep.extend(slow);
    match nft {
        Some(nft) if nft.waits() => {
            nft.close_apart(&keep, job);
            None
        }
        _ => sys::apart(&keep, job).ok(),
    }
}

/// How long the frames wait. A bridge hands them to each of its ports, 2 ms of a CPU with 400 pods,
/// in which nothing else is done on it: that is not to fall upon the caller, nor upon the
/// plugins that are called next.
const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

fn frame(mac: [u8; 6], ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => arp(mac, *ip),
        IpAddr::V6(ip) => advertisement(mac, *ip),
    }
}

/// Destination, source, EtherType.
fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes()].concat()
}

/// An ARP announcement: RFC 826's packet, who-has one's own address.
fn arp(mac: [u8; 6], ip: Ipv4Addr) -> Vec<u8> {
    const REQUEST: u16 = 1;
    let mut frame = ethernet([0xff; 6], mac, libc::ETH_P_ARP as u16);
    // Ethernet, IPv4, lengths of their addresses.
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4]);
    frame.extend_from_slice(&REQUEST.to_be_bytes());
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&ip.octets());
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&ip.octets());
    frame
}

/// To all nodes on the link: this address is at this link-layer address, whatever was before.
fn advertisement(mac: [u8; 6], ip: Ipv6Addr) -> Vec<u8> {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ICMPV6: u8 = 58;
    const OVERRIDE: u8 = 0x20;
    // Type 136, code 0, checksum, flags, target; option 2, 8 bytes: the target's address.
    let mut message = vec![136, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend_from_slice(&ip.octets());
    message.extend_from_slice(&[2, 1]);
    message.extend_from_slice(&mac);
    let length = message.len() as u16;
    let pseudo =
        [&ip.octets()[..], &ALL_NODES.octets(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0, ICMPV6]];
    let sum = checksum(&[&pseudo.concat()[..], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ethernet([0x33, 0x33, 0, 0, 0, 1], mac, libc::ETH_P_IPV6 as u16);
    frame.extend_from_slice(&[0x60, 0, 0, 0]);
    frame.extend_from_slice(&length.to_be_bytes());
    // Neighbour discovery believes hop limit 255 alone: nobody has forwarded it.
    frame.extend_from_slice(&[ICMPV6, 255]);
    frame.extend_from_slice(&ip.octets());
    frame.extend_from_slice(&ALL_NODES.octets());
    frame.extend_from_slice(&message);
    frame
}

/// The Internet checksum, RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_add_up_to_nothing() {
        let ip: Ipv6Addr = "fd00::7".parse().unwrap();
        let frame = advertisement([2, 0, 0, 0, 0, 7], ip);
        let (header, message) = frame[14..].split_at(40);
        let length = (message.len() as u16).to_be_bytes();
        let pseudo = [&header[8..40], &[0, 0], &length, &[0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo[..], message].concat()), 0);
        assert_eq!((header[7], message[0], frame.len()), (255, 136, 86));
    }

    #[test]
    fn an_announcement_asks_for_ones_own_address() {
        let frame = arp([2, 0, 0, 0, 0, 7], Ipv4Addr::new(10, 1, 0, 7));
        assert_eq!(frame.len(), 42);
        assert_eq!((&frame[28..32], &frame[38..42]), (&[10, 1, 0, 7][..], &[10, 1, 0, 7][..]));
        assert_eq!(&frame[..6], [0xff; 6]);
    }
}
