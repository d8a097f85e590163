//! What the kernel answers about nftables.

use super::attr::*;
use super::expr::{NFTA_MATCH_INFO, NFTA_MATCH_NAME, NFTA_TARGET_INFO, NFTA_TARGET_NAME};
use super::{Elem, GENMSG, kind};
use crate::read::{be32_of, be64_of, text_of};
use crate::{Attrs, Message, attrs};

/// The generation id in an answer to `get_generation`.
pub fn generation(message: &Message<'_>) -> Option<u32> {
    of(message, libc::NFT_MSG_NEWGEN)?.find(NFTA_GEN_ID).and_then(be32_of)
}

/// The attributes of a message, if it is of this nf_tables type.
fn of<'a>(message: &Message<'a>, wanted: i32) -> Option<Attrs<'a>> {
    (message.kind == kind(wanted)).then(|| message.attrs(GENMSG))
}

fn text(attrs: &Attrs<'_>, kind: u16) -> String {
    attrs.find(kind).map(text_of).unwrap_or_default()
}

/// The comment in libnftnl's userdata: type 0 of (type, length, value).
fn comment(userdata: Option<&[u8]>) -> Option<String> {
    let mut rest = userdata?;
    while let [kind, len, tail @ ..] = rest {
        let value = tail.get(..usize::from(*len))?;
        if *kind == 0 {
            return Some(text_of(value));
        }
        rest = &tail[value.len()..];
    }
    None
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// NFPROTO_*: its family.
    pub family: u8,
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: Option<String>,
}

