//! What is on the map: of each record the interface, what it hangs on, and what that hangs on.

use std::collections::HashMap;
use std::net::IpAddr;

use podkeel_wire::rt::LinkInfo;

use super::{LinkView, Map, PodView, RemoteView};
use crate::error::Result;
use crate::kernel::ruleset::Entry;
use crate::kernel::{Netns, Rtnl};
use crate::plan::{Device, DeviceKind, Object, Parent, Plan, Pod, Side};
use crate::record::Attachment;

/// The host's links as they are now.
struct Host {
    rtnl: Rtnl,
    links: HashMap<String, LinkInfo>,
}

pub(super) fn map(attachments: Vec<Attachment>) -> Result<Map> {
    let mut rtnl = Rtnl::open()?;
    let links = rtnl.links()?.into_iter().map(|link| (link.name.clone(), link)).collect();
    let mut host = Host { rtnl, links };
    let mut map = Map::default();
    // Of a chain whose plugins are called one by one, the one that makes the interface.
    for attachment in attachments.into_iter().filter(|a| a.id.part.is_empty()) {
        shared(&mut map, &mut host, &attachment.plan)?;
        let (pod, on) = pod(&host, attachment);
        match on {
            None => map.pods.push(pod),
            Some(link) => place(&mut map, &mut host, &link)?.pods.push(pod),
        }
    }
    Ok(map)
}

/// The links of the host that this plan's pods share.
fn shared(map: &mut Map, host: &mut Host, plan: &Plan) -> Result<()> {
    for step in plan.steps.iter().filter(|step| step.at == Side::Host) {
        match &step.what {
            Object::Bridge(bridge) => place(map, host, &bridge.name)?.kind = "bridge".into(),
            Object::Device(device) => {
                if let Some(Parent { name, at: Side::Host, .. }) = &device.parent {
                    place(map, host, name)?;
                }
                let view = place(map, host, &device.name)?;
                view.kind = device.kind.shown().into();
                view.settings = device.kind.settings();
                view.remotes = remotes(plan, device);
                view.on = device.parent.as_ref().map(|p| p.name.clone()).or(view.on.take());
            }
            // A bond's port.
            Object::Member { link, master } => {
                place(map, host, link)?.on = Some(master.clone());
            }
            _ => {}
        }
    }
    Ok(())
}

/// The place of a link on the map, with what the kernel says of it.
fn place<'a>(map: &'a mut Map, host: &mut Host, name: &str) -> Result<&'a mut LinkView> {
    if !map.links.contains_key(name) {
        let view = host.view(name)?;
        map.links.insert(name.to_owned(), view);
    }
    Ok(map.links.entry(name.to_owned()).or_default())
}

impl Host {
    fn view(&mut self, name: &str) -> Result<LinkView> {
        let kind = "link".to_owned();
        let Some(link) = self.links.get(name) else {
            return Ok(LinkView { kind, state: "missing", ..LinkView::default() });
        };
        let addrs = self.rtnl.addrs(link.index)?;
        let global = addrs.iter().filter(|a| a.scope == libc::RT_SCOPE_UNIVERSE);
        Ok(LinkView {
            kind: if link.kind.as_deref() == Some("bridge") { "bridge".into() } else { kind },
            state: state(Some(link)),
            mtu: Some(link.mtu),
            addresses: global.map(|a| format!("{}/{}", a.ip, a.prefix)).collect(),
            on: link.master.and_then(|index| self.name(index)),
            ..LinkView::default()
        })
    }

    fn name(&self, index: u32) -> Option<String> {
        self.links.values().find(|link| link.index == index).map(|link| link.name.clone())
    }
}

fn state(link: Option<&LinkInfo>) -> &'static str {
    match link {
        None => "missing",
        Some(link) if link.up() => "up",
        Some(_) => "down",
    }
}

/// Of a vxlan: each other end, and the subnets whose next hop has its link-layer address.
fn remotes(plan: &Plan, device: &Device) -> Vec<RemoteView> {
    let neighs = |wanted: bool| {
        plan.steps.iter().filter_map(move |step| match &step.what {
            Object::Neigh { link, ip, mac, fdb } if *link == device.name && *fdb == wanted => {
                Some((*ip, *mac))
            }
            _ => None,
        })
    };
    let subnets = |hops: Vec<IpAddr>| {
        let routes = plan.steps.iter().filter_map(|step| match &step.what {
            Object::Route { link, dst, via: Some(via), .. } if *link == device.name => {
                hops.contains(via).then(|| dst.to_string())
            }
            _ => None,
        });
        routes.collect()
    };
    let of = |(host, mac)| {
        let hops = neighs(false).filter(|(_, other)| *other == mac).map(|(ip, _)| ip).collect();
        RemoteView { host: IpAddr::to_string(&host), subnets: subnets(hops) }
    };
    neighs(true).map(of).collect()
}

