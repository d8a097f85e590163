//! The plugins that add to an interface that is there: `portmap`, `firewall` and `tuning`.

use super::{
    Capabilities,
    bridge::read_backend,
    interface::read_ifname,
    json::{Fault, Object, Parsed},
    read_capabilities,
};
use crate::request::{Mac, SysctlSetting, matches};

/// Published ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portmap {
    /// Ports are the pod's on the host's 127.0.0.1, too.
    pub snat: bool,
    /// The pod sees the host's address behind all that comes by a published port.
    pub masq_all: bool,
    /// Words of iptables that a packet of IPv4 must match to reach a published port; see
    /// [`matches`].
    pub conditions_v4: Vec<String>,
    /// The same of IPv6.
    pub conditions_v6: Vec<String>,
    /// How packets are marked that are to be masqueraded; `None` = not at all, for our rules
    /// ask the connection itself.
    pub mark: Option<MarkBy>,
    /// What it asks a runtime for: `portMappings`.
    pub capabilities: Capabilities,
}

/// How packets to a published port are marked that are to be masqueraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkBy {
    /// One bit of the mark, 0 to 31. All that has it is masqueraded.
    Bit(u32),
    /// As this chain of iptables' table nat does it, by whose owner it is masqueraded.
    Chain(String),
}

/// Sysctls in the pod, and settings of its interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// In the file's order, no key twice. A part `IFNAME` stands for the pod's
    /// interface: [`SysctlSetting::on_interface`].
    pub sysctls: Vec<SysctlSetting>,
    /// The interface's link-layer address, as the file has it.
    pub mac: Option<Mac>,
    /// The same as the caller has it: it wins over the file's and CNI_ARGS'.
    pub asked_mac: Option<Mac>,
    /// More of the interface.
    pub link: LinkSettings,
    /// What it asks a runtime for: `mac`.
    pub capabilities: Capabilities,
}

/// A routing domain in the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrf {
    /// The name of its link.
    pub name: String,
    /// The routing table; `None` = the first that no other of the pod's has.
    pub table: Option<u32>,
}

/// Settings of an interface that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// IFF_PROMISC is turned on.
    pub promisc: bool,
    /// IFF_ALLMULTI is turned on or off.
    pub allmulti: Option<bool>,
    /// Bytes.
    pub mtu: Option<u32>,
    /// Length of the transmit queue, packets.
    pub txqlen: Option<u32>,
}

/// The chain of iptables' rules that the administrator keeps for himself.
const ADMIN_CHAIN: &str = "CNI-ADMIN";
/// Longest name of a chain of iptables (XT_EXTENSION_MAXNAMELEN, with its NUL).
const CHAIN_MAX: usize = 28;

/// Accepts where the host's own rules drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// Name of the chain that comes before all accepts.
    pub admin_chain: String,
}

/// Whatever the backend is called, it is the rules of iptables-nft that are looked for.
pub(super) fn read_firewall(plugin: &Object) -> Parsed<Firewall> {
    let wrong = |key: &str, why: String| Err(Fault::input(&plugin.at(key), why));
    match plugin.text("backend")?.unwrap_or("") {
        "" | "iptables" | "firewalld" | "nftables" => {}
        other => {
            return wrong(
                "backend",
                format!("{other:?} is neither \"iptables\" nor \"firewalld\""),
            );
        }
    }
    // A zone is firewalld's own; podkeel doesn't talk to it.
    plugin.text("firewalldZone")?;
    match plugin.text("ingressPolicy")?.unwrap_or("") {
        "" | "open" => {}
        policy @ ("same-bridge" | "isolated") => {
            let why = format!("{policy:?} is not built yet: only \"open\" is");
            return Err(Fault::unsupported(&plugin.at("ingressPolicy"), why));
        }
        other => return wrong("ingressPolicy", format!("{other:?} is not a policy")),
    }
    let admin = plugin.text("iptablesAdminChainName")?.filter(|name| !name.is_empty());
    let admin_chain = admin.unwrap_or(ADMIN_CHAIN).to_owned();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let built_in = ["CNI-FORWARD", "INPUT", "FORWARD", "OUTPUT"];
    if admin_chain.len() > CHAIN_MAX
        || admin_chain.starts_with('-')
        || !admin_chain.chars().all(is_plain)
        || built_in.contains(&admin_chain.as_str())
    {
        return wrong(
            "iptablesAdminChainName",
            format!("{admin_chain:?} can't be the name of that chain"),
        );
    }
    Ok(Firewall { admin_chain })
}

pub(super) fn read_vrf(plugin: &Object) -> Parsed<Vrf> {
    let Some(name) = read_ifname(plugin, "vrfname")? else {
        let why = "is missing: configuration is expected to have a valid vrf name";
        return Err(Fault::input(&plugin.at("vrfname"), why));
    };
    Ok(Vrf { name, table: plugin.number("table")?.filter(|table| *table != 0) })
}

