//! nftables: transactions of tables, chains, sets, rules and set elements.
//! Sources: linux/netfilter/nf_tables.h, nfnetlink.h; the bytes are held
//! against those that the nft program sends.

mod attr;
mod expr;
mod info;
mod rules;
mod transaction;

use attr::*;
pub use expr::{
    CT_DNAT, CT_ESTABLISHED, CT_RELATED, Expr, PACKET_V4, PACKET_V6, Reg, conntrack_state,
};
pub use info::{ChainInfo, ElemInfo, MarkInfo, RuleInfo, SetInfo, TableInfo, generation};
pub use transaction::{begin, end, removes};

use crate::{Batch, Msg};

/// NFPROTO_IPV4: tables of family `ip`.
pub const IP: u8 = libc::NFPROTO_IPV4 as u8;
/// NFPROTO_IPV6: tables of family `ip6`.
pub const IP6: u8 = libc::NFPROTO_IPV6 as u8;
/// NFPROTO_BRIDGE: tables of family `bridge`.
pub const BRIDGE: u8 = libc::NFPROTO_BRIDGE as u8;
/// NFPROTO_INET: tables of family `inet`.
pub const INET: u8 = libc::NFPROTO_INET as u8;

/// Flags of an object that is made, and that may be there already.
pub const ENSURE: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_CREATE) as u16;
/// Flags of an object that is made, and fails with EEXIST where it is already.
pub const CREATE: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// Flags of a rule that goes to the end of its chain.
pub const APPEND: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;
/// Flags of a deletion or of a question for one object.
pub const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
/// Flags of a question for all objects of a kind.
pub const DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;

/// Longest userdata of a set element: NFT_USERDATA_MAXLEN.
pub const USERDATA_MAX: usize = libc::NFT_USERDATA_MAXLEN as usize;

/// The type number of an nf_tables message.
const fn kind(message: i32) -> u16 {
    ((libc::NFNL_SUBSYS_NFTABLES as u16) << 8) | message as u16
}

/// struct nfgenmsg: family, NFNETLINK_V0, resource id.
pub(crate) const fn genmsg(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// Bytes of struct nfgenmsg.
pub(crate) const GENMSG: usize = 4;

/// A table, by family and name.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// [`INET`], [`IP`], [`IP6`].
    pub family: u8,
    /// Its name.
    pub name: &'a str,
}

/// Where a base chain is hooked in.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// "nat" or "filter".
    pub kind: &'a str,
    /// NF_INET_PRE_ROUTING and the like.
    pub hook: i32,
    /// Lower comes first.
    pub priority: i32,
}

/// A set (or map, where `data` is given) of concatenated fields.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// Name within its table.
    pub name: &'a str,
    /// Number of the set within its transaction.
    pub id: u32,
    /// Fields of the key.
    pub key: &'a [Field],
    /// Fields of what a map maps to; empty for a set.
    pub data: &'a [Field],
    /// Elements are ranges.
    pub interval: bool,
}

/// Types of set fields, as the nft program numbers them (its src/datatype.h), with their length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// ipv4_addr.
    Ipv4,
    /// ipv6_addr.
    Ipv6,
    /// inet_proto.
    Proto,
    /// inet_service.
    Service,
    /// ether_addr.
    Ether,
    /// ifname.
    Ifname,
}

impl Field {
    const fn number(self) -> u32 {
        match self {
            Field::Ipv4 => 7,
            Field::Ipv6 => 8,
            Field::Proto => 12,
            Field::Service => 13,
            Field::Ether => 9,
            Field::Ifname => 41,
        }
    }

    /// Bytes before padding.
    pub const fn bytes(self) -> u32 {
        match self {
            Field::Ipv4 => 4,
            Field::Ipv6 => 16,
            Field::Proto => 1,
            Field::Service => 2,
            Field::Ether => 6,
            Field::Ifname => libc::IFNAMSIZ as u32,
        }
    }

    fn number_of(fields: &[Field]) -> u32 {
        fields.iter().fold(0, |n, f| n << 6 | f.number())
    }

    /// In a concatenation each field is padded to a register of 32 bits.
    fn len_of(fields: &[Field]) -> u32 {
        match fields {
            [one] => one.bytes(),
            many => many.iter().map(|f| f.bytes().next_multiple_of(4)).sum(),
        }
    }
}

/// One element of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elem {
    /// The key's bytes, fields padded to four.
    pub key: Vec<u8>,
    /// Inclusive end of a range.
    pub key_end: Option<Vec<u8>>,
    /// What a map maps it to.
    pub data: Option<Vec<u8>>,
    /// Comment as nft shows it; at most 128 bytes.
    pub comment: Option<String>,
}

