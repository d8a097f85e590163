//! Networks whose list names plugins of others. What those make is not ours to plan: such
//! a list is kept as it is written, and its plugins are called one by one, as CNI runtimes
//! call them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Args, CNI_VERSIONS, NAMES, Network, Source, call,
    json::{self, Fault, Node, Object, Parsed},
    load, loose_flag, read_capabilities, read_name, read_version,
};
use crate::{
    error::{Error, Result},
    request::{Publish, Wishes, names::check_name},
    roots::Roots,
};

/// A network, as far as it can be planned.
#[derive(Clone, Debug)]
pub enum Found {
    /// All of its plugins are ours.
    Ours(Box<Network>),
    /// Some aren't.
    Mixed(Chain),
}

/// A list whose plugins are called one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// The network's name.
    pub name: String,
    /// The version of the specification that its plugins are called in.
    pub cni_version: String,
    /// Where it was read.
    pub source: String,
    /// The plugins, in the list's order. Of a record those that were called.
    pub plugins: Vec<Called>,
    /// CHECK must not be called.
    pub disable_check: bool,
    /// CNI_PATH: directories of plugins, with colons between them.
    pub path: String,
}

/// One plugin of such a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Called {
    /// Its type: the name of its program.
    pub kind: String,
    /// Its configuration, without `prevResult`.
    pub conf: Map<String, Value>,
}

impl Called {
    /// Whether podkeel is that plugin itself.
    pub fn is_ours(&self) -> bool {
        NAMES.contains(&self.kind.as_str())
    }

    fn can(&self, capability: &str) -> bool {
        let conf = Value::Object(self.conf.clone());
        let read = Node::root(&conf).object().and_then(|keys| read_capabilities(&keys));
        read.is_ok_and(|on| on.contains(capability))
    }
}

/// Finds a network by its name, or reads a file, as [`load::find`] does; `path` is where
/// plugins of others are.
///
/// # Errors
/// As those of [`load::find`]. Mistakes in the keys of our own plugins are found here, too.
pub fn find_any(name_or_file: &str, roots: &Roots, path: &str) -> Result<Found> {
    let (text, source) = load::text_of(name_or_file, roots)?;
    let name = source.to_string();
    let fault =
        |fault: Fault| Error::new(fault.kind, format!("read network list {name}"), fault.why);
    let value = json::value(&text).map_err(fault)?;
    if !is_mixed(&value).map_err(fault)? {
        return load::load(&text, source).map(|network| Found::Ours(Box::new(network)));
    }
    let (chain, open_ended) = read(&value, &name, path).map_err(fault)?;
    if let (true, Source::File(file)) = (open_ended, &source) {
        load::refuse_plugin_folder(file, &chain.name)?;
    }
    Ok(Found::Mixed(chain))
}

/// The plugins of a list, or the one of the older form.
fn nodes_of(root: &Value) -> Parsed<Vec<Node<'_>>> {
    match Node::root(root).object()?.get("plugins") {
        Some(plugins) => plugins.array(),
        None => Ok(vec![Node::root(root)]),
    }
}

/// Whether a plugin, or its address manager, is none that [`parse_list`] knows.
fn is_mixed(root: &Value) -> Parsed<bool> {
    for node in nodes_of(root)? {
        let plugin = node.object()?;
        let Some(kind) = plugin.text("type")? else { return Ok(false) };
        if !is_known(kind) || foreign_ipam(&plugin)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The type of an address manager that isn't ours.
fn foreign_ipam<'a>(plugin: &Object<'a>) -> Parsed<Option<&'a str>> {
    let kind = plugin.object("ipam")?.map(|ipam| ipam.text("type")).transpose()?.flatten();
    Ok(kind.filter(|kind| !["host-local", "static"].contains(kind)))
}

/// The list, and whether files beside it may hold more plugins of it.
fn read(value: &Value, source: &str, path: &str) -> Parsed<(Chain, bool)> {
    let root = Node::root(value).object()?;
    let (name, cni_version) = (read_name(&root)?.to_owned(), read_version(&root)?);
    let mut plugins = Vec::new();
    for node in nodes_of(value)? {
        let plugin = node.object()?;
        let Some(kind) = plugin.text("type")? else {
            return Err(Fault::input(&plugin.at("type"), "is missing"));
        };
        // The name becomes that of a file in CNI_PATH: none may lead out of it.
        check_name(kind).map_err(|why| {
            Fault::input(
                &plugin.at("type"),
                format_args!("{kind:?} can't be a plugin's name: it {why}"),
            )
        })?;
        if is_known(kind) && !NAMES.contains(&kind) {
            let why = format!("{kind:?} is a network by itself, and takes no plugins of others");
            return Err(Fault::input(&plugin.at("type"), why));
        }
        // What is the list's own, and what comes of it.
        let lists = ["plugins", "name", "cniVersion", "cniVersions"];
        let Value::Object(keys) = node.value else { return Err(node.fault("must be an object")) };
        let mut conf: Map<String, Value> = keys
            .iter()
            .filter(|(key, _)| !lists.iter().any(|known| key.eq_ignore_ascii_case(known)))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        conf.insert("name".into(), json!(name));
        conf.insert("cniVersion".into(), json!(cni_version));
        let called = Called { kind: kind.to_owned(), conf };
        judge(&called, &node)?;
        plugins.push(called);
    }
    let disable_check = loose_flag(&root, "disableCheck")?;
    let open_ended = root.get("plugins").is_some() && !loose_flag(&root, "loadOnlyInlinedPlugins")?;
    let (source, path) = (source.to_owned(), path.to_owned());
    Ok((Chain { name, cni_version, source, plugins, disable_check, path }, open_ended))
}

