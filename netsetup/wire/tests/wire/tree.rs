//! A message as a list of lines, and how two of them differ.
//!
//! A line is a path of attribute types and a value: `18.2.1.3 = 6574683000` is
//! IFLA_LINKINFO, IFLA_INFO_DATA, VETH_INFO_PEER, IFLA_IFNAME. Attributes of
//! one type under one parent are numbered (`4.1#2`), for their order has a
//! meaning; the order of different types has none. Sequence number and port id
//! are left out.

use crate::golden::hex;

/// Which attributes nest, and how many bytes lead the nested ones.
pub(crate) trait Schema {
    /// Bytes between the header and the first attribute.
    fn fixed(&self) -> usize;
    /// `Some(bytes before the first nested attribute)` where the attribute nests.
    fn nested(&self, path: &str, flagged: bool) -> Option<usize>;
}

/// rtnetlink: ip sets NLA_F_NESTED nowhere, so the paths that nest are named.
pub(crate) struct Rtnl(pub(crate) usize);

impl Schema for Rtnl {
    fn fixed(&self) -> usize {
        self.0
    }
    fn nested(&self, path: &str, _: bool) -> Option<usize> {
        match path {
            "18" | "18.2" | "18.5" | "26" => Some(0),
            "18.2.1" => Some(16),
            _ => None,
        }
    }
}

/// nfnetlink: everything that nests carries NLA_F_NESTED.
pub(crate) struct Nf;

impl Schema for Nf {
    fn fixed(&self) -> usize {
        4
    }
    fn nested(&self, _: &str, flagged: bool) -> Option<usize> {
        flagged.then_some(0)
    }
}

/// The lines of one message, header included.
pub(crate) fn lines(message: &[u8], schema: &impl Schema) -> Vec<String> {
    let half = |at: usize| u16::from_ne_bytes(message[at..at + 2].try_into().unwrap());
    let body = &message[16..];
    let mut lines = vec![
        format!("type = {:#x}", half(4)),
        format!("flags = {:#x}", half(6)),
        format!("body = {}", hex(&body[..schema.fixed()])),
    ];
    attributes(&body[schema.fixed()..], "", schema, &mut lines);
    lines
}

fn attributes(mut bytes: &[u8], parent: &str, schema: &impl Schema, lines: &mut Vec<String>) {
    let mut seen = Vec::new();
    while !bytes.is_empty() {
        let half = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap());
        let (len, kind) = (usize::from(half(0)), half(2));
        let (flagged, kind) = (kind & 0x8000 != 0, kind & 0x3fff);
        let payload = &bytes[4..len];
        let earlier = seen.iter().filter(|k| **k == kind).count();
        seen.push(kind);
        let number = if earlier > 0 { format!("#{}", earlier + 1) } else { String::new() };
        let path = format!("{parent}{kind}{number}");
        match schema.nested(&path, flagged) {
            None => lines.push(format!("{path} = {}", hex(payload))),
            Some(fixed) => {
                let lead = hex(&payload[..fixed]);
                lines
                    .push(format!("{path} {{{lead}{}", if flagged { " NLA_F_NESTED" } else { "" }));
                attributes(&payload[fixed..], &format!("{path}."), schema, lines);
            }
        }
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
    }
}

/// A difference that is meant: lines that only the real program has (`-`) or only we have (`+`).
#[derive(Clone, Copy)]
pub(crate) struct Named {
    /// The lines; a `*` at the end stands for any rest.
    pub(crate) lines: &'static [&'static str],
    /// Why.
    pub(crate) why: &'static str,
}

/// The lines that differ, as a diff from the real program's message to ours.
pub(crate) fn diff(theirs: &[u8], ours: &[u8], schema: &impl Schema) -> Vec<String> {
    let (theirs, ours) = (lines(theirs, schema), lines(ours, schema));
    let mut found = Vec::new();
    found.extend(theirs.iter().filter(|l| !ours.contains(l)).map(|l| format!("-{l}")));
    found.extend(ours.iter().filter(|l| !theirs.contains(l)).map(|l| format!("+{l}")));
    found
}

/// Fails unless the two messages differ exactly as named, line for line.
pub(crate) fn assert_same(
    command: &str,
    theirs: &[u8],
    ours: &[u8],
    schema: &impl Schema,
    named: &[Named],
) {
    let mut found = diff(theirs, ours, schema);
    for line in named.iter().flat_map(|n| n.lines) {
        let matches =
            |l: &String| line.strip_suffix('*').map_or(l == line, |start| l.starts_with(start));
        let at = found.iter().position(matches);
        let at = at.unwrap_or_else(|| {
            panic!("{command}: the named difference {line:?} isn't there, but {found:#?}")
        });
        found.remove(at);
    }
    let named: Vec<_> = named.iter().map(|n| n.why).collect();
    assert!(found.is_empty(), "{command}: differs in more than {named:?}:\n{}", found.join("\n"));
}
