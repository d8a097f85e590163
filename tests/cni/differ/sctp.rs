//! The first two packets of an association of SCTP (RFC 9260, section 3.3), over raw
//! sockets: many kernels translate SCTP's ports and have no sockets of it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::super::common::{Ns, in_netns};
use super::packets::{Probe, WITHIN, in_words};

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// Both sides' verification tag.
const TAG: u32 = 0x1234_5678;

/// A packet's ports and the type of its first chunk.
type Packet = (u16, u16, u8);

/// Asks one question: whether INIT arrives, and INIT ACK comes back.
pub(super) fn ask(probe: &Probe) -> String {
    // A port that no flow was from before: conntrack would lead it where it led that one.
    static CLIENT: AtomicU16 = AtomicU16::new(20_000);
    let own = CLIENT.fetch_add(1, Ordering::Relaxed);
    let (server, client) = (open(&probe.to), open(&probe.from));
    let init = packet((own, probe.at.port(), INIT), 0);
    let sent = client.send_to(&init, probe.at);
    let is_init = |(_, to, kind): Packet| to == probe.port && kind == INIT;
    let seen = sent.ok().and_then(|_| wait(&server, &is_init).ok());
    let answer = seen.map_or(Err(io::ErrorKind::TimedOut.into()), |(from, (port, ..))| {
        server.send_to(&packet((probe.port, port, INIT_ACK), TAG), from)?;
        let is_ack = |packet: Packet| packet == (probe.at.port(), own, INIT_ACK);
        wait(&client, &is_ack).map(|_| ())
    });
    in_words(seen.map(|(from, _)| from), answer)
}

/// A raw socket of SCTP. The standard library's type for datagrams serves it as well:
/// a raw socket passes over the port of an address.
fn open(ns: &Ns) -> UdpSocket {
    let socket = || {
        let flags = SocketFlags::CLOEXEC;
        rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::SCTP))
    };
    let socket: OwnedFd = in_netns(ns, socket).expect("a raw socket");
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(WITHIN)).expect("a timeout");
    socket
}

/// The first packet of this kind, and who sent it.
fn wait(socket: &UdpSocket, wanted: &dyn Fn(Packet) -> bool) -> io::Result<(SocketAddr, Packet)> {
    let end = Instant::now() + WITHIN;
    let mut buffer = [0; 256];
    while Instant::now() < end {
        let (len, from) = socket.recv_from(&mut buffer)?;
        // A raw socket hands on the IPv4 header, too: its length is in words of four bytes.
        let header = usize::from(buffer[0] & 0xf) * 4;
        if let [a, b, c, d, _, _, _, _, _, _, _, _, kind, ..] = buffer[header.min(len)..len] {
            let packet = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), kind);
            if wanted(packet) {
                return Ok((from, packet));
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Common header and one chunk: INIT or INIT ACK without parameters.
fn packet((from, to, kind): Packet, tag: u32) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([kind, 0, 0, 20]);
    // Initiate tag, receiver window, streams out and in, first sequence number.
    for word in [TAG, 65_536, 1 << 16 | 1, 1] {
        bytes.extend(word.to_be_bytes());
    }
    let sum = crc32c(&bytes);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// CRC32c (RFC 9260, appendix A): without it conntrack takes the packet for a broken one.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn the_sum_is_the_known_one() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