pub(super) fn read_portmap(plugin: &Object) -> Parsed<Portmap> {
    read_backend(plugin, "backend")?;
    Ok(Portmap {
        snat: plugin.flag("snat", true)?,
        masq_all: plugin.flag("masqAll", false)?,
        conditions_v4: read_conditions(plugin, "conditionsV4", false)?,
        conditions_v6: read_conditions(plugin, "conditionsV6", true)?,
        mark: read_mark(plugin)?,
        capabilities: read_capabilities(plugin)?,
    })
}

fn read_conditions(plugin: &Object, key: &str, v6: bool) -> Parsed<Vec<String>> {
    let (words, path) = (plugin.strings(key)?, plugin.at(key));
    if !words.is_empty() && plugin.text("backend")? == Some("nftables") {
        let why = "nft's own words are not read; those of iptables are, with backend \"iptables\"";
        return Err(Fault::unsupported(&path, why));
    }
    match matches::read(&words, v6) {
        Ok(_) => Ok(words),
        Err(refused) if refused.unknown => Err(Fault::unsupported(&path, refused.why)),
        Err(refused) => Err(Fault::input(&path, refused.why)),
    }
}

fn read_mark(plugin: &Object) -> Parsed<Option<MarkBy>> {
    let chain = plugin.text("externalSetMarkChain")?;
    let Some(bit) = plugin.number("markMasqBit")? else {
        return Ok(chain.map(|chain| MarkBy::Chain(chain.to_owned())));
    };
    let path = plugin.at("markMasqBit");
    if chain.is_some() {
        return Err(Fault::input(&path, "cannot be together with externalSetMarkChain"));
    }
    if bit > 31 {
        return Err(Fault::input(&path, format_args!("{bit} is not a bit from 0 to 31")));
    }
    Ok(Some(MarkBy::Bit(bit)))
}

pub(super) fn read_tuning(plugin: &Object) -> Parsed<Tuning> {
    // Where the reference keeps what it is to put back; podkeel's records have it.
    plugin.text("dataDir")?;
    let mut tuning = Tuning {
        mac: read_link_mac(plugin)?,
        link: read_link(plugin, LinkSettings::default())?,
        capabilities: read_capabilities(plugin)?,
        ..Tuning::default()
    };
    read_sysctls(plugin, &mut tuning.sysctls)?;
    if let Some(runtime) = plugin.object("runtimeConfig")? {
        tuning.asked_mac = read_link_mac(&runtime)?;
    }
    if let Some(args) = plugin.object("args")?
        && let Some(cni) = args.object("cni")?
    {
        tuning.link = read_link(&cni, tuning.link)?;
        tuning.asked_mac = read_link_mac(&cni)?.or(tuning.asked_mac);
        let mut more = Vec::new();
        read_sysctls(&cni, &mut more)?;
        tuning.sysctls.retain(|setting| more.iter().all(|other| other.path != setting.path));
        tuning.sysctls.extend(more);
    }
    Ok(tuning)
}

fn read_link_mac(keys: &Object) -> Parsed<Option<Mac>> {
    let Some(text) = keys.text("mac")? else { return Ok(None) };
    let mac: Result<Mac, String> = text.parse().and_then(Mac::unicast);
    mac.map(Some).map_err(|why| Fault::input(&keys.at("mac"), format_args!("{text:?}: {why}")))
}

/// The settings of a link; what isn't given is `before`'s.
fn read_link(keys: &Object, before: LinkSettings) -> Parsed<LinkSettings> {
    let flag = |key: &str| keys.get(key).map(|node| node.flag()).transpose();
    Ok(LinkSettings {
        promisc: flag("promisc")?.unwrap_or(before.promisc),
        allmulti: flag("allmulti")?.or(before.allmulti),
        mtu: match keys.number("mtu")? {
            None => before.mtu,
            given => given.filter(|mtu| *mtu != 0),
        },
        txqlen: keys.number("txQLen")?.or(before.txqlen),
    })
}

fn read_sysctls(plugin: &Object, sysctls: &mut Vec<SysctlSetting>) -> Parsed<()> {
    let Some(node) = plugin.get("sysctl") else { return Ok(()) };
    for (key, value) in node.entries()? {
        let setting = SysctlSetting::new(key, value.string()?).map_err(|e| value.fault(e.why))?;
        // Two spellings can be one key: net.ipv4.ip_forward, net/ipv4/ip_forward.
        if sysctls.iter().any(|other| other.path == setting.path) {
            return Err(value.fault("is given twice"));
        }
        sysctls.push(setting);
    }
    Ok(())
}
