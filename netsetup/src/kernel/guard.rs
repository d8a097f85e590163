//! Pods that may send from their own link-layer address only. Frames between two ports
//! of a bridge are seen by a table of the bridge family alone, so this is a table of its
//! own; like the other's, its rules never change.
//!
//! ```text
//!  guard  link . source address in `senders`  ► goes on
//!         link in `guarded`                   ► dropped
//! ```

use podkeel_wire::nf::{self, Elem, Expr, Field, Hook, Reg, Set, Table};

use super::nft::Nft;
use crate::error::{Error, Kind, Result};
use crate::request::Mac;

/// The table.
const TABLE: Table<'static> = Table { family: nf::BRIDGE, name: "podkeel" };
/// The table's comment: it names the version of what stands in it.
const COMMENT: &str = "podkeel guard 1";
/// Before all that other tables do to a frame (NF_BR_PRI_FIRST is lower still).
const HOOK: Hook<'static> =
    Hook { kind: "filter", hook: libc::NF_INET_PRE_ROUTING, priority: -300 };
/// Bytes of a link's name in a set: IFNAMSIZ.
const NAME: usize = libc::IFNAMSIZ;
/// Set, and fields of its key.
const SETS: [(&str, &[Field]); 2] =
    [("senders", &[Field::Ifname, Field::Ether]), ("guarded", &[Field::Ifname])];
/// How often a transaction is tried again because somebody else changed the ruleset.
const TRIES: u32 = 1000;

/// The elements of a link, in the order of [`SETS`].
fn elems(link: &str, mac: Mac, comment: &str) -> [(&'static str, Elem); 2] {
    let mut name = link.as_bytes().to_vec();
    name.resize(NAME, 0);
    let mut both = [&name[..], &mac.0].concat();
    both.resize(both.len().next_multiple_of(4), 0);
    let elem = |key| Elem { key, comment: Some(comment.to_owned()), ..Elem::default() };
    [(SETS[0].0, elem(both)), (SETS[1].0, elem(name))]
}

/// Whether the table is there: `None` where it isn't, and else whether it is ours.
pub fn find(nft: &mut Nft) -> Result<Option<bool>> {
    Ok(nft.table(TABLE)?.map(|table| table.comment.as_deref() == Some(COMMENT)))
}

/// Makes the table; it must not be there.
///
/// # Errors
/// [`Kind::Unsupported`] where the kernel has no tables of the bridge family.
pub fn make(nft: &mut Nft) -> Result<()> {
    let (name, from) = (Reg::word(0), Reg::word(4));
    let link = Expr::Meta { key: libc::NFT_META_IIFNAME, to: name };
    let lookup = |set| Expr::Lookup { set, key: name, to: None };
    // struct ethhdr: the source is at 6.
    let source = Expr::Link { offset: 6, len: 6, to: from };
    let refused = nft.commit(None, |batch| {
        TABLE.make(batch, nf::CREATE, COMMENT);
        TABLE.make_chain(batch, "guard", Some(&HOOK));
        for (id, (name, key)) in SETS.iter().enumerate() {
            let id = id as u32 + 1;
            TABLE.make_set(batch, &Set { name, id, key, data: &[], interval: false });
        }
        TABLE.make_rule(batch, "guard", &[link, source, lookup("senders"), Expr::Return], None);
        TABLE.make_rule(batch, "guard", &[link, lookup("guarded"), Expr::Drop], None);
    })?;
    let Some(refusal) = refused.first() else { return Ok(()) };
    let error = refusal.error("make nftables table bridge podkeel");
    Err(match refusal.errno {
        libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::ENOENT => {
            error.kind(Kind::Unsupported).hint("CONFIG_NF_TABLES_BRIDGE is needed")
        }
        _ => error,
    })
}

/// Lets a link send from this address only. The link need not be there yet.
pub fn allow(nft: &mut Nft, link: &str, mac: Mac, mark: &str) -> Result<()> {
    let refused = nft.commit(None, |batch| {
        for (set, elem) in elems(link, mac, mark) {
            TABLE.make_elems(batch, set, nf::CREATE, &[elem]);
        }
    })?;
    let what = || format!("let {link} send from {mac} only");
    refused.first().map_or(Ok(()), |refusal| Err(refusal.error(what())))
}

/// Whether all elements of a link are there and wear this mark; `None` where none is.
pub fn allowed(nft: &mut Nft, link: &str, mac: Mac, mark: &str) -> Result<Option<bool>> {
    let found = nft.elems(TABLE, &elems(link, mac, ""))?;
    let ours = |elem: &Option<Elem>| {
        elem.as_ref().is_some_and(|elem| elem.comment.as_deref() == Some(mark))
    };
    Ok(found.iter().any(Option::is_some).then(|| found.iter().all(ours)))
}

/// Removes a link's elements that wear this mark.
pub fn release(nft: &mut Nft, link: &str, mac: Mac, mark: &str) -> Result<()> {
    remove(nft, &elems(link, mac, ""), &|comment| comment == Some(mark))
}

/// All elements, and the set that each is in.
pub fn all(nft: &mut Nft) -> Result<Vec<(&'static str, Elem)>> {
    let mut found = Vec::new();
    for (set, _) in SETS {
        found.extend(nft.all_elems(TABLE, set)?.into_iter().map(|elem| (set, elem)));
    }
    Ok(found)
}

/// Removes those of the elements whose comment is `ours` at that moment.
pub fn remove(
    nft: &mut Nft,
    wanted: &[(&'static str, Elem)],
    ours: &dyn Fn(Option<&str>) -> bool,
) -> Result<()> {
    for _ in 0..TRIES {
        let generation = nft.generation()?;
        let found = nft.elems(TABLE, wanted)?;
        let is_ours =
            |found: &Option<Elem>| found.as_ref().is_some_and(|elem| ours(elem.comment.as_deref()));
        let gone = wanted.iter().zip(&found).filter(|(_, found)| is_ours(found));
        let gone: Vec<_> = gone.map(|((set, elem), _)| (*set, elem.key.clone())).collect();
        let refused = nft.commit(Some(generation), |batch| {
            for (set, key) in gone {
                TABLE.delete_elems(batch, set, &[Elem { key, ..Elem::default() }]);
            }
        })?;
        match refused.first() {
            None => return Ok(()),
            Some(r) if r.errno == libc::ERESTART || r.errno == libc::ENOENT => {}
            Some(r) => return Err(r.error("remove elements from nftables table bridge podkeel")),
        }
    }
    Err(too_busy())
}

/// Removes the table when it is ours and nothing is left in it.
pub fn drop_table(nft: &mut Nft) -> Result<()> {
    for _ in 0..TRIES {
        let generation = nft.generation()?;
        if find(nft)? != Some(true) || !all(nft)?.is_empty() {
            return Ok(());
        }
        let refused = nft.commit(Some(generation), |batch| _ = TABLE.delete(batch))?;
        match refused.first() {
            None => return Ok(()),
            Some(r) if r.errno == libc::ERESTART || r.errno == libc::ENOENT => {}
            Some(r) => return Err(r.error("delete nftables table bridge podkeel")),
        }
    }
    Err(too_busy())
}

fn too_busy() -> Error {
    let why = format!("somebody changed the ruleset under every one of {TRIES} attempts");
    Error::new(Kind::Failed, "change nftables table bridge podkeel", why)
}
