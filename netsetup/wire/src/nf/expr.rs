//! Expressions: what a rule is made of.

use super::attr::*;
use crate::Msg;

/// A register. Numbers 1 to 4 are the old ones of 128 bits, 8 to 23 their quarters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(u32);

impl Reg {
    /// The `n`-th register of 32 bits, 0 to 15. The first of each four is
    /// called by its old number, as the nft program and the kernel's dump do.
    pub const fn word(n: u32) -> Reg {
        if n.is_multiple_of(4) {
            Reg(libc::NFT_REG_1 as u32 + n / 4)
        } else {
            Reg(libc::NFT_REG32_00 as u32 + n)
        }
    }
}

/// `meta nfproto ipv4`: what a rule of an inet table says before it looks at an IPv4 header.
pub const PACKET_V4: [Expr<'static>; 2] = packet(libc::NFPROTO_IPV4 as u8);
/// `meta nfproto ipv6`.
pub const PACKET_V6: [Expr<'static>; 2] = packet(libc::NFPROTO_IPV6 as u8);

const fn packet(family: u8) -> [Expr<'static>; 2] {
    const FAMILIES: [[u8; 1]; 2] = [[libc::NFPROTO_IPV4 as u8], [libc::NFPROTO_IPV6 as u8]];
    let value: &[u8] = if family == libc::NFPROTO_IPV4 as u8 { &FAMILIES[0] } else { &FAMILIES[1] };
    [
        Expr::Meta { key: libc::NFT_META_NFPROTO, to: Reg::word(0) },
        Expr::Equal { reg: Reg::word(0), value },
    ]
}

/// One expression of a rule. `to` is the register that it loads, `key` and `reg` those that it reads.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug)]
pub enum Expr<'a> {
    /// Loads what the kernel knows of the packet: NFT_META_NFPROTO, NFT_META_L4PROTO, ...
    Meta { key: i32, to: Reg },
    /// Loads what conntrack knows of it: NFT_CT_STATUS, ...
    Ct { key: i32, to: Reg },
    /// Loads the route type of the destination address (RTN_LOCAL, ...).
    FibDaddrType { to: Reg },
    /// Loads the route type of the source address.
    FibSaddrType { to: Reg },
    /// Loads bytes of the link-layer header.
    Link { offset: u32, len: u32, to: Reg },
    /// Loads bytes of the network header.
    Network { offset: u32, len: u32, to: Reg },
    /// Loads bytes of the transport header.
    Transport { offset: u32, len: u32, to: Reg },
    /// Goes on where the register has this value.
    Equal { reg: Reg, value: &'a [u8] },
    /// Goes on where the register has another value.
    Differs { reg: Reg, value: &'a [u8] },
    /// Goes on where the register is between two values, both included; `not`: where it isn't.
    Range { reg: Reg, from: &'a [u8], to: &'a [u8], not: bool },
    /// Keeps the bits of a mask.
    And { reg: Reg, mask: &'a [u8] },
    /// Keeps the bits of a mask, and turns those of `xor` round.
    AndXor { reg: Reg, mask: &'a [u8], xor: &'a [u8] },
    /// Gives the packet the register as its mark.
    SetMark { from: Reg },
    /// Goes on where the set has the key; with `to` it loads what the map has for it.
    Lookup { set: &'a str, key: Reg, to: Option<Reg> },
    /// Rewrites destination address and port.
    Dnat { family: u8, addr: Reg, port: Reg },
    /// Rewrites the source address to that of the link that the packet leaves by.
    Masquerade,
    /// A match of iptables (nft_compat), as its extension lays it out.
    Match { name: &'a str, revision: u32, info: &'a [u8] },
    /// Counts packets and bytes.
    Counter,
    /// Ends the packet.
    Drop,
    /// Lets the packet through this chain's table.
    Accept,
    /// Goes back to the chain that jumped here.
    Return,
    /// Goes on in another chain.
    Jump { chain: &'a str },
}

impl Expr<'_> {
    /// The name that the kernel knows it by.
    pub const fn name(&self) -> &'static str {
        match self {
            Expr::Meta { .. } | Expr::SetMark { .. } => "meta",
            Expr::Ct { .. } => "ct",
            Expr::FibDaddrType { .. } | Expr::FibSaddrType { .. } => "fib",
            Expr::Link { .. } | Expr::Network { .. } | Expr::Transport { .. } => "payload",
            Expr::Equal { .. } | Expr::Differs { .. } => "cmp",
            Expr::Range { .. } => "range",
            Expr::And { .. } | Expr::AndXor { .. } => "bitwise",
            Expr::Lookup { .. } => "lookup",
            Expr::Dnat { .. } => "nat",
            Expr::Masquerade => "masq",
            Expr::Match { .. } => "match",
            Expr::Counter => "counter",
            Expr::Drop | Expr::Accept | Expr::Return | Expr::Jump { .. } => "immediate",
        }
    }

    pub(super) fn write(&self, m: &mut Msg<'_>) {
        m.nest(NFTA_LIST_ELEM, |m| {
            m.text(NFTA_EXPR_NAME, self.name());
            m.nest(NFTA_EXPR_DATA, |m| self.write_data(m));
        });
    }

    fn write_data(&self, m: &mut Msg<'_>) {
        match *self {
            Expr::Meta { key, to } => {
                m.be32(NFTA_META_KEY, key as u32);
                m.be32(NFTA_META_DREG, to.0);
            }
            Expr::Ct { key, to } => {
                m.be32(NFTA_CT_KEY, key as u32);
                m.be32(NFTA_CT_DREG, to.0);
            }
            Expr::SetMark { from } => {
                m.be32(NFTA_META_KEY, libc::NFT_META_MARK as u32);
                m.be32(NFTA_META_SREG, from.0);
            }
            Expr::FibDaddrType { to } => address_type(m, NFTA_FIB_F_DADDR, to),
            Expr::FibSaddrType { to } => address_type(m, NFTA_FIB_F_SADDR, to),
            Expr::Link { offset, len, to } => {
                payload(m, libc::NFT_PAYLOAD_LL_HEADER, offset, len, to)
            }
            Expr::Network { offset, len, to } => {
                payload(m, libc::NFT_PAYLOAD_NETWORK_HEADER, offset, len, to)
            }
            Expr::Transport { offset, len, to } => {
                payload(m, libc::NFT_PAYLOAD_TRANSPORT_HEADER, offset, len, to)
            }
            Expr::Equal { reg, value } => compare(m, libc::NFT_CMP_EQ, reg, value),
            Expr::Differs { reg, value } => compare(m, libc::NFT_CMP_NEQ, reg, value),
            Expr::Range { reg, from, to, not } => {
                m.be32(NFTA_RANGE_SREG, reg.0);
                m.be32(NFTA_RANGE_OP, if not { NFT_RANGE_NEQ } else { NFT_RANGE_EQ });
                m.nest(NFTA_RANGE_FROM_DATA, |m| m.attr(NFTA_DATA_VALUE, from));
                m.nest(NFTA_RANGE_TO_DATA, |m| m.attr(NFTA_DATA_VALUE, to));
            }
            Expr::And { reg, mask } => bitwise(m, reg, mask, &[0; 16][..mask.len().min(16)]),
            Expr::AndXor { reg, mask, xor } => bitwise(m, reg, mask, xor),
            Expr::Lookup { set, key, to } => {
                m.text(NFTA_LOOKUP_SET, set);
                m.be32(NFTA_LOOKUP_SREG, key.0);
                if let Some(to) = to {
                    m.be32(NFTA_LOOKUP_DREG, to.0);
                }
            }
            Expr::Dnat { family, addr, port } => {
                m.be32(NFTA_NAT_TYPE, libc::NFT_NAT_DNAT as u32);
                m.be32(NFTA_NAT_FAMILY, family.into());
                m.be32(NFTA_NAT_REG_ADDR_MIN, addr.0);
                m.be32(NFTA_NAT_REG_PROTO_MIN, port.0);
            }
            Expr::Match { name, revision, info } => {
                m.text(NFTA_MATCH_NAME, name);
                m.be32(NFTA_MATCH_REV, revision);
                m.attr(NFTA_MATCH_INFO, info);
            }
            Expr::Masquerade | Expr::Counter => {}
            Expr::Drop => verdict(m, libc::NF_DROP, None),
            Expr::Accept => verdict(m, libc::NF_ACCEPT, None),
            Expr::Return => verdict(m, libc::NFT_RETURN, None),
            Expr::Jump { chain } => verdict(m, libc::NFT_JUMP, Some(chain)),
        }
    }
}

/// Attributes of enum nft_match_attributes (linux/netfilter/nf_tables_compat.h).
pub(crate) const NFTA_MATCH_NAME: u16 = 1;
pub(crate) const NFTA_MATCH_REV: u16 = 2;
pub(crate) const NFTA_MATCH_INFO: u16 = 3;

/// Attributes of enum nft_target_attributes, ibidem.
pub(crate) const NFTA_TARGET_NAME: u16 = 1;
pub(crate) const NFTA_TARGET_INFO: u16 = 3;

/// `--ctstate ESTABLISHED`: bits of a [`conntrack_state`], linux/netfilter/xt_conntrack.h
/// and nf_conntrack_common.h: 1 << (IP_CT_ESTABLISHED + 1).
pub const CT_ESTABLISHED: u16 = 1 << 1;
/// `--ctstate RELATED`: 1 << (IP_CT_RELATED + 1).
pub const CT_RELATED: u16 = 1 << 2;
/// `--ctstate DNAT`: XT_CONNTRACK_STATE_DNAT, 1 << (IP_CT_NUMBER + 2).
pub const CT_DNAT: u16 = 1 << 7;

/// `-m conntrack --ctstate ...`: struct xt_conntrack_mtinfo3, which begins with eight
/// addresses of 16 bytes, all zero here, padded to eight bytes (XT_ALIGN).
pub fn conntrack_state(states: u16) -> [u8; 168] {
    const MATCH_FLAGS: usize = 8 * 16 + 2 * 4 + 5 * 2;
    const STATE_MASK: usize = MATCH_FLAGS + 4;
    // XT_CONNTRACK_STATE.
    const STATE: u16 = 1;
    let mut info = [0; 168];
    info[MATCH_FLAGS..MATCH_FLAGS + 2].copy_from_slice(&STATE.to_ne_bytes());
    info[STATE_MASK..STATE_MASK + 2].copy_from_slice(&states.to_ne_bytes());
    info
}

/// enum nft_range_ops.
pub(crate) const NFT_RANGE_EQ: u32 = 0;
pub(crate) const NFT_RANGE_NEQ: u32 = 1;
/// enum nft_fib_flags: NFTA_FIB_F_SADDR.
pub(crate) const NFTA_FIB_F_SADDR: u32 = 1 << 0;
/// enum nft_fib_flags: NFTA_FIB_F_DADDR.
pub(crate) const NFTA_FIB_F_DADDR: u32 = 1 << 1;
/// enum nft_fib_result: NFT_FIB_RESULT_ADDRTYPE.
pub(crate) const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;

fn address_type(m: &mut Msg<'_>, of: u32, to: Reg) {
    m.be32(NFTA_FIB_FLAGS, of);
    m.be32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    m.be32(NFTA_FIB_DREG, to.0);
}

fn bitwise(m: &mut Msg<'_>, reg: Reg, mask: &[u8], xor: &[u8]) {
    m.be32(NFTA_BITWISE_SREG, reg.0);
    m.be32(NFTA_BITWISE_DREG, reg.0);
    m.be32(NFTA_BITWISE_LEN, mask.len() as u32);
    m.nest(NFTA_BITWISE_MASK, |m| m.attr(NFTA_DATA_VALUE, mask));
    m.nest(NFTA_BITWISE_XOR, |m| m.attr(NFTA_DATA_VALUE, xor));
}

fn payload(m: &mut Msg<'_>, base: i32, offset: u32, len: u32, to: Reg) {
    m.be32(NFTA_PAYLOAD_DREG, to.0);
    m.be32(NFTA_PAYLOAD_BASE, base as u32);
    m.be32(NFTA_PAYLOAD_OFFSET, offset);
    m.be32(NFTA_PAYLOAD_LEN, len);
}

fn compare(m: &mut Msg<'_>, op: i32, reg: Reg, value: &[u8]) {
    m.be32(NFTA_CMP_SREG, reg.0);
    m.be32(NFTA_CMP_OP, op as u32);
    m.nest(NFTA_CMP_DATA, |m| m.attr(NFTA_DATA_VALUE, value));
}

fn verdict(m: &mut Msg<'_>, code: i32, chain: Option<&str>) {
    m.be32(NFTA_IMMEDIATE_DREG, libc::NFT_REG_VERDICT as u32);
    m.nest(NFTA_IMMEDIATE_DATA, |m| {
        m.nest(NFTA_DATA_VERDICT, |m| {
            m.be32(NFTA_VERDICT_CODE, code as u32);
            if let Some(chain) = chain {
                m.text(NFTA_VERDICT_CHAIN, chain);
            }
        });
    });
}
