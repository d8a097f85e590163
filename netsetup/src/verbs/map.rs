//! The picture: container, namespace, interface, veth, bridge, port. Drawn
//! from the records, with what the kernel says of each object now.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use podkeel_wire::rt::LinkInfo;
use serde::Serialize;

use super::Context;
use crate::error::Result;
use crate::kernel::Rtnl;
use crate::kernel::ruleset::Entry;
use crate::plan::{Object, Side};
use crate::record::{Attachment, State};

/// The host's networks.
#[derive(Debug, Default, Serialize)]
pub struct Map {
    /// By name.
    pub bridges: BTreeMap<String, BridgeView>,
}

/// A bridge and the pods on it.
#[derive(Debug, Default, Serialize)]
pub struct BridgeView {
    /// "up", "down" or "missing".
    pub state: &'static str,
    /// Bytes.
    pub mtu: Option<u32>,
    /// With prefix lengths.
    pub addresses: Vec<String>,
    /// The pods.
    pub pods: Vec<PodView>,
}

/// A pod's attachment.
#[derive(Debug, Serialize)]
pub struct PodView {
    /// Network.
    pub network: String,
    /// Container id.
    pub container: String,
    /// How far it has come: adding, complete, deleting.
    pub state: State,
    /// The interface in the pod.
    pub ifname: String,
    /// Its link-layer address.
    pub mac: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its routes.
    pub routes: Vec<String>,
    /// The other end, on the host.
    pub veth: String,
    /// "up", "down" or "missing".
    pub veth_state: &'static str,
    /// Path of the namespace.
    pub netns: String,
    /// Its number, as in `net:[4026532281]`.
    pub netns_inode: u64,
    /// Process id and name of the container's first process.
    pub process: Option<String>,
    /// Published ports and masquerade.
    pub rules: Vec<String>,
}

/// Draws what there is.
pub fn map(context: &Context) -> Result<Map> {
    let mut host = Rtnl::open()?;
    let links = host.links()?;
    let by_name: HashMap<&str, &LinkInfo> = links.iter().map(|l| (l.name.as_str(), l)).collect();
    let state_of = |name: &str| match by_name.get(name) {
        None => "missing",
        Some(link) if link.up() => "up",
        Some(_) => "down",
    };
    let mut map = Map::default();
    for attachment in crate::record::whole(&context.roots)? {
        let Some(veth) = attachment.plan.steps.iter().find_map(|s| match &s.what {
            Object::Veth(veth) => Some(veth.clone()),
            _ => None,
        }) else {
            continue;
        };
        let bridge = map.bridges.entry(veth.master.clone()).or_default();
        if bridge.state.is_empty() {
            let link = by_name.get(veth.master.as_str());
            let index = link.map_or(u32::MAX, |l| l.index);
            bridge.state = state_of(&veth.master);
            bridge.mtu = link.map(|l| l.mtu);
            let addrs = host.addrs(index)?;
            let global = addrs.iter().filter(|a| a.scope == libc::RT_SCOPE_UNIVERSE);
            bridge.addresses = global.map(|a| format!("{}/{}", a.ip, a.prefix)).collect();
        }
        bridge.pods.push(pod_view(attachment, &veth, state_of(&veth.name)));
    }
    Ok(map)
}

fn pod_view(attachment: Attachment, veth: &crate::plan::Veth, veth_state: &'static str) -> PodView {
    let (mut addresses, mut routes, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    for step in &attachment.plan.steps {
        match (&step.what, step.at) {
            (Object::Addr { address, .. }, Side::Pod) => addresses.push(address.to_string()),
            (Object::Route { .. }, Side::Pod) => routes.push(step.what.to_string()),
            (Object::Entry(Entry::Own(_)), _) => {}
            (Object::Entry(entry), _) => rules.push(entry.to_string()),
            _ => {}
        }
    }
    let process = attachment.process.map(|p| {
        match std::fs::read_to_string(format!("/proc/{}/comm", p.pid)) {
            Ok(name) if p.lives() => format!("{} {}", p.pid, name.trim()),
            _ => format!("{} ended", p.pid),
        }
    });
    PodView {
        network: attachment.id.network,
        container: attachment.id.container,
        state: attachment.state,
        ifname: attachment.id.ifname,
        mac: veth.peer_mac.to_string(),
        addresses,
        routes,
        veth: veth.name.clone(),
        veth_state,
        netns: attachment.netns.path.display().to_string(),
        netns_inode: attachment.netns.inode,
        process,
        rules,
    }
}

impl Map {
    /// The picture as a tree.
    pub fn to_text(&self) -> String {
        if self.bridges.is_empty() {
            return "no attachments\n".into();
        }
        let mut text = String::from("host\n");
        let mut bridges = self.bridges.iter().peekable();
        while let Some((name, bridge)) = bridges.next() {
            let (branch, trunk) =
                if bridges.peek().is_some() { ("├─", "│ ") } else { ("└─", "  ") };
            let mtu = bridge.mtu.map(|mtu| format!("  mtu {mtu}")).unwrap_or_default();
            let _ = writeln!(
                text,
                "{branch} bridge {name}  {}  {}{mtu}",
                bridge.addresses.join(" "),
                bridge.state
            );
            let mut pods = bridge.pods.iter().peekable();
            while let Some(pod) = pods.next() {
                let (branch, inner) =
                    if pods.peek().is_some() { ("├─", "│ ") } else { ("└─", "  ") };
                pod.draw(&mut text, &format!("{trunk} {branch}"), &format!("{trunk} {inner}"));
            }
        }
        text
    }
}

impl PodView {
    fn draw(&self, text: &mut String, first: &str, rest: &str) {
        let process = self.process.as_deref().map(|p| format!("  process {p}")).unwrap_or_default();
        let lines = [
            format!(
                "{first} veth {} ({}) ── {} {}",
                self.veth,
                self.veth_state,
                self.ifname,
                self.addresses.join(" ")
            ),
            format!("{rest}    container {}  network {}{process}", self.container, self.network),
            format!("{rest}    netns {} net:[{}]  mac {}", self.netns, self.netns_inode, self.mac),
        ];
        for line in lines
            .into_iter()
            .chain(self.routes.iter().chain(&self.rules).map(|line| format!("{rest}    {line}")))
        {
            let _ = writeln!(text, "{line}");
        }
    }
}
