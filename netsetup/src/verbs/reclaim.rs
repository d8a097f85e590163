//! What an add needs and another attachment has that is dead: taken away, as gc would.
//!
//! A pod may go without our del: the node's plugins were changed for others under it, or its
//! runtime was killed. Then its ports and addresses are still those of its mark. gc finds it;
//! so that no new pod has to wait for one, who meets it takes it away.

use podkeel_keep::{Record, Wait};

use super::alive::{Use, in_use};
use super::sweep::Marked;
use super::{Context, del};
use crate::error::{Error, Result};
use crate::kernel::{Nft, Rtnl};
use crate::names;
use crate::record::{self, Read, boot_id, kept};

/// Gives the error back, unless what was in the way wore a mark and is gone now: it was a dead
/// attachment's.
pub(super) fn make_way(context: &Context, holder: Option<String>, error: Error) -> Result<()> {
    let Some(mark) = holder else { return Err(error) };
    match dead(context, &mark) {
        Ok(Holder::Gone) => Ok(()),
        Ok(Holder::Lives) => Err(error),
        Ok(Holder::Unknown(why)) => Err(error.hint(format!("`netsetup gc` can't tell: {why}"))),
        Err(other) => Err(error.hint(format!("it is dead, but `netsetup gc` is needed: {other}"))),
    }
}

/// What became of a holder.
enum Holder {
    /// It was dead, and what it had is free.
    Gone,
    /// It lives, or is another root's.
    Lives,
    /// Whether it lives can't be told.
    Unknown(String),
}

/// Takes the attachment away that wears this mark, if it is known to be dead.
fn dead(context: &Context, mark: &str) -> Result<Holder> {
    if names::root_of(mark) != Some(context.root()?) {
        return Ok(Holder::Lives);
    }
    let all = record::all(&context.roots)?;
    let is_its = |read: &Read| read.mark().is_some_and(|its| its.is(Some(mark)));
    let Some((relative, _)) = all.iter().find(|(_, read)| is_its(read)) else {
        // A record is there before anything wears its mark, and after nothing does.
        let (mut host, mut nft) = (Rtnl::open()?, Nft::open()?);
        Marked::find(&mut host, &mut nft, &|text| text == mark)?.remove(&mut host, &mut nft)?;
        return Ok(Holder::Gone);
    };
    let what = || format!("read record {}", relative.display());
    let record = match Record::open_locked(&context.roots.net(), relative, Wait::No) {
        Ok(record) => record,
        Err(e) if e.is_missing() => return Ok(Holder::Gone),
        Err(e) if e.is_busy() => return Ok(Holder::Lives),
        Err(e) => return Err(kept(what(), &e)),
    };
    let bytes = record.read().map_err(|e| kept(what(), &e))?;
    let there = match Read::new(&bytes) {
        Read::Whole(there) if there.mark.is(Some(mark)) => there,
        _ => return Ok(Holder::Lives),
    };
    let others: Vec<_> = all.into_iter().filter_map(|(_, read)| read.whole()).collect();
    match in_use(&there, &boot_id()?, &others)? {
        Use::Alive(_) => Ok(Holder::Lives),
        Use::Unknown(why) => Ok(Holder::Unknown(why)),
        Use::Orphan(_) => match del::take_down(context, &there.id, record)?.into_iter().next() {
            None => Ok(Holder::Gone),
            Some(error) => Err(error),
        },
    }
}
