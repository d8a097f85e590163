//! Sysctls of the pod and settings of its interface, put back when it leaves.

use crate::conf::Tuning;
use crate::driver::Request;
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::kernel::sysctl::dotted;
use crate::plan::{LinkAttr, Object, Phase, Plan, Side};

/// A sysctl of an interface that is yet to be made dies with it; every other
/// one is borrowed, with the value that it has now.
pub fn plan(request: &Request, facts: &Facts) -> Result<Plan> {
    let mut plan = Plan::new();
    let is_made = request.network.makes_interface();
    for setting in &request.sysctls {
        let what = Object::Sysctl { path: setting.path.clone(), value: setting.value.clone() };
        plan = match facts.pod_sysctls.get(&setting.path).cloned().flatten() {
            Some(before) => plan.borrow(Side::Pod, what, before),
            None if is_made && what.link() == Some(&request.ifname) => {
                plan.own(Phase::Build, Side::Pod, what)
            }
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

/// Settings of an interface that is yet to be made die with it; those of one that is
/// there are borrowed.
pub fn link(request: &Request, conf: &Tuning, facts: &Facts) -> Result<Plan> {
    let mut plan = Plan::new();
    for (attr, value) in settings(request, conf) {
        let what = Object::LinkAttr { link: request.ifname.clone(), attr, value };
        plan = match facts.pod_link.iter().find(|(known, _)| *known == attr) {
            Some((_, before)) => plan.borrow(Side::Pod, what, before.clone()),
            None if request.network.makes_interface() => plan.own(Phase::Build, Side::Pod, what),
            None => {
                let what = format!("set {} of link {} in the pod", attr.name(), request.ifname);
                return Err(Error::new(Kind::Missing, what, "there is no such link"));
            }
        };
    }
    Ok(plan)
}

/// What is to be set. Of the addresses the caller's wins, as with the reference.
fn settings(request: &Request, conf: &Tuning) -> Vec<(LinkAttr, String)> {
    let wished = request.wishes.mac.filter(|_| request.as_plugin);
    let flag = |on: bool| u8::from(on).to_string();
    let all = [
        (LinkAttr::Mac, conf.asked_mac.or(wished).or(conf.mac).map(|mac| mac.to_string())),
        (LinkAttr::Promisc, conf.link.promisc.then(|| flag(true))),
        (LinkAttr::Mtu, conf.link.mtu.map(|mtu| mtu.to_string())),
        (LinkAttr::Allmulti, conf.link.allmulti.map(flag)),
        (LinkAttr::Txqlen, conf.link.txqlen.map(|packets| packets.to_string())),
    ];
    all.into_iter().filter_map(|(attr, value)| Some((attr, value?))).collect()
}