impl<'a> Table<'a> {
    fn add(
        &self,
        batch: &mut Batch,
        message: i32,
        flags: u16,
        fill: impl FnOnce(&mut Msg<'_>),
    ) -> u32 {
        batch.add(kind(message), flags, |m| {
            m.body(&genmsg(self.family, 0));
            fill(m);
        })
    }

    /// Makes the table, with a comment that nft shows.
    pub fn make(&self, batch: &mut Batch, flags: u16, comment: &str) -> u32 {
        self.add(batch, libc::NFT_MSG_NEWTABLE, flags, |m| {
            m.text(NFTA_TABLE_NAME, self.name);
            m.be32(NFTA_TABLE_FLAGS, 0);
            m.attr(NFTA_TABLE_USERDATA, &udata_text(0, comment));
        })
    }

    /// Deletes the table with all that is in it.
    pub fn delete(&self, batch: &mut Batch) -> u32 {
        self.add(batch, libc::NFT_MSG_DELTABLE, REQUEST, |m| m.text(NFTA_TABLE_NAME, self.name))
    }

    /// Asks for the table; ENOENT where it isn't.
    pub fn get(&self, batch: &mut Batch) -> u32 {
        self.add(batch, libc::NFT_MSG_GETTABLE, REQUEST, |m| m.text(NFTA_TABLE_NAME, self.name))
    }

    /// Makes a chain, hooked in or to be jumped to.
    pub fn make_chain(&self, batch: &mut Batch, name: &str, hook: Option<&Hook<'_>>) -> u32 {
        self.add(batch, libc::NFT_MSG_NEWCHAIN, CREATE, |m| {
            m.text(NFTA_CHAIN_TABLE, self.name);
            m.text(NFTA_CHAIN_NAME, name);
            if let Some(hook) = hook {
                m.text(NFTA_CHAIN_TYPE, hook.kind);
                m.nest(NFTA_CHAIN_HOOK, |m| {
                    m.be32(NFTA_HOOK_HOOKNUM, hook.hook as u32);
                    m.be32(NFTA_HOOK_PRIORITY, hook.priority as u32);
                });
            }
        })
    }

    /// Makes a chain to be jumped to, with a comment that nft shows (Linux 5.10).
    pub fn make_marked_chain(&self, batch: &mut Batch, name: &str, comment: &str) -> u32 {
        self.add(batch, libc::NFT_MSG_NEWCHAIN, CREATE, |m| {
            m.text(NFTA_CHAIN_TABLE, self.name);
            m.text(NFTA_CHAIN_NAME, name);
            m.attr(NFTA_CHAIN_USERDATA, &udata_text(0, comment));
        })
    }

    /// Deletes a chain that is empty and that nobody jumps to.
    pub fn delete_chain(&self, batch: &mut Batch, name: &str) -> u32 {
        self.add(batch, libc::NFT_MSG_DELCHAIN, REQUEST, |m| {
            m.text(NFTA_CHAIN_TABLE, self.name);
            m.text(NFTA_CHAIN_NAME, name);
        })
    }

    /// Asks for one chain; ENOENT where it isn't.
    pub fn get_chain(&self, batch: &mut Batch, name: &str) -> u32 {
        self.add(batch, libc::NFT_MSG_GETCHAIN, REQUEST, |m| {
            m.text(NFTA_CHAIN_TABLE, self.name);
            m.text(NFTA_CHAIN_NAME, name);
        })
    }

    /// Asks for all chains of the table's family.
    pub fn dump_chains(&self, batch: &mut Batch) -> u32 {
        self.add(batch, libc::NFT_MSG_GETCHAIN, DUMP, |_| {})
    }

    /// Makes a set or a map.
    pub fn make_set(&self, batch: &mut Batch, set: &Set<'_>) -> u32 {
        let mut flags = if set.data.is_empty() { 0 } else { libc::NFT_SET_MAP as u32 };
        let ranges_of_many = set.interval && set.key.len() > 1;
        if set.interval {
            flags |= libc::NFT_SET_INTERVAL as u32;
        }
        if ranges_of_many {
            flags |= NFT_SET_CONCAT;
        }
        self.add(batch, libc::NFT_MSG_NEWSET, CREATE, |m| {
            m.text(NFTA_SET_TABLE, self.name);
            m.text(NFTA_SET_NAME, set.name);
            m.be32(NFTA_SET_FLAGS, flags);
            m.be32(NFTA_SET_KEY_TYPE, Field::number_of(set.key));
            m.be32(NFTA_SET_KEY_LEN, Field::len_of(set.key));
            if !set.data.is_empty() {
                m.be32(NFTA_SET_DATA_TYPE, Field::number_of(set.data));
                m.be32(NFTA_SET_DATA_LEN, Field::len_of(set.data));
            }
            if ranges_of_many {
                m.nest(NFTA_SET_DESC, |m| {
                    m.nest(NFTA_SET_DESC_CONCAT, |m| {
                        for field in set.key {
                            m.nest(NFTA_LIST_ELEM, |m| m.be32(NFTA_SET_FIELD_LEN, field.bytes()));
                        }
                    });
                });
            }
            m.be32(NFTA_SET_ID, set.id);
            // A name's bytes are in the order of the CPU, which nft turns round.
            let is_name = set.key == [Field::Ifname];
            m.attr(NFTA_SET_USERDATA, if is_name { &KEY_OF_HOST } else { &KEY_BIG_ENDIAN });
        })
    }

    /// Asks for all sets of the table.
    pub fn dump_sets(&self, batch: &mut Batch) -> u32 {
        self.add(batch, libc::NFT_MSG_GETSET, DUMP, |m| m.text(NFTA_SET_TABLE, self.name))
    }

    /// Deletes a set that no rule names, with all its elements.
    pub fn delete_set(&self, batch: &mut Batch, set: &str) -> u32 {
        self.add(batch, libc::NFT_MSG_DELSET, REQUEST, |m| {
            m.text(NFTA_SET_TABLE, self.name);
            m.text(NFTA_SET_NAME, set);
        })
    }

    /// Adds elements to a set. Without [`CREATE`]'s NLM_F_EXCL an identical element is accepted silently.
    pub fn make_elems(&self, batch: &mut Batch, set: &str, flags: u16, elems: &[Elem]) -> u32 {
        self.add(batch, libc::NFT_MSG_NEWSETELEM, flags, |m| self.elems(m, set, elems))
    }

    /// Deletes elements by key. The kernel ignores their data: see first whose they are.
    pub fn delete_elems(&self, batch: &mut Batch, set: &str, elems: &[Elem]) -> u32 {
        self.add(batch, libc::NFT_MSG_DELSETELEM, REQUEST, |m| self.elems(m, set, elems))
    }

    /// Asks for one element by key; ENOENT where it isn't.
    pub fn get_elem(&self, batch: &mut Batch, set: &str, elem: &Elem) -> u32 {
        self.add(batch, libc::NFT_MSG_GETSETELEM, REQUEST, |m| {
            self.elems(m, set, std::slice::from_ref(elem))
        })
    }

    /// Asks for all elements of a set.
    pub fn dump_elems(&self, batch: &mut Batch, set: &str) -> u32 {
        self.add(batch, libc::NFT_MSG_GETSETELEM, DUMP, |m| self.elems(m, set, &[]))
    }

    fn elems(&self, m: &mut Msg<'_>, set: &str, elems: &[Elem]) {
        m.text(NFTA_SET_ELEM_LIST_TABLE, self.name);
        m.text(NFTA_SET_ELEM_LIST_SET, set);
        if elems.is_empty() {
            return;
        }
        m.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |m| {
            for elem in elems {
                m.nest(NFTA_LIST_ELEM, |m| write_elem(m, elem));
            }
        });
    }
}

