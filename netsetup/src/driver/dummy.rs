//! The dummy driver: a link that leads nowhere, for an address that is always there.

use super::{Request, interface};
use crate::facts::Facts;
use crate::plan::{Device, DeviceKind, Object, Phase, Plan, Side};

/// The link.
pub(super) fn plan(request: &Request, facts: &Facts) -> Plan {
    let device = Device {
        name: request.ifname.clone(),
        mac: Some(request.wishes.mac.unwrap_or_else(|| interface::mac(request, facts))),
        mtu: None,
        parent: None,
        kind: DeviceKind::Dummy,
    };
    Plan::new().own(Phase::Build, Side::Pod, Object::Device(device))
}
