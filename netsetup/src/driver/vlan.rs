//! The vlan driver: the frames of an Ethernet of the host that have one tag.

use super::{Request, interface};
use crate::conf::{Interface, Vlan};
use crate::error::Result;
use crate::facts::Facts;
use crate::plan::{Device, DeviceKind, Plan};

/// The link, and its parent where that is made on demand.
pub(super) fn plan(request: &Request, of: &Interface, conf: &Vlan, facts: &Facts) -> Result<Plan> {
    let device = Device {
        name: request.ifname.clone(),
        mac: request.wishes.mac,
        mtu: interface::mtu(of, facts)?,
        parent: interface::parent(&conf.master, facts),
        kind: DeviceKind::Vlan { id: conf.id },
    };
    Ok(interface::on_parent(facts, device))
}
