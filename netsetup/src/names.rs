//! Names that we give, and the marks by which we know our own again.

use std::fmt;

use podkeel_keep::fnv1a64;
use serde::{Deserialize, Serialize};

use crate::request::Mac;

/// Which attachment an object belongs to. It is written where the kernel can
/// carry it: a link's alias, an nftables element's comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Whose records it is in ([`Roots::id`], 24 bits), then 40 random bits, so
    /// that two lives of one container are told apart.
    ///
    /// [`Roots::id`]: crate::roots::Roots::id
    pub attachment: u64,
    /// `network/container/ifname`; of one that is too long its beginning, `~` and a hash.
    pub owner: String,
}

/// How every mark begins.
pub const MARK: &str = "podkeel ";

/// The mark of what the attachments of one root share.
pub fn shared(root: u32) -> String {
    format!("{MARK}shared {root:06x}")
}

/// Longest mark: what an nftables comment holds, and less than a link's alias.
const MARK_MAX: usize = podkeel_wire::nf::COMMENT_MAX;

impl Mark {
    /// A mark for a new attachment.
    pub fn new(root: u32, random: u64, network: &str, container: &str, ifname: &str) -> Mark {
        let attachment = u64::from(root) << ROOT_SHIFT | random & ((1 << ROOT_SHIFT) - 1);
        Mark { attachment, owner: fit(&format!("{network}/{container}/{ifname}")) }
    }

    /// Whose records it is in.
    pub fn root(&self) -> u32 {
        (self.attachment >> ROOT_SHIFT) as u32
    }

    /// The mark of what it shares with others of the same root.
    pub fn shared(&self) -> String {
        shared(self.root())
    }

    /// Whether this text, read from the kernel, is exactly this mark.
    pub fn is(&self, text: Option<&str>) -> bool {
        text.is_some_and(|text| text == self.to_string())
    }

    /// Whether this text is a mark of the same owner and root, in this or an earlier life.
    pub fn same_owner(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return false };
        owner_of(text) == Some(&self.owner) && root_of(text) == Some(self.root())
    }

    /// The same, of the attachment that the owner is, or is a part of, or of another part of it.
    pub fn same_attachment(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return false };
        let same = owner_of(text).map(without_part) == Some(without_part(&self.owner));
        same && root_of(text) == Some(self.root())
    }

    /// The veth end that stays on the host. A hash, so that a name tells
    /// nothing and never collides with an earlier life of the container.
    pub fn veth(&self) -> String {
        format!("pk{:012x}", self.hash("veth") >> 16)
    }

    /// The name under which a bridge is made, until it gets its own name and its mark in one step.
    pub fn unnamed(&self) -> String {
        format!("pkb{:011x}", self.hash("bridge") >> 20)
    }

    /// A locally administered unicast address. The machine's id goes in:
    /// two hosts may sit on one Ethernet.
    pub fn mac(&self, of: &str, machine: &str) -> Mac {
        let [a, b, c, d, e, ..] = hash(&[&self.id(), of, machine]).to_be_bytes();
        Mac([0x02, a, b, c, d, e])
    }

    /// The address of the end that stays on the host: above all others. A bridge that
    /// nobody gave an address takes the lowest of its ports', and must not change it,
    /// under its other ports' neighbours, because a pod came (br_stp_recalculate_bridge_id
    /// of net/bridge/br_stp_if.c).
    pub fn outer_mac(&self, machine: &str) -> Mac {
        let Mac([_, rest @ ..]) = self.mac("outer", machine);
        let [a, b, c, d, e] = rest;
        Mac([0xfe, a, b, c, d, e])
    }

    /// The attachment's id, 16 hex digits.
    pub fn id(&self) -> String {
        format!("{:016x}", self.attachment)
    }

    fn hash(&self, of: &str) -> u64 {
        hash(&[&self.id(), self.owner.rsplit('/').next().unwrap_or_default(), of])
    }
}

/// Random bits of an attachment's id.
const ROOT_SHIFT: u32 = 40;

/// Where the owner begins in a mark: behind "podkeel " and 16 digits and a space.
const OWNER_AT: usize = MARK.len() + 17;

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{:016x} {}", self.attachment, self.owner)
    }
}

/// An owner that fits into a mark. Cut off alone, two long ones would be taken for one.
fn fit(owner: &str) -> String {
    const MAX: usize = MARK_MAX - OWNER_AT;
    if owner.len() <= MAX {
        return owner.to_owned();
    }
    let hash = format!("~{:016x}", fnv1a64(owner.as_bytes()));
    let mut cut = MAX - hash.len();
    while !owner.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{hash}", &owner[..cut])
}

/// `net/web/eth0` of `net/web/eth0:tuning`.
fn without_part(owner: &str) -> &str {
    let last = owner.match_indices('/').nth(1).map_or(owner.len(), |(at, _)| at);
    owner[last..].find(':').map_or(owner, |at| &owner[..last + at])
}