/// A pod's interface as its plan makes it.
#[derive(Default)]
struct Inner {
    kind: &'static str,
    settings: String,
    outer: Option<String>,
    /// The link of the host that it hangs on.
    on: Option<String>,
}

fn inner(plan: &Plan) -> Inner {
    let of = |step: &crate::plan::Step| match (&step.what, step.at) {
        (Object::Veth(veth), _) => Some(Inner {
            kind: "veth",
            outer: Some(veth.name.clone()),
            on: Some(veth.master.clone()).filter(|master| !master.is_empty()),
            ..Inner::default()
        }),
        (Object::Lent(lent), _) => {
            Some(Inner { kind: "host-device", outer: Some(lent.from.clone()), ..Inner::default() })
        }
        // The domain that the interface is in.
        (Object::Device(Device { kind: DeviceKind::Vrf { .. }, .. }), _) => None,
        (Object::Device(device), Side::Pod) => Some(by_itself(device)),
        _ => None,
    };
    plan.steps.iter().find_map(of).unwrap_or_default()
}

fn by_itself(device: &Device) -> Inner {
    let (on, below) = match &device.parent {
        Some(Parent { name, at: Side::Host, .. }) => (Some(name.clone()), String::new()),
        Some(Parent { name, at: Side::Pod, .. }) => (None, format!("on {name} of the pod")),
        None => (None, String::new()),
    };
    let settings = [device.kind.settings(), below];
    let settings: Vec<String> = settings.into_iter().filter(|words| !words.is_empty()).collect();
    Inner { kind: device.kind.shown(), settings: settings.join(" "), outer: None, on }
}

/// The state of the interface in a pod that can be looked into, and is still that pod.
fn state_inside(attachment: &Attachment) -> &'static str {
    let link = || {
        let mut pod = Pod::open(Netns::open(&attachment.netns.path)?)?;
        let is = attachment.is_in(&mut pod)?;
        Ok::<_, crate::error::Error>((is, pod.rtnl.link(&attachment.id.ifname)?))
    };
    match link() {
        Ok((true, link)) => state(link.as_ref()),
        _ => "unknown",
    }
}

fn pod(host: &Host, attachment: Attachment) -> (PodView, Option<String>) {
    let Inner { kind, settings, outer, on } = inner(&attachment.plan);
    let link_state = match (kind, &outer) {
        ("veth", Some(veth)) => state(host.links.get(veth)),
        _ => state_inside(&attachment),
    };
    let mac = attachment.peer().map(|(_, mac)| mac.to_string());
    let mut view = PodView {
        network: attachment.id.network,
        container: attachment.id.container,
        state: attachment.state,
        kind,
        settings,
        outer,
        link_state,
        ifname: attachment.id.ifname,
        mac,
        addresses: Vec::new(),
        vrf: None,
        routes: Vec::new(),
        netns: attachment.netns.path.display().to_string(),
        netns_inode: attachment.netns.inode,
        process: attachment.process.map(process),
        rules: Vec::new(),
    };
    for step in &attachment.plan.steps {
        match (&step.what, step.at) {
            (Object::Addr { address, .. }, Side::Pod) => view.addresses.push(address.to_string()),
            (Object::Route { .. }, Side::Pod) => view.routes.push(step.what.to_string()),
            (Object::Member { master, .. }, Side::Pod) => view.vrf = Some(master.clone()),
            (Object::Entry(Entry::Own(_) | Entry::Across { .. }), _) => {}
            (Object::Entry(entry), _) => view.rules.push(entry.to_string()),
            _ => {}
        }
    }
    (view, on)
}

/// Process id and name, or that it has ended.
fn process(process: crate::record::Process) -> String {
    match std::fs::read_to_string(format!("/proc/{}/comm", process.pid)) {
        Ok(name) if process.lives() => format!("{} {}", process.pid, name.trim()),
        _ => format!("{} ended", process.pid),
    }
}
