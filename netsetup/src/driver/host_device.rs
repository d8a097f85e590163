//! The host-device driver: a link of the host's own, lent to the pod.
//!
//! A namespace that dies takes virtual links with it, so the pod's is pinned: whoever
//! comes first, del or the pod's end, the link comes home under its old name.

use super::{Request, interface};
use crate::error::{Error, Kind, Result};
use crate::facts::{DeviceFacts, Facts};
use crate::plan::{Lent, Object, Phase, Plan, Side};

/// The pin, and the link. Nothing for a device that a program drives by itself.
pub(super) fn plan(request: &Request, facts: &Facts) -> Result<Plan> {
    interface::no_mac(request, "it has its own")?;
    match &facts.device {
        Some(DeviceFacts::Link { name, mac, alias, up, .. }) => {
            let lent = Lent {
                from: name.clone(),
                to: request.ifname.clone(),
                mac: *mac,
                alias: alias.clone(),
                up: *up,
            };
            let pin = Object::Pin { dir: facts.pins.clone(), name: request.mark.id() };
            Ok(Plan::new().own(Phase::Build, Side::Host, pin).borrow(
                Side::Pod,
                Object::Lent(lent),
                name.clone(),
            ))
        }
        Some(DeviceFacts::Userspace) => Ok(Plan::new()),
        None => {
            Err(Error::new(Kind::Missing, "lend the pod a device", "nobody has looked for one"))
        }
    }
}
