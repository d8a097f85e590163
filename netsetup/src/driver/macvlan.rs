//! The macvlan driver: a second link on an Ethernet of the host, in the pod.

use super::Request;
use super::interface::{self, asked_mac};
use crate::conf::{Interface, Macvlan, MacvlanMode};
use crate::error::Result;
use crate::facts::Facts;
use crate::plan::{Device, DeviceKind, Plan};

/// The link, and its parent where that is made on demand.
pub(super) fn plan(
    request: &Request,
    of: &Interface,
    conf: &Macvlan,
    facts: &Facts,
) -> Result<Plan> {
    let inherits = conf.mode == MacvlanMode::Passthru;
    let mac = match inherits {
        true => interface::no_mac(request, "in mode passthru it has its master's address")?,
        false => Some(asked_mac(request, of.mac).unwrap_or_else(|| interface::mac(request, facts))),
    };
    let device = Device {
        name: request.ifname.clone(),
        mac,
        mtu: interface::mtu(of, facts)?,
        parent: interface::parent(&conf.master, facts),
        kind: DeviceKind::Macvlan { mode: conf.mode, queue: conf.queue },
    };
    Ok(interface::on_parent(facts, device))
}
