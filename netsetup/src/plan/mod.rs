//! The one idea: a network attachment is a list of kernel objects, described
//! once. Every verb falls out of the description.
//!
//! ```text
//!  Request, Facts ──► driver, meta ──► Plan = [Step]
//!                                        │
//!     explain  print it                  │
//!     add      record it, apply it  ◄────┤   Close, then Build, then Open;
//!     rollback undo it              ◄────┤   within a phase the order of the steps
//!     check    find each, compare   ◄────┤
//!     del, gc  undo what the record says ┘   the other way round
//! ```
//!
//! `object` says what kinds there are; `find`, `make` and `undo` hold what is
//! done with each; `world` has the sockets that they need.

mod device;
mod find;
mod find_device;
mod make;
mod make_bridge;
mod make_device;
mod make_nft;
mod make_veth;
mod object;
mod overruled;
mod undo;
mod undo_device;
mod undo_lent;
mod world;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use device::{Device, DeviceKind, Lent, Parent};
pub use find::{Found, check};
pub use make::{Part, Stopped, apply, missing};
pub use make_bridge::make_bridge;
pub use object::{Bridge, LinkAttr, Object, RouteAttrs, Side, Veth};
pub use undo::{
    drop_bridge, drop_elems, drop_ruleset, is_empty, is_our_table, is_veth_of, set_attr, undo,
};
pub use undo_device::drop_device;
pub use undo_lent::send_home;
pub use world::{Pod, World};

use crate::error::{Error, Kind};

/// How often a transaction is tried again because somebody else changed the
/// ruleset between the look and the commit.
const NFT_TRIES: u32 = 1000;

fn too_busy() -> Error {
    let why = format!("somebody changed the ruleset under every one of {NFT_TRIES} attempts");
    Error::new(Kind::Failed, "change nftables table inet podkeel", why)
}

/// When a step is taken. Undo goes the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// What closes: drops and guards. Claims of leases too: they cost nothing to give back.
    Close,
    /// Links, addresses, routes, sysctls.
    Build,
    /// What opens: published ports, masquerade. At its end neighbours are told.
    Open,
}

/// Whose an object is, and so what becomes of it at del.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// Made here, removed here; already there is an error.
    Own,
    /// Made where it is missing; removed by its last holder, if it is ours.
    Share,
    /// Changed here and put back, unless somebody changed it since.
    Borrow {
        /// The value before.
        before: String,
    },
    /// Turned on and never turned off.
    Ensure,
}

/// One object of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The namespace that it is in.
    pub at: Side,
    /// The object.
    pub what: Object,
    /// Whose it is.
    pub hold: Hold,
    /// When its turn comes.
    pub phase: Phase,
}

impl Step {
    /// Whether attachments count themselves as its holders. A switch of a
    /// shared link goes when the link goes.
    pub fn is_held(&self) -> bool {
        use Object::{Member, Neigh, Route, Sysctl, Up};
        let of_link = matches!(
            self.what,
            Up { .. } | Sysctl { .. } | Neigh { .. } | Route { .. } | Member { .. }
        );
        self.hold == Hold::Share && !of_link
    }
}

impl Step {
    fn is_borrowed(&self) -> bool {
        matches!(self.hold, Hold::Borrow { .. })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the {}", self.what, self.at)
    }
}

/// What is to be there, in the order in which it is made within its phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// An empty plan.
    pub fn new() -> Plan {
        Plan::default()
    }

    fn step(mut self, phase: Phase, hold: Hold, at: Side, what: Object) -> Plan {
        let step = Step { at, what, hold, phase };
        // Several plugins of one list may want the same shared thing.
        if !self.steps.contains(&step) {
            self.steps.push(step);
        }
        self
    }

    /// Adds an object of this attachment alone.
    pub fn own(self, phase: Phase, at: Side, what: Object) -> Plan {
        self.step(phase, Hold::Own, at, what)
    }

    /// Adds an object of the host that attachments share.
    pub fn share(self, phase: Phase, what: Object) -> Plan {
        self.step(phase, Hold::Share, Side::Host, what)
    }

    /// Adds an object of the pod's that attachments share.
    pub fn share_in_pod(self, phase: Phase, what: Object) -> Plan {
        self.step(phase, Hold::Share, Side::Pod, what)
    }

    /// Adds something that is turned on and left on.
    pub fn ensure(self, at: Side, what: Object) -> Plan {
        self.step(Phase::Build, Hold::Ensure, at, what)
    }

    /// Adds something that is done when all is there, and leaves nothing.
    pub fn at_last(self, at: Side, what: Object) -> Plan {
        self.step(Phase::Open, Hold::Ensure, at, what)
    }

    /// Adds something whose earlier value is put back.
    pub fn borrow(self, at: Side, what: Object, before: String) -> Plan {
        self.step(Phase::Build, Hold::Borrow { before }, at, what)
    }

    /// Adds what `more` makes of each item.
    pub fn each<T>(
        self,
        items: impl IntoIterator<Item = T>,
        more: impl Fn(Plan, T) -> Plan,
    ) -> Plan {
        items.into_iter().fold(self, more)
    }

    /// Adds more where the condition holds.
    pub fn when(self, condition: bool, more: impl FnOnce(Plan) -> Plan) -> Plan {
        if condition { more(self) } else { self }
    }

    /// Adds another plan's steps behind these.
    pub fn and(self, more: Plan) -> Plan {
        more.steps.into_iter().fold(self, |plan, s| plan.step(s.phase, s.hold, s.at, s.what))
    }

    /// Indices of the steps in the order of their phases.
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|i| self.steps[*i].phase);
        order
    }

    /// Whether a step's object vanishes with a link that this plan owns.
    pub fn dies_with_link(&self, step: &Step) -> bool {
        let Some(link) = step.what.link() else { return false };
        self.steps.iter().any(|s| match &s.what {
            Object::Veth(veth) => match step.at {
                Side::Host => veth.name == link,
                Side::Pod => veth.peer == link,
            },
            // Moved home, a link loses what it has here: addresses, routes, sysctls.
            Object::Lent(lent) => step.at == Side::Pod && lent.to == link && !step.is_borrowed(),
            Object::Device(device) => s.at == step.at && device.name == link,
            _ => false,
        })
    }

    /// Whether any step that must be undone is inside the pod.
    pub fn touches_pod_at_undo(&self) -> bool {
        self.steps
            .iter()
            .any(|s| s.at == Side::Pod && s.hold != Hold::Ensure && !self.dies_with_link(s))
    }
}