impl TableInfo {
    /// Reads a message, if it is a table.
    pub fn read(message: &Message<'_>) -> Option<TableInfo> {
        let attrs = of(message, libc::NFT_MSG_NEWTABLE)?;
        Some(TableInfo {
            family: *message.body.first()?,
            name: text(&attrs, NFTA_TABLE_NAME),
            comment: comment(attrs.find(NFTA_TABLE_USERDATA)),
        })
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainInfo {
    /// NFPROTO_*: the family of its table.
    pub family: u8,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// NF_INET_FORWARD and the like, for a base chain.
    pub hook: Option<u32>,
    /// Priority of a base chain.
    pub priority: Option<i32>,
    /// NF_DROP or NF_ACCEPT, for a base chain.
    pub policy: Option<u32>,
    /// Its comment.
    pub comment: Option<String>,
}

impl ChainInfo {
    /// Reads a message, if it is a chain.
    pub fn read(message: &Message<'_>) -> Option<ChainInfo> {
        let all = of(message, libc::NFT_MSG_NEWCHAIN)?;
        let hook = attrs(all.find(NFTA_CHAIN_HOOK).unwrap_or(&[]));
        Some(ChainInfo {
            family: *message.body.first()?,
            table: text(&all, NFTA_CHAIN_TABLE),
            name: text(&all, NFTA_CHAIN_NAME),
            hook: hook.find(NFTA_HOOK_HOOKNUM).and_then(be32_of),
            priority: hook.find(NFTA_HOOK_PRIORITY).and_then(be32_of).map(|p| p as i32),
            policy: all.find(NFTA_CHAIN_POLICY).and_then(be32_of),
            comment: comment(all.find(NFTA_CHAIN_USERDATA)),
        })
    }
}

/// A change of a packet's mark: it becomes `(mark & keep) ^ xor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkInfo {
    /// The bits that stay.
    pub keep: u32,
    /// The bits that are turned round afterwards.
    pub xor: u32,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// Its number within its table, never given twice.
    pub handle: u64,
    /// Its chain.
    pub chain: String,
    /// Names of its expressions, in order.
    pub exprs: Vec<String>,
    /// What it compares registers with, in order.
    pub compared: Vec<Vec<u8>>,
    /// iptables' matches that it asks, by name, in order.
    pub matches: Vec<String>,
    /// The chain that it jumps to.
    pub jump: Option<String>,
    /// Whether it ends in accepting the packet.
    pub accepts: bool,
    /// How it changes a packet's mark, if that is all that it does.
    pub mark: Option<MarkInfo>,
    /// Its comment: nft's, or iptables' match of that name.
    pub comment: Option<String>,
}

impl RuleInfo {
    /// Reads a message, if it is a rule.
    pub fn read(message: &Message<'_>) -> Option<RuleInfo> {
        let all = of(message, libc::NFT_MSG_NEWRULE)?;
        let mut rule = RuleInfo {
            handle: all.find(NFTA_RULE_HANDLE).and_then(be64_of).unwrap_or(0),
            chain: text(&all, NFTA_RULE_CHAIN),
            exprs: Vec::new(),
            compared: Vec::new(),
            matches: Vec::new(),
            jump: None,
            accepts: false,
            mark: None,
            comment: comment(all.find(NFTA_RULE_USERDATA)),
        };
        let mut of_mark = true;
        for (_, expr) in attrs(all.find(NFTA_RULE_EXPRESSIONS).unwrap_or(&[])) {
            let name = text(&attrs(expr), NFTA_EXPR_NAME);
            let data = attrs(attrs(expr).find(NFTA_EXPR_DATA).unwrap_or(&[]));
            match name.as_str() {
                "cmp" => {
                    let value =
                        attrs(data.find(NFTA_CMP_DATA).unwrap_or(&[])).find(NFTA_DATA_VALUE);
                    rule.compared.push(value.unwrap_or(&[]).to_vec());
                }
                "immediate" => {
                    let data = attrs(data.find(NFTA_IMMEDIATE_DATA).unwrap_or(&[]));
                    let verdict = attrs(data.find(NFTA_DATA_VERDICT).unwrap_or(&[]));
                    rule.jump = verdict.find(NFTA_VERDICT_CHAIN).map(text_of);
                    rule.accepts =
                        verdict.find(NFTA_VERDICT_CODE).and_then(be32_of) == Some(ACCEPT);
                }
                "meta" => of_mark &= data.find(NFTA_META_KEY).and_then(be32_of) == Some(MARK),
                // Comments as iptables-restore has them: struct xt_comment_info, a text of 256 bytes.
                "match" if text(&data, NFTA_MATCH_NAME) == "comment" => {
                    rule.comment = rule.comment.or_else(|| data.find(NFTA_MATCH_INFO).map(text_of));
                }
                "match" => rule.matches.push(text(&data, NFTA_MATCH_NAME)),
                "target" | "bitwise" => rule.mark = read_mark(&data),
                _ => {}
            }
            rule.exprs.push(name);
        }
        let names: Vec<&str> =
            rule.exprs.iter().map(String::as_str).filter(|name| *name != "counter").collect();
        let only_marks = matches!(names[..], ["target"] | ["meta", "bitwise", "meta"]);
        rule.mark = rule.mark.filter(|_| only_marks && of_mark);
        Some(rule)
    }
}

const MARK: u32 = libc::NFT_META_MARK as u32;
const ACCEPT: u32 = libc::NF_ACCEPT as u32;

/// What iptables' MARK does, or nft's `meta mark set`. The first is a target with a struct
/// xt_mark_tginfo2 of linux/netfilter/xt_mark.h: `(mark & ~mask) ^ value`.
fn read_mark(data: &Attrs<'_>) -> Option<MarkInfo> {
    let word =
        |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if data.find(NFTA_TARGET_NAME).map(text_of).as_deref() == Some("MARK") {
        let info = data.find(NFTA_TARGET_INFO)?;
        return Some(MarkInfo { keep: !word(info, 4)?, xor: word(info, 0)? });
    }
    let value = |kind| attrs(data.find(kind).unwrap_or(&[])).find(NFTA_DATA_VALUE);
    let keep = word(value(NFTA_BITWISE_MASK)?, 0)?;
    Some(MarkInfo { keep, xor: word(value(NFTA_BITWISE_XOR)?, 0)? })
}

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetInfo {
    /// Its name.
    pub name: String,
    /// NFT_SET_*.
    pub flags: u32,
}

impl SetInfo {
    /// Reads a message, if it is a set.
    pub fn read(message: &Message<'_>) -> Option<SetInfo> {
        let all = of(message, libc::NFT_MSG_NEWSET)?;
        let flags = all.find(NFTA_SET_FLAGS).and_then(be32_of).unwrap_or(0);
        Some(SetInfo { name: text(&all, NFTA_SET_NAME), flags })
    }
}

/// Elements of one set: a dump comes in several messages of many elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElemInfo {
    /// The set.
    pub set: String,
    /// Its elements.
    pub elems: Vec<Elem>,
}

impl ElemInfo {
    /// Reads a message, if it has elements.
    pub fn read(message: &Message<'_>) -> Option<ElemInfo> {
        let all = of(message, libc::NFT_MSG_NEWSETELEM)?;
        let list = attrs(all.find(NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or(&[]));
        let elems = list.map(|(_, elem)| read_elem(&attrs(elem))).collect();
        Some(ElemInfo { set: text(&all, NFTA_SET_ELEM_LIST_SET), elems })
    }
}

fn read_elem(elem: &Attrs<'_>) -> Elem {
    let value =
        |kind| elem.find(kind).and_then(|v| attrs(v).find(NFTA_DATA_VALUE)).map(<[u8]>::to_vec);
    Elem {
        key: value(NFTA_SET_ELEM_KEY).unwrap_or_default(),
        key_end: value(NFTA_SET_ELEM_KEY_END),
        data: value(NFTA_SET_ELEM_DATA),
        comment: comment(elem.find(NFTA_SET_ELEM_USERDATA)),
    }
}