/// The root that a mark belongs to.
pub fn root_of(text: &str) -> Option<u32> {
    let id = is_mark(text).then(|| text.get(MARK.len()..OWNER_AT - 1))??;
    u64::from_str_radix(id, 16).ok().map(|id| (id >> ROOT_SHIFT) as u32)
}

/// Whether a text read from the kernel is the mark of some attachment of ours.
pub fn is_mark(text: &str) -> bool {
    let id = text.strip_prefix(MARK).and_then(|rest| rest.get(..16));
    id.is_some_and(|id| id.bytes().all(|b| b.is_ascii_hexdigit()))
        && text.as_bytes().get(OWNER_AT - 1) == Some(&b' ')
}

/// Who a mark names, for people: `network/container/ifname`.
pub fn owner_of(text: &str) -> Option<&str> {
    if is_mark(text) { text.get(OWNER_AT..) } else { None }
}

/// The MAC address of a bridge: it must not change when the first port comes
/// or goes, so it is set, and it depends on name and machine alone.
pub fn bridge_mac(name: &str, machine: &str) -> Mac {
    let [a, b, c, d, e, ..] = hash(&["bridge", name, machine]).to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}

/// The MAC address of a tunnel's end: every host of the network can work it out from the
/// network's number and the other's address.
pub fn tunnel_mac(id: u32, host: std::net::IpAddr) -> Mac {
    let [a, b, c, d, e, ..] = hash(&["tunnel", &id.to_string(), &host.to_string()]).to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}

/// FNV-1a is stable over builds, which names in records need; the words are set apart by NUL.
fn hash(words: &[&str]) -> u64 {
    fnv1a64(words.join("\0").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        let mark = Mark::new(u32::MAX, u64::MAX, "bridge", &"c".repeat(200), "eth0");
        assert_eq!(mark.veth().len(), 14);
        assert_eq!(mark.unnamed().len(), 14);
        assert_eq!(mark.to_string().len(), MARK_MAX);
        assert_eq!(mark.mac("peer", "m").0[0] & 3, 2, "locally administered, unicast");
        assert_eq!(mark.outer_mac("m").0[0], 0xfe, "the same, and above all others");
    }

    #[test]
    fn a_mark_is_known_again_and_no_other_text_is() {
        let mark = Mark::new(0xabcdef, 7, "bridge", "web", "eth0");
        assert_eq!(mark.to_string(), "podkeel abcdef0000000007 bridge/web/eth0");
        assert_eq!((mark.root(), mark.shared().as_str()), (0xabcdef, "podkeel shared abcdef"));
        assert!(mark.is(Some("podkeel abcdef0000000007 bridge/web/eth0")));
        let later = Mark::new(0xabcdef, 8, "bridge", "web", "eth0");
        let text = mark.to_string();
        assert!(!later.is(Some(&text)) && later.same_owner(Some(&text)));
        assert!(!Mark::new(1, 7, "bridge", "web", "eth0").same_owner(Some(&text)), "another root");
        assert_eq!((owner_of(&text), root_of(&text)), (Some("bridge/web/eth0"), Some(0xabcdef)));
        for other in ["", "podkeel", &shared(1), "podkeel 00000000000000zz a/b/c", "uplink"] {
            assert!(!is_mark(other) && owner_of(other).is_none() && !mark.is(Some(other)));
        }
        assert!(!mark.is(None) && !mark.same_owner(None) && !mark.same_attachment(None));
    }

    #[test]
    fn parts_are_of_one_attachment() {
        let mark = |container: &str, last: &str| Mark::new(1, 7, "bridge", container, last);
        let part = mark("web", "eth0:tuning").to_string();
        for one in ["eth0", "eth0:tuning", "eth0:portmap"] {
            assert!(mark("web", one).same_attachment(Some(&part)), "{one}");
        }
        for other in [mark("web", "eth1"), mark("web:x", "eth0"), mark("we", "eth0:tuning")] {
            assert!(!other.same_attachment(Some(&part)), "{other}");
        }
        let other = Mark::new(2, 7, "bridge", "web", "eth0");
        assert!(!other.same_attachment(Some(&part)), "another root");
        assert!(!mark("a:b", "eth0").same_attachment(Some(&mark("a:c", "eth0").to_string())));
    }

    #[test]
    fn long_owners_are_told_apart() {
        let id = "c".repeat(100);
        let mark = |container: &str, ifname: &str| Mark::new(1, 7, "bridge", container, ifname);
        let text = mark(&id, "eth0").to_string();
        assert!(mark(&id, "eth0").same_owner(Some(&text)));
        for other in [mark(&format!("{id}x"), "eth0"), mark(&id, "eth1"), mark(&id[1..], "eth0")] {
            assert!(!other.same_owner(Some(&text)), "{other}");
        }
    }

    #[test]
    fn two_attachments_and_two_machines_differ() {
        let (a, b) = (Mark::new(0, 1, "n", "c", "eth0"), Mark::new(0, 1, "n", "c", "eth1"));
        assert_ne!(a.veth(), b.veth());
        assert_ne!(a.mac("peer", "one"), a.mac("peer", "two"));
        assert_ne!(bridge_mac("br0", "one"), bridge_mac("br0", "two"));
    }
}
