//! Networks as CNI writes them down: network configuration lists, read into
//! types that drivers can use as they are, with every subnet checked.
//!
//! ```text
//! Network "web" (/etc/cni/net.d/10-web.conflist)
//!  ├─ Bridge    makes the interface      ── HostLocal: where its addresses come from
//!  ├─ Portmap   publishes ports
//!  ├─ Firewall  accepts where the host's own rules drop
//!  └─ Tuning    sets sysctls in the pod
//! ```
//!
//! Reading is pure: nothing here touches the kernel, and whatever can be known
//! to be wrong without it is refused here, before anything is changed. What the
//! reference plugins know and podkeel does not do yet is refused by name, never
//! passed over; keys that nobody knows are ignored, as CNI demands.
//!
//! Sources: the CNI specification (SPEC.md, CONVENTIONS.md) for the list, and
//! the documentation and behaviour of the reference plugins for their keys.

mod allowlist;
mod bond;
mod bridge;
mod call;
mod chain;
mod chained;
mod host_local;
mod interface;
mod ipam;
mod json;
mod load;
mod network;
mod pattern;
mod prev;
mod ptp;
mod statics;
#[cfg(test)]
mod tests;
mod vxlan;

use std::{collections::BTreeSet, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::json::{Fault, Node, Object, Parsed};
pub use self::{
    allowlist::allow,
    bond::{Bond, BondMode},
    bridge::Bridge,
    call::{
        Args, Call, NAMES, call, call_by_names, data_dir_of, decode, name_of, prev_of, said_before,
        type_of, version_of,
    },
    chain::{Called, Chain, Found, find_any},
    chained::{Firewall, LinkSettings, MarkBy, Portmap, Tuning, Vrf},
    host_local::HostLocal,
    interface::{
        HostDevice, Interface, InterfaceKind, Ipvlan, IpvlanMode, Macvlan, MacvlanMode, Master,
        Tap, VLAN_MAX, Vlan,
    },
    ipam::{Ipam, Route},
    load::{find, names},
    prev::{result, told},
    ptp::Ptp,
    statics::Static,
    vxlan::{Remote, Vxlan},
};
use crate::{
    error::{Error, Result},
    request::names::check_name,
};

/// The versions of the CNI specification that podkeel knows, oldest first.
pub const CNI_VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The plugin types that podkeel has.
const PLUGIN_TYPES: &str = "bridge, ptp, macvlan, ipvlan, vlan, vxlan, host-device, tap, dummy, \
     none, host, portmap, firewall, tuning, vrf";

/// A network: a list of plugins, of which the first makes the interface and
/// the others add to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its name, also the name of the directory of its leases.
    pub name: String,
    /// The version of the specification it is written in, one of [`CNI_VERSIONS`].
    pub cni_version: String,
    /// Where it was read.
    pub source: Source,
    /// The plugins, in the list's order. Only the first makes an interface. Of a
    /// runtime's call there is one.
    pub plugins: Vec<Plugin>,
    /// `disableCheck`: a runtime must not call CHECK.
    pub disable_check: bool,
    /// `disableGC`: a runtime must not call GC.
    pub disable_gc: bool,
}

/// Where a network was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is part of the program.
    Builtin,
    /// A file.
    File(PathBuf),
    /// A runtime's call of the plugin of this name.
    Call(String),
}

/// One plugin of a network's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// A veth pair from the pod to a bridge.
    Bridge(Bridge),
    /// A veth pair from the pod to the host, and routes.
    Ptp(Ptp),
    /// One link by itself, or one of the host's.
    Interface(Interface),
    /// A bridge whose pods reach those of other hosts through a tunnel.
    Vxlan(Vxlan),
    /// The pod's `lo`.
    Loopback,
    /// Nothing: the pod has the host's own namespace.
    Host,
    /// Addresses alone, for a plugin that called ours for them.
    Ipam(Ipam),
    /// Published ports.
    Portmap(Portmap),
    /// Accepts where the host's own rules drop.
    Firewall(Firewall),
    /// Sysctls in the pod.
    Tuning(Tuning),
    /// A routing domain in the pod that the interface becomes a member of.
    Vrf(Vrf),
}

/// The capabilities that a plugin's configuration turns on (CONVENTIONS.md):
/// `portMappings`, `ips`, `mac`, ... A runtime hands a plugin only what it asks for.
pub type Capabilities = BTreeSet<String>;

/// What a network says about name resolution. It is passed on in the result;
/// writing resolv.conf is the runtime's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Addresses of name servers, by priority.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain for short names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Search domains, by priority.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options for the resolver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Builtin => f.write_str("built in"),
            Source::File(path) => path.display().fmt(f),
            Source::Call(plugin) => write!(f, "a call of {plugin}"),
        }
    }
}

/// Reads a network from its text: a list (`.conflist`), or the single plugin of
/// the older form (`.conf`), which becomes a list of one.
///
/// Errors are `Kind::Input`, or `Kind::Unsupported` for what makes sense but
/// isn't done by podkeel; they name the file and the way to the value.
pub fn parse(text: &str, source: Source) -> Result<Network> {
    parse_list(text, source).map(|list| list.network)
}

/// A network, and what only a file's reader has to know.
struct List {
    network: Network,
    /// Whether files beside the list may hold more plugins of it.
    open_ended: bool,
}

fn parse_list(text: &str, source: Source) -> Result<List> {
    let mut name = None;
    let list = json::value(text).and_then(|value| read_list(&value, source.clone(), &mut name));
    list.map_err(|fault| {
        let what = match name {
            Some(name) => format!("read network {name:?} ({source})"),
            None => format!("read network list {source}"),
        };
        Error::new(fault.kind, what, fault.why)
    })
}