fn write_elem(m: &mut Msg<'_>, elem: &Elem) {
    let value =
        |m: &mut Msg<'_>, kind, bytes: &[u8]| m.nest(kind, |m| m.attr(NFTA_DATA_VALUE, bytes));
    value(m, NFTA_SET_ELEM_KEY, &elem.key);
    if let Some(end) = &elem.key_end {
        value(m, NFTA_SET_ELEM_KEY_END, end);
    }
    if let Some(data) = &elem.data {
        value(m, NFTA_SET_ELEM_DATA, data);
    }
    if let Some(text) = &elem.comment {
        m.attr(NFTA_SET_ELEM_USERDATA, &udata_text(0, text));
    }
}

/// Asks for all tables of the namespace, of every family.
pub fn dump_tables(batch: &mut Batch) -> u32 {
    batch.add(kind(libc::NFT_MSG_GETTABLE), DUMP, |m| m.body(&genmsg(libc::AF_UNSPEC as u8, 0)))
}

/// Asks for the generation id of the namespace's ruleset.
pub fn get_generation(batch: &mut Batch) -> u32 {
    batch.add(kind(libc::NFT_MSG_GETGEN), REQUEST, |m| m.body(&genmsg(libc::AF_UNSPEC as u8, 0)))
}

/// NFT_SET_CONCAT of enum nft_set_flags; libc has only the older ones.
pub(crate) const NFT_SET_CONCAT: u32 = 0x80;

/// libnftnl's NFTNL_UDATA_SET_KEYBYTEORDER = BYTEORDER_BIG_ENDIAN: without it
/// nft prints single-field keys in the CPU's byte order.
const KEY_BIG_ENDIAN: [u8; 6] = [0, 4, 2, 0, 0, 0];
/// BYTEORDER_HOST_ENDIAN.
const KEY_OF_HOST: [u8; 6] = [0, 4, 1, 0, 0, 0];

/// libnftnl's userdata: type, length, value; type 0 is the comment of tables, rules and elements alike.
fn udata_text(kind: u8, text: &str) -> Vec<u8> {
    let mut cut = text.len().min(COMMENT_MAX);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut bytes = vec![kind, cut as u8 + 1];
    bytes.extend_from_slice(&text.as_bytes()[..cut]);
    bytes.push(0);
    bytes
}

/// Longest comment that the nft program takes: NFTNL_UDATA_COMMENT_MAXLEN.
pub const COMMENT_MAX: usize = 128;
