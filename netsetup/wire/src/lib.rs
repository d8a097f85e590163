//! netlink messages as bytes: written, cut apart, read back. No I/O, no unsafe,
//! no panic on any input.
//!
//! ```text
//!   Batch ─┬─ rt::new_link(..)      ─┐
//!          ├─ rt::new_addr(..)       │  one Vec<u8>: header, body, attributes,
//!          ├─ rt::new_route(..)      ├─ header, body, attributes ...
//!          └─ nf::transaction(..)   ─┘  = one sendmsg
//!
//!   bytes ── messages(..) ── Message ── attrs(..) ── rt::LinkInfo, nf::ElemInfo, ct::Flow, Answer
//! ```
//!
//! Sources: netlink(7), rtnetlink(7); linux/netlink.h, rtnetlink.h, if_link.h,
//! netfilter/nf_tables.h, netfilter/nfnetlink_conntrack.h. Multi-byte integers of rtnetlink are in the CPU's byte
//! order, those of nfnetlink in network byte order.

#![forbid(unsafe_code)]

pub mod ct;
pub mod nf;
mod read;
pub mod rt;
mod write;

pub use read::{Answer, Attrs, Message, Messages, Truncated, attrs, messages};
pub use write::{Batch, Msg};

/// Length of a netlink header: linux/netlink.h, `struct nlmsghdr`.
pub const HEADER: usize = 16;

/// Rounds up to netlink's alignment of four bytes (NLMSG_ALIGN, NLA_ALIGN).
pub(crate) const fn align(len: usize) -> usize {
    len.saturating_add(3) & !3
}

/// Bits of an attribute's type that are flags, not type: NLA_F_NESTED and NLA_F_NET_BYTEORDER.
pub(crate) const NLA_TYPE_MASK: u16 = !((libc::NLA_F_NESTED | libc::NLA_F_NET_BYTEORDER) as u16);
