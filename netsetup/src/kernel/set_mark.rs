//! Chains of iptables' table nat that mark packets for others to masquerade, as Kubernetes'
//! KUBE-MARK-MASQ does. A rule of our table can't jump there: what the chain does is read
//! once, and done in its place.

use podkeel_wire::nf::{self, MarkInfo, Table};

use super::nft::Nft;
use super::ruleset::Marking;
use crate::error::{Error, Kind, Result};

/// How a chain changes the mark of a packet.
///
/// # Errors
/// [`Kind::Missing`] where there is no such chain; [`Kind::Unsupported`] where it does more
/// than set bits of the mark, or less.
pub fn read(nft: &mut Nft, v6: bool, chain: &str) -> Result<Marking> {
    let command = super::forward::command(v6);
    let what = || format!("mark packets as chain {chain} of {command}' table nat does");
    let table = Table { family: if v6 { nf::IP6 } else { nf::IP }, name: "nat" };
    if nft.chain(table, chain)?.is_none() {
        let why = format!("there is no such chain ({command}-legacy's can't be seen)");
        return Err(Error::new(Kind::Missing, what(), why)
            .hint(format!("externalSetMarkChain names it; {command}-save -t nat shows all")));
    }
    let mut all = MarkInfo { keep: u32::MAX, xor: 0 };
    for rule in nft.rules_of(table, chain)? {
        let Some(next) = rule.mark else {
            let why = format!("it has a rule that does anything else ({})", rule.exprs.join(" "));
            return Err(Error::new(Kind::Unsupported, what(), why));
        };
        all = MarkInfo { keep: all.keep & next.keep, xor: (all.xor & next.keep) ^ next.xor };
    }
    // Bits that are kept and turned round say nothing of what the mark is afterwards.
    let mask = !all.keep;
    if mask == 0 || all.xor & all.keep != 0 || all.xor == 0 {
        return Err(Error::new(Kind::Unsupported, what(), "it sets no bit of the mark"));
    }
    Ok(Marking { mask, value: all.xor, masquerade: false })
}
