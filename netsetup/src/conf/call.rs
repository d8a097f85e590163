//! What a runtime gives one plugin: its part of a network's list on stdin, and
//! CNI_ARGS. The keys are the list's; what comes on top is `runtimeConfig`,
//! `prevResult` and, for GC, `cni.dev/valid-attachments`.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::{
    CNI_VERSIONS, HostLocal, Interface, InterfaceKind, Ipam, Network, Plugin, Source, bridge,
    chained, interface, ipam,
    json::{self, Fault, Node, Object, Parsed},
    prev, ptp, read_name, vxlan,
};
use crate::{
    error::{Error, Kind, Result},
    request::{Mac, PortMapping, Publish},
    result::CniResult,
};

/// The plugins that podkeel can be called as.
pub const NAMES: [&str; 16] = [
    "bridge",
    "dummy",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "static",
    "tap",
    "tuning",
    "vlan",
    "vrf",
    "vxlan",
];

/// CNI_ARGS, as pairs in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    pairs: Vec<(String, String)>,
    ignore_unknown: bool,
}

/// One plugin's call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The network, with this one plugin.
    pub network: Network,
    /// Ports to publish.
    pub ports: Vec<Publish>,
    /// Addresses that CNI_ARGS asks for.
    pub ips: Vec<IpAddr>,
    /// The link-layer address that is asked for, wherever.
    pub mac: Option<Mac>,
    /// GC: the attachments that are still valid, by container and interface.
    pub valid: Option<Vec<(String, String)>>,
}

impl Args {
    /// Reads `KEY=VALUE;KEY=VALUE`. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Args, String> {
        let mut args = Args::default();
        for pair in text.split(';').filter(|_| !text.is_empty()) {
            let mut parts = pair.split('=');
            let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
                return Err(format!("invalid pair {pair:?}"));
            };
            // Go's way with names: the first letter counts as a capital.
            let mut key = key.to_owned();
            if let Some(first) = key.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            args.pairs.push((key, value.to_owned()));
        }
        args.ignore_unknown =
            match args.get("IgnoreUnknown").map(str::to_ascii_lowercase).as_deref() {
                None | Some("0" | "false") => false,
                Some("1" | "true") => true,
                Some(_) => return Err("IgnoreUnknown is neither true nor false".to_owned()),
            };
        Ok(args)
    }

    /// The value of a key, unless it is empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.pairs.iter().rev().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Fails for keys that a plugin doesn't know, unless it is told to ignore them.
    fn known(&self, known: &[&str]) -> Parsed<()> {
        let unknown = |key: &str| key != "IgnoreUnknown" && !known.contains(&key);
        let unknown: Vec<String> = self
            .pairs
            .iter()
            .filter(|(key, _)| !self.ignore_unknown && unknown(key))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(Fault::input("CNI_ARGS", format_args!("unknown: {}", unknown.join(", "))))
    }

    fn ips(&self) -> Parsed<Vec<IpAddr>> {
        let Some(text) = self.get("IP") else { return Ok(Vec::new()) };
        let ip: std::result::Result<IpAddr, _> =
            text.split_once('/').map_or(text, |(ip, _)| ip).parse();
        let ip = ip.map_err(|_| {
            Fault::input("CNI_ARGS", format_args!("IP: {text:?} is not an address"))
        })?;
        Ok(vec![ip.to_canonical()])
    }

    fn mac(&self) -> Parsed<Option<Mac>> {
        let Some(text) = self.get("MAC") else { return Ok(None) };
        let mac: std::result::Result<Mac, String> = text.parse().and_then(Mac::unicast);
        mac.map(Some).map_err(|why| Fault::input("CNI_ARGS", format_args!("MAC: {text:?}: {why}")))
    }
}

/// Decodes what came on stdin: an object, as every configuration is.
pub fn decode(text: &str) -> Result<Value> {
    let value = json::value(text).map_err(|fault| in_words(&fault))?;
    Node::root(&value).object().map_err(|fault| in_words(&fault))?;
    Ok(value)
}

/// The network's name in a decoded configuration.
pub fn name_of(value: &Value) -> Result<String> {
    let named = || read_name(&Node::root(value).object()?).map(str::to_owned);
    named().map_err(|fault| in_words(&fault))
}

/// The version that it is written in, known or not; one that says none is of the first.
pub fn version_of(value: &Value) -> Result<String> {
    let version = || {
        Ok(Node::root(value).object()?.text("cniVersion")?.unwrap_or(CNI_VERSIONS[0]).to_owned())
    };
    version().map_err(|fault: Fault| in_words(&fault))
}

/// The plugin's type, if it says one.
pub fn type_of(value: &Value) -> Option<&str> {
    Node::root(value).object().ok()?.text("type").ok()?
}