/// Whether podkeel has a plugin of this type, or a network.
fn is_known(kind: &str) -> bool {
    NAMES.contains(&kind) || ["none", "host"].contains(&kind)
}

/// Reads the keys of a plugin of ours, so that a mistake is found before anything is done.
fn judge(called: &Called, node: &Node<'_>) -> Parsed<()> {
    if !called.is_ours() {
        return Ok(());
    }
    let conf = Value::Object(called.conf.clone());
    match call(&conf, &called.kind, &Args::default()) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault { kind: error.kind, why: format!("{}.{}", node.path, error.why) }),
    }
}

/// An entry of `portMappings`.
fn mapping(port: &Publish) -> Value {
    json!({
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": port.proto.name(),
        "hostIP": port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    })
}

impl Chain {
    /// Why its plugins can't be called with CHECK, if they can't.
    pub fn has_no_check(&self) -> Option<String> {
        if self.disable_check {
            return Some("its list says disableCheck".into());
        }
        let why = format!("its list is of version {}, and CHECK came with 0.4.0", self.cni_version);
        (!self.is_from("0.4.0")).then_some(why)
    }

    /// Whether DEL is told of the result, as from version 0.4.0 on.
    pub fn has_prev_at_del(&self) -> bool {
        self.is_from("0.4.0")
    }

    fn is_from(&self, first: &str) -> bool {
        let at = |version: &str| CNI_VERSIONS.iter().position(|known| *known == version);
        at(&self.cni_version) >= at(first)
    }

    /// Gives the plugins what a caller asks for, each what its capabilities say: ports,
    /// addresses, a link-layer address. Ours need not say them.
    ///
    /// # Errors
    /// A wish that no plugin of the list serves.
    pub fn ask(&mut self, wishes: &Wishes) -> Result<()> {
        let missing = |what: &str, capability: &str| {
            let why = format!("none of its plugins has the capability {capability:?}");
            Err(Error::input(format!("{what} on network {}", self.name), why))
        };
        let ports: Vec<Value> = wishes.ports.iter().map(mapping).collect();
        let ips: Vec<String> = wishes.ips.iter().map(ToString::to_string).collect();
        let asked = [
            ("publish ports", "portMappings", (!ports.is_empty()).then(|| json!(ports))),
            ("ask for an address", "ips", (!ips.is_empty()).then(|| json!(ips))),
            ("ask for a MAC address", "mac", wishes.mac.map(|mac| json!(mac.to_string()))),
        ];
        if !wishes.sysctls.is_empty() {
            let what = format!("set sysctls on network {}", self.name);
            return Err(Error::input(what, "plugins of others can't be told of them")
                .hint("give its list a tuning plugin that sets them"));
        }
        let mut given: Vec<Map<String, Value>> = vec![Map::new(); self.plugins.len()];
        for (what, capability, value) in asked {
            let Some(value) = value else { continue };
            let takers = self.takers(capability);
            if takers.is_empty() {
                return missing(what, capability);
            }
            for at in takers {
                given[at].insert(capability.to_owned(), value.clone());
            }
        }
        for (plugin, given) in self.plugins.iter_mut().zip(given) {
            if !given.is_empty() {
                plugin.conf.insert("runtimeConfig".into(), Value::Object(given));
            }
        }
        Ok(())
    }

    /// Which plugins get what a capability is about: those that say that they have it, else
    /// the one of ours that would.
    fn takers(&self, capability: &str) -> Vec<usize> {
        let all = || self.plugins.iter().enumerate();
        let said: Vec<usize> = all().filter(|(_, p)| p.can(capability)).map(|(i, _)| i).collect();
        if !said.is_empty() {
            return said;
        }
        let ours = all().find(|(i, p)| match capability {
            "portMappings" => p.kind == "portmap",
            _ => *i == 0 && p.is_ours(),
        });
        ours.into_iter().map(|(i, _)| i).collect()
    }
}
