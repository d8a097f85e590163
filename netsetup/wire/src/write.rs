//! Writing: a batch of messages in one buffer.

use crate::{HEADER, align};

/// Messages that go out in one `sendmsg`, each with its own sequence number.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    next: u32,
    last: usize,
}

impl Batch {
    /// An empty batch whose first message gets sequence number `first`.
    pub fn new(first: u32) -> Batch {
        Batch { bytes: Vec::with_capacity(1024), next: first, last: 0 }
    }

    /// Appends one message; `fill` writes what follows the header. Returns its sequence number.
    ///
    /// An attribute can't be longer than 65,535 bytes. Where one is, its length
    /// would wrap, and the rest of its payload would pass for attributes: the
    /// whole message is replaced then by one of a type that the kernel refuses
    /// (rtnetlink: EOPNOTSUPP; nf_tables: EINVAL, and nothing of the transaction is applied).
    pub fn add(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Msg<'_>)) -> u32 {
        let start = self.bytes.len();
        let seq = self.next;
        self.next = self.next.wrapping_add(1);
        self.last = start;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]); // port id: the kernel fills it in
        debug_assert_eq!(self.bytes.len() - start, HEADER);
        let mut msg = Msg { bytes: &mut self.bytes, overlong: false };
        fill(&mut msg);
        if msg.overlong {
            self.bytes.truncate(start + HEADER);
            self.bytes.resize(start + HEADER + BODY, 0);
            self.bytes[start + 4..start + 6].copy_from_slice(&UNKNOWN.to_ne_bytes());
        }
        let len = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        self.bytes.resize(start + align(len as usize), 0);
        seq
    }

    /// Asks for an acknowledgement of the last message. One is enough for a
    /// batch: the kernel works through it in order before `sendmsg` returns,
    /// and a message that fails is reported whether it asked or not.
    pub fn ack_last(&mut self) {
        if !self.bytes.is_empty() {
            let at = self.last + 6;
            let flags =
                u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | libc::NLM_F_ACK as u16;
            self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        }
    }

    /// The sequence number of the last message.
    pub fn last_seq(&self) -> u32 {
        self.next.wrapping_sub(1)
    }

    /// The sequence number that the next message will get.
    pub fn next_seq(&self) -> u32 {
        self.next
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A message type that neither rtnetlink nor nfnetlink has.
const UNKNOWN: u16 = u16::MAX;

/// At least the fixed part that a netlink family wants before it looks at a message's type.
const BODY: usize = 16;

/// The inside of a message while it is written.
#[derive(Debug)]
pub struct Msg<'a> {
    bytes: &'a mut Vec<u8>,
    /// An attribute was longer than its length can say.
    overlong: bool,
}

impl Msg<'_> {
    /// Appends the fixed part that follows the header, padded to four bytes.
    pub fn body(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.pad();
    }

    /// Appends an attribute of raw bytes.
    pub fn attr(&mut self, kind: u16, payload: &[u8]) {
        self.open(kind, payload.len());
        self.bytes.extend_from_slice(payload);
        self.pad();
    }

    /// Appends a NUL-terminated string.
    pub fn text(&mut self, kind: u16, text: &str) {
        self.open(kind, text.len() + 1);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    /// Appends one byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.attr(kind, &[value]);
    }

    /// Appends 32 bits in the CPU's byte order (rtnetlink).
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// Appends 32 bits in network byte order (nfnetlink).
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Appends a nested attribute that `fill` writes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Msg<'_>)) {
        let start = self.bytes.len();
        self.open(kind | libc::NLA_F_NESTED as u16, 0);
        // What overflows inside overflows the nest too, and is seen below.
        fill(&mut Msg { bytes: self.bytes, overlong: false });
        let len = self.len16(self.bytes.len() - start);
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    fn open(&mut self, kind: u16, len: usize) {
        // struct nlattr: the length counts the header and no padding.
        let len = self.len16(len.saturating_add(4));
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
    }

    /// A length as the header has it; one that doesn't fit is remembered.
    fn len16(&mut self, len: usize) -> u16 {
        u16::try_from(len).unwrap_or_else(|_| {
            self.overlong = true;
            u16::MAX
        })
    }

    fn pad(&mut self) {
        // A batch starts aligned and every message in it ends aligned.
        self.bytes.resize(align(self.bytes.len()), 0);
    }
}
