//! What an add finds there: an earlier record of the same attachment, an interface of the same
//! name.

use podkeel_keep::{Record, Wait};

use super::{Context, PATIENCE, Wanted, alive, del};
use crate::error::{Error, Kind, Result};
use crate::plan::Pod;
use crate::record::{self, Attachment, Read, boot_id, kept};

/// Looks at an earlier record of the same attachment. A complete one of this
/// namespace is given back. One that was cut off, or whose container is gone, is
/// undone. One whose container lives stays: then the id is taken.
pub(super) fn settle_earlier(
    context: &Context,
    wanted: &Wanted,
    pod: &mut Pod,
) -> Result<Option<Attachment>> {
    let id = &wanted.id();
    let what = format!("attach {} as {id}", pod.netns.path.display());
    let net = context.roots.net();
    let record = match Record::open_locked(&net, &id.relative(), Wait::Until(PATIENCE)) {
        Ok(record) => record,
        Err(e) if e.is_missing() => return Ok(None),
        Err(e) => return Err(kept(format!("read the record of {id}"), &e)),
    };
    let bytes = record.read().map_err(|e| kept(format!("read the record of {id}"), &e))?;
    match Read::new(&bytes) {
        Read::Unknown(_) => return Err(record::unknown(what)),
        Read::Torn => {}
        Read::Whole(there) if there.boot != boot_id()? || there.state.cut_off().is_some() => {}
        Read::Whole(there) if there.mark.root() != context.root()? => {
            return Err(record::elsewhere(what, &there));
        }
        Read::Whole(there) if there.is_in(pod)? && !has_lost_it(wanted, pod)? => {
            return Ok(Some(*there));
        }
        Read::Whole(there) if !there.is_in(pod)? && alive::has_its_namespace(&there) => {
            let why = format!("container {} has it already, in {}", id.container, there.netns);
            return Err(Error::new(Kind::Taken, what, why).hint("choose another container id"));
        }
        Read::Whole(_) => {}
    }
    let errors = del::take_down(context, id, record)?;
    match errors.into_iter().next() {
        Some(error) => {
            Err(Error { what: format!("clear away an earlier {id}: {}", error.what), ..error })
        }
        None => Ok(None),
    }
}

/// Whether another plugin than ours has deleted the interface of this name, and the runtime
/// asks for it again.
fn has_lost_it(wanted: &Wanted, pod: &mut Pod) -> Result<bool> {
    let is_call = wanted.part.is_some() && wanted.makes_interface();
    Ok(is_call && pod.rtnl.link(&wanted.ifname)?.is_none())
}

/// The name must be free in the pod; who has it is said, if it is one of ours.
pub(super) fn must_be_free(context: &Context, wanted: &Wanted, pod: &mut Pod) -> Result<()> {
    let Some(link) = pod.rtnl.link(&wanted.ifname)? else { return Ok(()) };
    let netns = pod.id()?;
    let holder = record::whole(&context.roots)?
        .into_iter()
        .find(|a| a.netns.is(&netns) && a.id.ifname == wanted.ifname && a.id != wanted.id());
    let why = match holder {
        Some(other) => format!("attachment {} holds {} there already", other.id, wanted.ifname),
        None => format!(
            "it has a link {} already ({})",
            wanted.ifname,
            link.kind.as_deref().unwrap_or("no kind")
        ),
    };
    let what = format!("attach {} to network {}", pod.netns.path.display(), wanted.network.name);
    Err(Error::new(Kind::Taken, what, why)
        .hint("another --ifname, or del the other attachment first"))
}
