//! Our numbers against those of the kernel's headers.

use std::collections::HashMap;

/// Names and values of a kernel header's enums and numeric #defines.
pub(crate) fn header(path: &str) -> HashMap<String, i64> {
    let text = std::fs::read_to_string(format!("/usr/include/{path}"))
        .unwrap_or_else(|e| panic!("/usr/include/{path}: {e} (Debian package linux-libc-dev)"));
    let text = without_comments(&text);
    let mut known = HashMap::new();
    for line in text.lines() {
        if let Some((name, value)) =
            line.strip_prefix("#define ").and_then(|d| d.split_once([' ', '\t']))
        {
            insert(&mut known, name.trim(), value.trim());
        }
    }
    // From one "enum NAME {" to its "}": no enum holds braces.
    for body in
        text.split("enum ").skip(1).filter_map(|e| Some(e.split_once('{')?.1.split_once('}')?.0))
    {
        let mut next = 0;
        for item in body.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            if !value.is_empty() {
                next =
                    value_of(&known, value).unwrap_or_else(|| panic!("{path}: what is {item:?}?"));
            }
            known.insert(name.trim().to_owned(), next);
            next += 1;
        }
    }
    known
}

fn insert(known: &mut HashMap<String, i64>, name: &str, value: &str) {
    if let Some(value) = value_of(known, value) {
        known.insert(name.to_owned(), value);
    }
}

/// A number, a name, `(a | b)`, `a << b`, `a + b`, `a - b`; the headers use nothing else in these enums.
fn value_of(known: &HashMap<String, i64>, text: &str) -> Option<i64> {
    let text = text.trim().trim_end_matches('U');
    let number = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    number.or_else(|| known.get(text).copied()).or_else(|| {
        if let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
            return value_of(known, inner);
        }
        let (left, right, act) = OPERATORS.iter().find_map(|(sign, act)| {
            let (left, right) = text.split_once(sign)?;
            Some((left, right, act))
        })?;
        Some(act(value_of(known, left)?, value_of(known, right)?))
    })
}

type Operator = (&'static str, fn(i64, i64) -> i64);

/// The loosest first.
const OPERATORS: [Operator; 4] =
    [("|", |a, b| a | b), ("<<", |a, b| a << b), ("+", |a, b| a + b), ("-", |a, b| a - b)];

fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once("*/").map_or("", |(_, rest)| rest))
}

#[test]
fn attributes_have_the_headers_numbers() {
    let header = header("linux/netfilter/nf_tables.h");
    assert!(header.len() > 300, "only {} names found: the header isn't understood", header.len());
    for (name, ours) in super::ALL {
        let theirs = header.get(*name).unwrap_or_else(|| panic!("nf_tables.h has no {name}"));
        assert_eq!(i64::from(*ours), *theirs, "{name}");
    }
}

#[test]
fn other_numbers_that_no_crate_has() {
    let nft = header("linux/netfilter/nf_tables.h");
    assert_eq!(nft["NFT_SET_CONCAT"], i64::from(crate::nf::NFT_SET_CONCAT));
    assert_eq!(nft["NFTA_FIB_F_DADDR"], i64::from(crate::nf::expr::NFTA_FIB_F_DADDR));
    assert_eq!(nft["NFTA_FIB_F_SADDR"], i64::from(crate::nf::expr::NFTA_FIB_F_SADDR));
    assert_eq!(nft["NFT_RANGE_EQ"], i64::from(crate::nf::expr::NFT_RANGE_EQ));
    assert_eq!(nft["NFT_RANGE_NEQ"], i64::from(crate::nf::expr::NFT_RANGE_NEQ));
    assert_eq!(nft["NFT_FIB_RESULT_ADDRTYPE"], i64::from(crate::nf::expr::NFT_FIB_RESULT_ADDRTYPE));
    assert_eq!(nft["NFT_USERDATA_MAXLEN"], crate::nf::USERDATA_MAX as i64);
    let ct = header("linux/netfilter/nfnetlink_conntrack.h");
    for (name, ours) in [
        ("CTA_TUPLE_ORIG", crate::ct::CTA_TUPLE_ORIG),
        ("CTA_TUPLE_REPLY", crate::ct::CTA_TUPLE_REPLY),
        ("CTA_ID", crate::ct::CTA_ID),
        ("CTA_ZONE", crate::ct::CTA_ZONE),
        ("CTA_TUPLE_IP", crate::ct::CTA_TUPLE_IP),
        ("CTA_TUPLE_PROTO", crate::ct::CTA_TUPLE_PROTO),
        ("CTA_IP_V4_SRC", crate::ct::CTA_IP_V4_SRC),
        ("CTA_IP_V4_DST", crate::ct::CTA_IP_V4_DST),
        ("CTA_IP_V6_SRC", crate::ct::CTA_IP_V6_SRC),
        ("CTA_IP_V6_DST", crate::ct::CTA_IP_V6_DST),
        ("CTA_PROTO_NUM", crate::ct::CTA_PROTO_NUM),
        ("CTA_PROTO_SRC_PORT", crate::ct::CTA_PROTO_SRC_PORT),
        ("CTA_PROTO_DST_PORT", crate::ct::CTA_PROTO_DST_PORT),
        ("IPCTNL_MSG_CT_NEW", crate::ct::IPCTNL_MSG_CT_NEW),
        ("IPCTNL_MSG_CT_GET", crate::ct::IPCTNL_MSG_CT_GET),
        ("IPCTNL_MSG_CT_DELETE", crate::ct::IPCTNL_MSG_CT_DELETE),
    ] {
        assert_eq!(ct[name], i64::from(ours), "{name}");
    }
    let compat = header("linux/netfilter/nf_tables_compat.h");
    assert_eq!(compat["NFTA_MATCH_NAME"], i64::from(crate::nf::expr::NFTA_MATCH_NAME));
    assert_eq!(compat["NFTA_MATCH_REV"], i64::from(crate::nf::expr::NFTA_MATCH_REV));
    assert_eq!(compat["NFTA_MATCH_INFO"], i64::from(crate::nf::expr::NFTA_MATCH_INFO));
    assert_eq!(compat["NFTA_TARGET_NAME"], i64::from(crate::nf::expr::NFTA_TARGET_NAME));
    assert_eq!(compat["NFTA_TARGET_INFO"], i64::from(crate::nf::expr::NFTA_TARGET_INFO));
    let veth = header("linux/veth.h");
    assert_eq!(veth["VETH_INFO_PEER"], i64::from(crate::rt::VETH_INFO_PEER));
    let conntrack = header("linux/netfilter/nf_conntrack_common.h");
    // What rulesets match as `ct status dnat`.
    assert_eq!(conntrack["IPS_DST_NAT"], 1 << 5);
}
