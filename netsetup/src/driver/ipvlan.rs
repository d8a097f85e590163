//! The ipvlan driver: a link that shares the link-layer address of one of the host's.

use super::{Request, interface};
use crate::conf::{Interface, Ipvlan};
use crate::error::Result;
use crate::facts::Facts;
use crate::plan::{Device, DeviceKind, Plan};

/// The link, and its parent where that is made on demand.
pub(super) fn plan(
    request: &Request,
    of: &Interface,
    conf: &Ipvlan,
    facts: &Facts,
) -> Result<Plan> {
    let device = Device {
        name: request.ifname.clone(),
        mac: interface::no_mac(request, "an ipvlan has its master's address")?,
        mtu: interface::mtu(of, facts)?,
        parent: interface::parent(&conf.master, facts),
        kind: DeviceKind::Ipvlan { mode: conf.mode },
    };
    Ok(interface::on_parent(facts, device))
}
