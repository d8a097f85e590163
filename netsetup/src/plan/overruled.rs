//! What tuning sets of an interface is no longer what made the interface has given it: the
//! setting is checked, and not what was before. Routes of an interface that joins a routing
//! domain are in the domain's table.

use super::object::{LinkAttr, Object, Side};
use super::{Plan, Step};

impl Plan {
    /// The plan as it is to be found when these steps, its own or another plan's, came after
    /// those that made the links of the pod.
    pub fn overruled_by<'a>(mut self, later: impl IntoIterator<Item = &'a Step>) -> Plan {
        let later: Vec<&Step> = later.into_iter().filter(|step| step.at == Side::Pod).collect();
        for step in &later {
            match &step.what {
                Object::LinkAttr { link, attr, value } => {
                    self.steps.iter_mut().for_each(|made| overrule(made, link, *attr, value));
                }
                Object::Member { link, .. } => {
                    self.steps.retain_mut(|made| moves(made, link, &later))
                }
                _ => {}
            }
        }
        self
    }
}

/// Whether a route of a link that joins a domain is one of the domain's; then it is in its table.
fn moves(made: &mut Step, of: &str, later: &[&Step]) -> bool {
    let Object::Route { link, dst, attrs, .. } = &mut made.what else { return true };
    if made.at != Side::Pod || link != of || attrs.table.is_some() {
        return true;
    }
    let there = later.iter().find_map(|step| match &step.what {
        Object::Route { link, dst: there, attrs, .. } if link == of && there == dst => attrs.table,
        _ => None,
    });
    attrs.table = there;
    there.is_some()
}

fn overrule(made: &mut Step, of: &str, attr: LinkAttr, value: &str) {
    let (name, mac, mtu) = match &mut made.what {
        Object::Veth(veth) => (&veth.peer, Some(&mut veth.peer_mac), Some(&mut veth.peer_mtu)),
        Object::Device(device) if made.at == Side::Pod => {
            (&device.name, device.mac.as_mut(), Some(&mut device.mtu))
        }
        Object::Lent(lent) => (&lent.to, lent.mac.as_mut(), None),
        _ => return,
    };
    if name != of {
        return;
    }
    match attr {
        LinkAttr::Mac => mac.into_iter().zip(value.parse()).for_each(|(mac, value)| *mac = value),
        LinkAttr::Mtu => mtu.into_iter().for_each(|mtu| *mtu = value.parse().ok()),
        _ => {}
    }
}
