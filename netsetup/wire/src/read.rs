//! Reading: a buffer cut into messages, a message cut into attributes.

use crate::{HEADER, NLA_TYPE_MASK, align};

/// Bytes that end in the middle of a message or an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

impl std::fmt::Display for Truncated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a netlink message ends before its own length says")
    }
}

impl std::error::Error for Truncated {}

/// One message: its header's fields and what follows the header.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Message type: NLMSG_ERROR, RTM_NEWLINK, ...
    pub kind: u16,
    /// NLM_F_MULTI, NLM_F_DUMP_INTR, ...
    pub flags: u16,
    /// Sequence number of the request it answers.
    pub seq: u32,
    /// Port id of the socket it answers.
    pub port: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// What a message means to the one who waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// NLMSG_ERROR with 0: done.
    Ack,
    /// NLMSG_ERROR, or NLMSG_DONE of a dump that failed: a positive errno, and the kernel's own words.
    Error {
        /// errno, positive.
        errno: i32,
        /// NLMSGERR_ATTR_MSG.
        extack: Option<String>,
    },
    /// NLMSG_DONE: the dump is complete.
    Done,
    /// Anything else: an object that was asked for, or a notification.
    Object,
}

impl<'a> Message<'a> {
    /// The attributes behind a fixed part of `fixed` bytes.
    pub fn attrs(&self, fixed: usize) -> Attrs<'a> {
        attrs(self.body.get(align(fixed)..).unwrap_or(&[]))
    }

    /// What it means to the one who waits for an answer.
    pub fn answer(&self) -> Answer {
        match i32::from(self.kind) {
            libc::NLMSG_ERROR => match self.errno() {
                Some(0) => Answer::Ack,
                Some(errno) => Answer::Error {
                    errno: errno.saturating_abs(),
                    extack: self.extack(self.echoed()),
                },
                // Without its errno it can't be taken for a success.
                None => Answer::Error { errno: libc::EBADMSG, extack: None },
            },
            libc::NLMSG_DONE => match self.errno() {
                Some(errno) if errno < 0 => {
                    Answer::Error { errno: errno.saturating_abs(), extack: self.extack(Some(0)) }
                }
                _ => Answer::Done,
            },
            _ => Answer::Object,
        }
    }

    /// The errno that leads NLMSG_ERROR and NLMSG_DONE.
    fn errno(&self) -> Option<i32> {
        self.body.first_chunk().map(|b| i32::from_ne_bytes(*b))
    }

    /// How many bytes of the request an NLMSG_ERROR repeats: its header, and
    /// its body too unless NLM_F_CAPPED says that it was left out.
    fn echoed(&self) -> Option<usize> {
        const CAPPED: u16 = linux_raw_sys::netlink::NLM_F_CAPPED as u16;
        let inner = u32::from_ne_bytes(*self.body.get(4..)?.first_chunk()?) as usize;
        Some(if self.flags & CAPPED != 0 { HEADER } else { align(inner) })
    }

    /// The kernel's own words: an attribute after the errno and `echoed` bytes.
    fn extack(&self, echoed: Option<usize>) -> Option<String> {
        const ACK_TLVS: u16 = linux_raw_sys::netlink::NLM_F_ACK_TLVS as u16;
        const MSG: u16 = linux_raw_sys::netlink::nlmsgerr_attrs::NLMSGERR_ATTR_MSG as u16;
        if self.flags & ACK_TLVS == 0 {
            return None;
        }
        let text = attrs(self.body.get(4..)?.get(echoed?..)?).find(MSG)?;
        Some(text_of(text))
    }
}

/// A string attribute without its NUL; what is no UTF-8 is replaced.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Iterates over the messages of a buffer.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

/// The messages of a received buffer, in order.
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages { rest: bytes }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let cut = cut_message(self.rest);
        self.rest = match cut {
            Some((_, used)) => &self.rest[used.min(self.rest.len())..],
            None => &[],
        };
        Some(cut.map(|(message, _)| message).ok_or(Truncated))
    }
}

fn cut_message(bytes: &[u8]) -> Option<(Message<'_>, usize)> {
    let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let half = |at: usize| Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let len = word(0)? as usize;
    let body = bytes.get(HEADER..len)?;
    let message = Message { kind: half(4)?, flags: half(6)?, seq: word(8)?, port: word(12)?, body };
    Some((message, align(len)))
}

/// Iterates over attributes: (type without its flag bits, payload). Ends at the first torn one.
#[derive(Clone, Debug)]
pub struct Attrs<'a> {
    rest: &'a [u8],
}

/// The attributes in `bytes`, in order.
pub fn attrs(bytes: &[u8]) -> Attrs<'_> {
    Attrs { rest: bytes }
}

impl<'a> Attrs<'a> {
    /// The payload of the last attribute of this type, as the kernel's own parser takes it.
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().filter(|(k, _)| *k == kind).last().map(|(_, payload)| payload)
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16::from_ne_bytes(*self.rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.rest.get(2..)?.first_chunk()?);
        let payload = self.rest.get(4..len)?;
        self.rest = self.rest.get(align(len)..).unwrap_or(&[]);
        Some((kind & NLA_TYPE_MASK, payload))
    }
}

/// A payload as 32 bits in the CPU's byte order.
pub(crate) fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// A payload as 32 bits in network byte order.
pub(crate) fn be32_of(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// A payload of 64 bits in network byte order.
pub(crate) fn be64_of(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|b| u64::from_be_bytes(*b))
}

/// A payload as an address: 4 or 16 bytes.
pub(crate) fn ip_of(bytes: &[u8]) -> Option<std::net::IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|b| (*b).into()),
        16 => bytes.first_chunk::<16>().map(|b| (*b).into()),
        _ => None,
    }
}