/// Where a plugin keeps notes of its own, if it says where.
pub fn data_dir_of(value: &Value) -> Option<std::path::PathBuf> {
    let said = Node::root(value).object().ok()?.text("dataDir").ok()??.into();
    Some(said).filter(|dir: &std::path::PathBuf| dir.is_absolute())
}

/// What the plugins before this one have made, if the configuration has it.
pub fn prev_of(value: &Value) -> Result<Option<CniResult>> {
    let read = || {
        let root = Node::root(value).object()?;
        root.get("prevResult").map(|node| prev::read(&node)).transpose()
    };
    read().map_err(|fault: Fault| in_words(&fault))
}

/// The same as it was said, word for word.
pub fn said_before(value: &Value) -> Option<&Value> {
    Some(Node::root(value).object().ok()?.get("prevResult")?.value)
}

fn in_words(fault: &Fault) -> Error {
    Error::new(fault.kind, "read the network configuration", fault.why.clone())
}

/// Reads the configuration that a runtime hands to plugin `kind`, one of [`NAMES`].
///
/// Errors: `Kind::Input`, `Kind::Unsupported` for what makes sense but isn't done.
pub fn call(value: &Value, kind: &str, args: &Args) -> Result<Call> {
    read(value, kind, args).map_err(|fault| in_words(&fault))
}

/// The same where something is to be taken away and the configuration makes no sense: no
/// more than names, and where leases lie.
///
/// Errors: `Kind::Input` without a name.
pub fn call_by_names(value: &Value, kind: &str) -> Result<Call> {
    let name = name_of(value)?;
    let cni_version = version_of(value)?;
    let word = |key: &str| value["ipam"][key].as_str().filter(|text| !text.is_empty());
    let leases = || {
        let data_dir =
            word("dataDir").map(std::path::PathBuf::from).filter(|dir| dir.is_absolute());
        Plugin::Ipam(Ipam::HostLocal(HostLocal { data_dir, ..HostLocal::default() }))
    };
    let has_none = ["firewall", "loopback", "portmap", "static", "tuning", "vrf"].contains(&kind);
    let plugin = match (kind, word("type")) {
        _ if has_none => None,
        ("host-local", _) | (_, Some("host-local")) => Some(leases()),
        (_, Some("static") | None) => None,
        (_, Some(foreign)) => Some(Plugin::Ipam(Ipam::Foreign(foreign.to_owned()))),
    };
    Ok(Call {
        network: Network {
            name,
            cni_version,
            source: Source::Call(kind.to_owned()),
            plugins: plugin.into_iter().collect(),
            disable_check: false,
            disable_gc: false,
        },
        ports: Vec::new(),
        ips: Vec::new(),
        mac: None,
        valid: None,
    })
}

fn read(value: &Value, kind: &str, args: &Args) -> Parsed<Call> {
    let root = Node::root(value).object()?;
    let cni_version = root.text("cniVersion")?.unwrap_or(CNI_VERSIONS[0]).to_owned();
    let plugin = read_plugin(&root, kind, &cni_version, args)?;
    let wants_mac = WANT_MAC.contains(&kind);
    let leases = plugin.ipam().is_some_and(|ipam| ipam.host_local().is_some());
    Ok(Call {
        ports: if kind == "portmap" { read_ports(&root)? } else { Vec::new() },
        ips: if leases { args.ips()? } else { Vec::new() },
        mac: if wants_mac { args.mac()? } else { None },
        valid: read_valid(&root)?,
        network: Network {
            name: read_name(&root)?.to_owned(),
            cni_version,
            source: Source::Call(kind.to_owned()),
            plugins: vec![plugin],
            disable_check: false,
            disable_gc: false,
        },
    })
}

/// The plugins that know MAC of CNI_ARGS.
const WANT_MAC: [&str; 5] = ["bridge", "macvlan", "tap", "tuning", "vxlan"];

fn read_plugin(root: &Object, kind: &str, version: &str, args: &Args) -> Parsed<Plugin> {
    if WANT_MAC.contains(&kind) {
        args.known(&["MAC"])?;
    }
    Ok(match kind {
        "bridge" => {
            let mut read = bridge::read(root, version)?;
            know_args(&mut read.ipam, args)?;
            Plugin::Bridge(read)
        }
        "ptp" => {
            let mut read = ptp::read(root, version)?;
            know_args(&mut read.ipam, args)?;
            Plugin::Ptp(read)
        }
        "loopback" => Plugin::Loopback,
        "host-local" | "static" => {
            let Some(ipam) = root.object("ipam")? else {
                return Err(Fault::input("ipam", "is missing"));
            };
            let mut read = Some(ipam::read_as(kind, root, &ipam, version)?);
            know_args(&mut read, args)?;
            Plugin::Ipam(read.unwrap_or(Ipam::Foreign(kind.to_owned())))
        }
        "portmap" => Plugin::Portmap(chained::read_portmap(root)?),
        "firewall" => Plugin::Firewall(chained::read_firewall(root)?),
        "tuning" => Plugin::Tuning(chained::read_tuning(root)?),
        "vrf" => Plugin::Vrf(chained::read_vrf(root)?),
        "vxlan" => {
            let mut read = vxlan::read(root, version)?;
            know_args(&mut read.bridge.ipam, args)?;
            Plugin::Vxlan(read)
        }
        _ => {
            let Some(mut read) = interface::read(kind, root, version)? else {
                let why =
                    format!("{kind:?} is not a plugin that podkeel has: {}", NAMES.join(", "));
                return Err(Fault::unsupported("type", why));
            };
            know_args(&mut read.ipam, args)?;
            take_master(&mut read, root)?;
            Plugin::Interface(read)
        }
    })
}

