//! Sysctls of the pod, put back when it leaves.

use crate::driver::Request;
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::kernel::sysctl::dotted;
use crate::plan::{Object, Phase, Plan, Side};

/// A sysctl of an interface that is yet to be made dies with it; every other
/// one is borrowed, with the value that it has now.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan> {
    let mut plan = Plan::new();
    for setting in &request.sysctls {
        let what = Object::Sysctl { path: setting.path.clone(), value: setting.value.clone() };
        plan = match facts.pod_sysctls.get(&setting.path).cloned().flatten() {
            Some(before) => plan.borrow(Side::Pod, what, before),
            None if what.link() == Some(&request.ifname) => plan.own(Phase::Build, Side::Pod, what),
            None => {
                let key = dotted(&setting.path);
                return Err(Error::new(
                    Kind::Missing,
                    format!("set sysctl {key} in the pod"),
                    "there is no such sysctl",
                ));
            }
        };
    }
    Ok(plan)
}
