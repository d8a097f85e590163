//! check: each object of the record, found and compared.

use podkeel_keep::{Record, Wait};

use super::{Context, PATIENCE};
use crate::error::{Error, Kind, Result};
use crate::kernel::{Netns, Rtnl};
use crate::plan::{self, Found, Pod, Step, World};
use crate::record::{self, Attachment, Id, Read, kept};

/// What `check` found of an attachment.
#[derive(Debug)]
pub struct Checked {
    /// Its record.
    pub attachment: Attachment,
    /// Each step of its plan, and what is there of it.
    pub steps: Vec<(Step, Found)>,
}

impl Checked {
    /// Whether everything is as it was made.
    pub fn ok(&self) -> bool {
        self.steps.iter().all(|(_, found)| *found == Found::Same)
    }
}

/// Compares an attachment with its record.
///
/// # Errors
/// [`Kind::Missing`] where there is no such attachment, or its namespace is gone.
pub fn check(context: &Context, id: &Id) -> Result<Checked> {
    check_but(context, id, &|_| {})
}

/// The same, when `change` has adapted the plan to what came after it.
pub(super) fn check_but(
    context: &Context,
    id: &Id,
    change: &dyn Fn(&mut plan::Plan),
) -> Result<Checked> {
    let what = || format!("check {id}");
    let record = Record::open_locked(&context.roots.net(), &id.relative(), Wait::Until(PATIENCE))
        .map_err(|e| {
        if e.is_missing() {
            Error::new(Kind::Missing, what(), "there is no such attachment")
        } else {
            kept(what(), &e)
        }
    })?;
    let bytes = record.read().map_err(|e| kept(what(), &e))?;
    let torn = || {
        Error::new(Kind::Failed, what(), "its record is torn").hint("netsetup del takes it away")
    };
    let attachment = match Read::new(&bytes) {
        Read::Torn => return Err(torn()),
        Read::Unknown(_) => return Err(record::unknown(what())),
        Read::Whole(there) if there.mark.root() != context.root()? => {
            return Err(record::elsewhere(what(), &there));
        }
        Read::Whole(there) => *there,
    };
    if let Some(how) = attachment.state.cut_off() {
        return Err(Error::new(Kind::Failed, what(), how).hint("netsetup del or gc takes it away"));
    }
    let gone = |why: String| {
        Error::new(Kind::Missing, what(), why).hint("netsetup del or gc takes it away")
    };
    let netns = Netns::open(&attachment.netns.path).map_err(|e| {
        gone(format!(
            "its network namespace is gone ({}: {})",
            attachment.netns.path.display(),
            e.why
        ))
    })?;
    let mut pod = Pod::open(netns)?;
    if !attachment.is_in(&mut pod)? {
        return Err(gone(format!(
            "{} is another network namespace by now",
            attachment.netns.path.display()
        )));
    }
    let mut world = World::new(Rtnl::open()?, Some(pod), attachment.mark.clone());
    let mut adapted = attachment.plan.clone();
    change(&mut adapted);
    let steps = plan::check(&mut world, &adapted)?;
    Ok(Checked { attachment, steps })
}
