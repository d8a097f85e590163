//! The program at a tap's other end: opens a queue, and answers for one neighbour as a virtual
//! machine would, frame by frame.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::netns::{Ns, in_netns};
use super::raw::tun_attach;

/// Opens a queue of the tap of this name in `ns`.
///
/// # Errors
/// EBUSY where somebody has the only queue; EINVAL where the tap has several queues and one
/// is asked for, or the other way around.
pub fn open(ns: &Ns, name: &str, multi_queue: bool) -> io::Result<File> {
    in_netns(ns, || {
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        let queues = if multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
        tun_attach(&file, name, libc::IFF_TAP | libc::IFF_NO_PI | queues)?;
        Ok(file)
    })
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    /// Its link-layer address.
    pub mac: [u8; 6],
    #[allow(missing_docs)]
    pub v4: Ipv4Addr,
    #[allow(missing_docs)]
    pub v6: Ipv6Addr,
}

impl Neighbour {
    /// Answers what comes out of this queue, until the tap is gone.
    pub fn serve(self, mut queue: File) {
        std::thread::spawn(move || {
            let mut frame = [0; 2048];
            while let Ok(length) = queue.read(&mut frame) {
                if let Some(answer) = self.answer(&frame[..length])
                    && queue.write_all(&answer).is_err()
                {
                    return;
                }
            }
        });
    }

    /// The answer to who-has, to a solicitation, to a ping; `None` for all else.
    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (header, packet) = frame.split_at_checked(14)?;
        let body = match &header[12..] {
            [0x08, 0x06] => self.arp(packet)?,
            [0x08, 0x00] => self.echo(packet)?,
            [0x86, 0xdd] => self.advertisement(packet).or_else(|| self.echo_v6(packet))?,
            _ => return None,
        };
        Some([&header[6..12], &self.mac, &header[12..], &body].concat())
    }

    /// RFC 826: a request's packet, turned around.
    fn arp(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let asked = packet.get(6..8)? == [0, 1] && packet.get(24..28)? == self.v4.octets();
        let reply = [&packet[..6], &[0, 2], &self.mac, &self.v4.octets(), &packet[8..18]];
        asked.then(|| reply.concat())
    }

    /// RFC 4861, 4.4: solicited, and it overrides what was known.
    fn advertisement(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let (header, message) = packet.split_at_checked(40)?;
        if (header[6], *message.first()?) != (58, 135) || message.get(8..24)? != self.v6.octets() {
            return None;
        }
        let start = [136, 0, 0, 0, 0x60, 0, 0, 0];
        let mut message = [&start[..], &self.v6.octets(), &[2, 1], &self.mac].concat();
        let addresses = [&self.v6.octets(), &header[8..24]].concat();
        let length = u8::try_from(message.len()).ok()?;
        let pseudo = [&addresses[..], &[0, 0, 0, length, 0, 0, 0, 58]].concat();
        let sum = !sum([&pseudo[..], &message].concat().chunks_exact(2).map(word));
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        Some([&[0x60, 0, 0, 0, 0, length, 58, 255], &addresses[..], &message].concat())
    }

    /// An echo request's packet with its addresses swapped, which its checksums don't mind.
    fn echo(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let start = usize::from(packet.first()? & 15) * 4;
        let asked = packet.get(9)? == &1 && packet.get(start)? == &8;
        let to_it = asked && packet.get(16..20)? == self.v4.octets();
        let swapped = [&packet[..12], &packet[16..20], &packet[12..16], &packet[20..]].concat();
        to_it.then(|| of_type(swapped, start, 0))
    }

    fn echo_v6(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let asked = packet.get(6)? == &58 && packet.get(40)? == &128;
        let to_it = asked && packet.get(24..40)? == self.v6.octets();
        let swapped = [&packet[..8], &packet[24..40], &packet[8..24], &packet[40..]].concat();
        to_it.then(|| of_type(swapped, 40, 129))
    }
}

/// An ICMP message at `start` of a packet, turned into one of another type (RFC 1624, 3).
fn of_type(mut packet: Vec<u8>, start: usize, kind: u8) -> Vec<u8> {
    let checksum = word(&packet[start + 2..start + 4]);
    let [was, is] = [packet[start], kind].map(|kind| u16::from(kind) << 8);
    packet[start] = kind;
    let sum = !sum([!checksum, !was, is].into_iter());
    packet[start + 2..start + 4].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn word(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

/// The sum of RFC 1071, in one's complement.
fn sum(words: impl Iterator<Item = u16>) -> u16 {
    words.fold(0u16, |sum, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}