/// An ipvlan that names no master stands on the one interface that the plugins before it
/// have made.
fn take_master(read: &mut Interface, root: &Object) -> Parsed<()> {
    let InterfaceKind::Ipvlan(conf) = &mut read.kind else { return Ok(()) };
    let Some(prev) = root.get("prevResult").filter(|_| conf.master.name.is_none()) else {
        return Ok(());
    };
    match &prev::read(&prev)?.interfaces[..] {
        [one] if !one.name.is_empty() => {
            conf.master.name = Some(one.name.clone());
            Ok(())
        }
        _ => Err(Fault::input(
            "prevResult",
            "chained master failure. PrevResult lacks a single named interface",
        )),
    }
}

/// What the address managers know of CNI_ARGS.
fn know_args(ipam: &mut Option<Ipam>, args: &Args) -> Parsed<()> {
    match ipam {
        Some(Ipam::HostLocal(_)) => args.known(&["IP"]),
        Some(Ipam::Static(ipam)) => {
            args.known(&["IP", "GATEWAY"])?;
            ipam.take_args(args.get("IP"), args.get("GATEWAY"))
                .map_err(|why| Fault::input("CNI_ARGS", why))
        }
        Some(Ipam::Foreign(_)) | None => Ok(()),
    }
}

fn read_ports(root: &Object) -> Parsed<Vec<Publish>> {
    let Some(runtime) = root.object("runtimeConfig")? else { return Ok(Vec::new()) };
    let mut mappings = Vec::new();
    for node in runtime.array("portMappings")? {
        // containerd writes `HostPort`: keys match without regard to case here, too.
        let entry = node.object()?;
        let known = ["hostPort", "containerPort", "protocol", "hostIP"];
        let known = known.iter().filter_map(|key| Some((*key, entry.get(key)?.value.clone())));
        let value: Value = known.collect();
        mappings.push(PortMapping::deserialize(value).map_err(|e| node.fault(e))?);
    }
    PortMapping::publish_all(&mappings).map_err(|e| match e.kind {
        Kind::Unsupported => Fault::unsupported("runtimeConfig.portMappings", e.why),
        _ => Fault::input("runtimeConfig.portMappings", e.why),
    })
}

/// GC's list; the second name is what drafts of the specification called it.
fn read_valid(root: &Object) -> Parsed<Option<Vec<(String, String)>>> {
    let names = ["cni.dev/valid-attachments", "cni.dev/attachments"];
    let Some(list) = names.iter().find_map(|name| root.get(name)) else { return Ok(None) };
    let mut valid = Vec::new();
    for node in list.array()? {
        let entry = node.object()?;
        let word = |key: &str| match entry.text(key)? {
            Some(text) => Ok(text.to_owned()),
            None => Err(Fault::input(&entry.at(key), "is missing")),
        };
        valid.push((word("containerID")?, word("ifname")?));
    }
    Ok(Some(valid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn args_of_the_environment() {
        let args = Args::parse("IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.1.0.5;MAC=").unwrap();
        assert_eq!((args.get("IP"), args.get("MAC")), (Some("10.1.0.5"), None));
        assert!(args.known(&[]).is_ok());
        assert_eq!(Args::parse("").unwrap(), Args::default());
        let strict = Args::parse("ignoreUnknown=false;IP=10.1.0.5;FOO=bar").unwrap();
        assert!(strict.known(&["IP", "FOO"]).is_ok());
        let fault = strict.known(&["IP"]).unwrap_err();
        assert_eq!(fault.why, "CNI_ARGS: unknown: FOO=bar");
        for (bad, why) in [
            ("FOO", "invalid pair \"FOO\""),
            ("A=b;", "invalid pair \"\""),
            ("A=b=c", "invalid pair \"A=b=c\""),
            ("IgnoreUnknown=x", "IgnoreUnknown is neither true nor false"),
        ] {
            assert_eq!(Args::parse(bad).unwrap_err(), why, "{bad}");
        }
    }
}
