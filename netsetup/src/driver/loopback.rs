//! The loopback driver: the pod's `lo`, which the kernel makes with the namespace.

use crate::plan::{Object, Phase, Plan, Side};

/// `lo`, up; the kernel gives it its addresses.
pub fn plan() -> Plan {
    Plan::new().own(Phase::Build, Side::Pod, Object::Up { link: "lo".into() })
}
