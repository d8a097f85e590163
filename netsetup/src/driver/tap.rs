//! The tap driver: Ethernet in the pod whose other end is a program, as a virtual
//! machine's monitor.

use super::Request;
use super::interface::{self, asked_mac};
use crate::conf::{Interface, Tap};
use crate::facts::Facts;
use crate::plan::{Device, DeviceKind, Object, Phase, Plan, Side};

/// The link.
pub(super) fn plan(request: &Request, of: &Interface, conf: &Tap, facts: &Facts) -> Plan {
    let mac = asked_mac(request, of.mac).unwrap_or_else(|| interface::mac(request, facts));
    let device = Device {
        name: request.ifname.clone(),
        mac: Some(mac),
        mtu: of.mtu,
        parent: None,
        kind: DeviceKind::Tap(conf.clone()),
    };
    Plan::new().own(Phase::Build, Side::Pod, Object::Device(device))
}