/// `known_as` is set as soon as the name is known, so that later faults can say it.
fn read_list(value: &Value, source: Source, known_as: &mut Option<String>) -> Parsed<List> {
    let root = Node::root(value).object()?;
    let name = read_name(&root)?;
    *known_as = Some(name.to_owned());
    let cni_version = read_version(&root)?;
    let inlined = loose_flag(&root, "loadOnlyInlinedPlugins")?;
    let (nodes, single) = match root.get("plugins") {
        Some(plugins) => (plugins.array()?, false),
        None if root.get("type").is_some() => (vec![Node::root(value)], true),
        None => return Err(Fault::input("plugins", "is missing")),
    };
    if nodes.is_empty() {
        return Err(Fault::input(
            "plugins",
            "is empty: a network needs a plugin that makes an interface",
        ));
    }
    let mut plugins = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        plugins.push(read_plugin(&node.object()?, index, &cni_version)?);
    }
    let network = Network {
        name: name.to_owned(),
        cni_version,
        source,
        plugins,
        disable_check: loose_flag(&root, "disableCheck")?,
        disable_gc: loose_flag(&root, "disableGC")?,
    };
    Ok(List { network, open_ended: !single && !inlined })
}

/// The network's name, under CNI's rule for it.
fn read_name<'a>(root: &Object<'a>) -> Parsed<&'a str> {
    let Some(name) = root.string("name")? else { return Err(Fault::input("name", "is missing")) };
    check_name(name).map_err(|why| Fault::input("name", format_args!("{name:?} {why}")))?;
    Ok(name)
}

/// The version to speak: the newest that both the file and podkeel know. A file
/// that says none means the first one, as in the reference.
fn read_version(root: &Object) -> Parsed<String> {
    let mut offered = root.strings("cniVersions")?;
    offered.extend(root.text("cniVersion")?.map(str::to_owned));
    if offered.is_empty() {
        return Ok(CNI_VERSIONS[0].to_owned());
    }
    match CNI_VERSIONS.iter().rev().find(|known| offered.iter().any(|o| o == *known)) {
        Some(version) => Ok((*version).to_owned()),
        None => {
            let why = format!(
                "{:?} is not a version that podkeel knows: {}",
                offered.join(", "),
                CNI_VERSIONS.join(", ")
            );
            Err(Fault::unsupported("cniVersion", why))
        }
    }
}

/// A flag of the list, which the reference also takes as a string.
fn loose_flag(root: &Object, key: &str) -> Parsed<bool> {
    match root.get(key) {
        Some(node) => match node.value.as_str().map(str::to_ascii_lowercase).as_deref() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => node.flag(),
        },
        None => Ok(false),
    }
}

fn read_plugin(plugin: &Object, index: usize, cni_version: &str) -> Parsed<Plugin> {
    let Some(kind) = plugin.text("type")? else {
        return Err(Fault::input(&plugin.at("type"), "is missing"));
    };
    plugin.refuse("runtimeConfig", Value::Null)?;
    let read = match kind {
        "bridge" => Plugin::Bridge(bridge::read(plugin, cni_version)?),
        "ptp" => Plugin::Ptp(ptp::read(plugin, cni_version)?),
        "vxlan" => Plugin::Vxlan(vxlan::read(plugin, cni_version)?),
        "none" => Plugin::Loopback,
        "host" => Plugin::Host,
        "portmap" => Plugin::Portmap(chained::read_portmap(plugin)?),
        "firewall" => Plugin::Firewall(chained::read_firewall(plugin)?),
        "tuning" => Plugin::Tuning(chained::read_tuning(plugin)?),
        "vrf" => Plugin::Vrf(chained::read_vrf(plugin)?),
        _ => match interface::read(kind, plugin, cni_version)? {
            Some(interface) => Plugin::Interface(interface),
            None => {
                let why = format!("{kind:?} is not a plugin that podkeel has: {PLUGIN_TYPES}");
                return Err(Fault::unsupported(&plugin.at("type"), why));
            }
        },
    };
    if let Some(Ipam::Foreign(kind)) = read.ipam() {
        return Err(ipam::not_ours(plugin, kind));
    }
    match (index, read.is_first()) {
        (0, true) => Ok(read),
        (0, false) => Err(Fault::input(
            &plugin.at("type"),
            format_args!("{kind:?} needs a plugin before it that makes an interface"),
        )),
        (_, true) => Err(Fault::unsupported(
            &plugin.at("type"),
            "a second plugin that makes an interface; use a network for each",
        )),
        _ => Ok(read),
    }
}

/// `capabilities`: those that are turned on.
fn read_capabilities(plugin: &Object) -> Parsed<Capabilities> {
    let Some(node) = plugin.get("capabilities") else { return Ok(Capabilities::new()) };
    let mut on = Capabilities::new();
    for (name, value) in node.entries()? {
        if value.flag()? {
            on.insert(name.to_owned());
        }
    }
    Ok(on)
}

/// `dns`: passed on, not judged, but for its types.
fn read_dns(plugin: &Object) -> Parsed<Option<Dns>> {
    let Some(dns) = plugin.object("dns")? else { return Ok(None) };
    let dns = Dns {
        nameservers: dns.strings("nameservers")?,
        domain: dns.text("domain")?.map(str::to_owned),
        search: dns.strings("search")?,
        options: dns.strings("options")?,
    };
    Ok(Some(dns).filter(|dns| *dns != Dns::default()))
}
