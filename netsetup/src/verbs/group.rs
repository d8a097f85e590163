//! The links of several attachments that are to go, taken away at once.
//!
//! To delete a link costs two processes, an announcement that is waited for and, in the
//! kernel, a lock, its notifiers and grace periods: once for each request, be it for a
//! link or for a group of them. It is the first thing that is done, and nothing depends on
//! it: each attachment is taken away after that as any other is, and what could not be
//! done here is tried again there, and told of.

use podkeel_keep::{Record, Wait};
use podkeel_wire::rt::LinkInfo;

use super::del::note_deleting;
use super::{Context, chain};
use crate::error::{Context as _, Result};
use crate::kernel::Rtnl;
use crate::plan::{Hold, Object, is_veth_of};
use crate::record::{Attachment, Id, Read, boot_id};

/// Deletes the veths of these attachments, if there are several.
pub(super) fn links_first(context: &Context, ids: &[Id]) {
    if ids.len() > 1 {
        // See the top of this file.
        let _ = delete(context, ids);
    }
}

fn delete(context: &Context, ids: &[Id]) -> Result<()> {
    context.trust()?;
    let (root, boot) = (context.root()?, boot_id()?);
    let is_here = |there: &Attachment| there.mark.root() == root && there.boot == boot;
    let mut host = Rtnl::open()?;
    let mut links = Vec::new();
    // A plugin of others in a list may look at the link at its DEL.
    for id in ids.iter().filter(|id| chain::whole(context, id).is_none()) {
        // Somebody else's who is at work on it, or gone.
        let record = Record::open_locked(&context.roots.net(), &id.relative(), Wait::No);
        let Ok(mut record) = record else { continue };
        let Ok(bytes) = record.read() else { continue };
        let Read::Whole(mut there) = Read::new(&bytes) else { continue };
        if is_here(&there) && there.id == *id {
            let found = veths(&mut host, &there)?;
            if !found.is_empty() {
                note_deleting(&mut there, &mut record);
            }
            links.extend(found);
        }
    }
    if links.len() < 2 {
        return Ok(());
    }
    let mut random = [0; 4];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .ctx(|| "choose a random group of links".into())?;
    // Far from the small numbers that people give to groups of their own.
    host.delete_links(&links, u32::from_ne_bytes(random) >> 1 | 1 << 30)
}

/// Its veths that are there and wear its mark, or none yet.
fn veths(host: &mut Rtnl, attachment: &Attachment) -> Result<Vec<LinkInfo>> {
    let own = attachment.plan.steps.iter().filter_map(|step| match (&step.hold, &step.what) {
        (Hold::Own, Object::Veth(veth)) => Some(&veth.name),
        _ => None,
    });
    let mut found = Vec::new();
    for name in own {
        found.extend(host.link(name)?.filter(|link| is_veth_of(link, &attachment.mark)));
    }
    Ok(found)
}
