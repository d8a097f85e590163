//! The `bridge` plugin: a veth pair from the pod to a bridge on the host.

use super::{
    Capabilities, Dns, ipam,
    ipam::Ipam,
    json::{Fault, Object, Parsed},
    read_capabilities, read_dns,
};
use crate::request::{Mac, Vlan, names::check_ifname};
use ipnet::IpNet;

/// The bridge that the reference plugin uses when none is named.
const DEFAULT_BRIDGE: &str = "cni0";

/// The smallest mtu of IPv4, RFC 791.
const MTU_MIN: u32 = 68;
/// The smallest mtu of IPv6, RFC 8200 section 5.
const MTU_MIN_V6: u32 = 1280;
/// The largest that the kernel gives a veth or a bridge (ETH_MAX_MTU).
const MTU_MAX: u32 = 65535;

/// What the bridge plugin was told. Names as in its documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The bridge's name on the host; `cni0` when the file names none.
    pub bridge: String,
    /// The bridge gets the gateway's address, and the host forwards.
    pub is_gateway: bool,
    /// The pod gets a default route via the gateway. Implies `is_gateway`.
    pub is_default_gateway: bool,
    /// A bridge that has another address of the family loses it.
    pub force_address: bool,
    /// What leaves the network is masqueraded.
    pub ip_masq: bool,
    /// Of bridge and veth, in bytes, 68 to 65535; `None` = up to the driver.
    pub mtu: Option<u32>,
    /// The bridge may send a frame back out of the port it came from.
    pub hairpin_mode: bool,
    /// The bridge is promiscuous. Never together with `hairpin_mode`.
    pub promisc_mode: bool,
    /// Pods reach the gateway, but not each other.
    pub port_isolation: bool,
    /// The pod's frames have its own link-layer address, or go nowhere.
    pub mac_spoof_check: bool,
    /// The kernel asks around before the pod uses an IPv6 address; add waits for it.
    pub enable_dad: bool,
    /// The pod's end stays down. Never together with `ipam`.
    pub disable_container_interface: bool,
    /// VLANs of the pod's port: `vlan` untagged, those of `vlanTrunk` tagged.
    pub vlans: Vec<Vlan>,
    /// The port stays in VLAN 1, too.
    pub preserve_default_vlan: bool,
    /// The pod's link-layer address (`args.cni.mac`); `None` = up to the driver.
    pub mac: Option<Mac>,
    /// Where addresses come from; `None` = the link is made without any.
    pub ipam: Option<Ipam>,
    /// What is passed on about name resolution.
    pub dns: Option<Dns>,
    /// What it asks a runtime for: `mac`, `ips`, ...
    pub capabilities: Capabilities,
}

impl Bridge {
    /// The VLAN that pods and gateway are in, if the gateway isn't the bridge's own address.
    /// Without `ipam` there is no gateway.
    pub fn gateway_vlan(&self) -> Option<u16> {
        let has = self.is_gateway && self.ipam.is_some();
        let own = self.vlans.iter().find(|vlan| vlan.access).filter(|_| has);
        own.map(|vlan| vlan.first)
    }

    /// The link that has the gateway's addresses: the bridge, or its part in a VLAN, by the
    /// reference's name.
    pub fn gateway_link(&self) -> String {
        match self.gateway_vlan() {
            Some(id) => format!("{}.{id}", self.bridge),
            None => self.bridge.clone(),
        }
    }

    /// The gateway addresses that the bridge is to have, with their prefix lengths.
    pub fn gateways(&self) -> impl Iterator<Item = IpNet> {
        let ipam = self.ipam.as_ref().and_then(Ipam::host_local);
        let ranges = ipam.into_iter().flat_map(|ipam| &ipam.sets).flatten();
        ranges.filter_map(|r| IpNet::new(r.gateway?, r.subnet.prefix_len()).ok())
    }
}

pub(super) fn read(plugin: &Object, cni_version: &str) -> Parsed<Bridge> {
    // podkeel's rules are nftables': asking for them is asking for what is done.
    read_backend(plugin, "ipMasqBackend")?;
    let bridge = plugin.text("bridge")?.unwrap_or(DEFAULT_BRIDGE);
    check_ifname(bridge)
        .map_err(|why| Fault::input(&plugin.at("bridge"), format_args!("{bridge:?} {why}")))?;
    let ipam = ipam::read(plugin, cni_version)?;
    let is_default_gateway = plugin.flag("isDefaultGateway", false)?;
    let read = Bridge {
        bridge: bridge.to_owned(),
        is_gateway: plugin.flag("isGateway", false)? || is_default_gateway,
        is_default_gateway,
        force_address: plugin.flag("forceAddress", false)?,
        ip_masq: plugin.flag("ipMasq", false)?,
        mtu: read_mtu(plugin, ipam.as_ref())?,
        hairpin_mode: plugin.flag("hairpinMode", false)?,
        promisc_mode: plugin.flag("promiscMode", false)?,
        port_isolation: plugin.flag("portIsolation", false)?,
        mac_spoof_check: plugin.flag("macspoofchk", false)?,
        enable_dad: plugin.flag("enabledad", false)?,
        disable_container_interface: plugin.flag("disableContainerInterface", false)?,
        vlans: read_vlans(plugin)?,
        preserve_default_vlan: plugin.flag("preserveDefaultVlan", true)?,
        mac: read_mac(plugin)?,
        ipam,
        dns: read_dns(plugin)?,
        capabilities: read_capabilities(plugin)?,
    };
    if read.disable_container_interface && read.ipam.is_some() {
        let path = plugin.at("disableContainerInterface");
        return Err(Fault::input(
            &path,
            "cannot be together with ipam: what is down has no use for addresses",
        ));
    }
    let gateway = read.gateway_link();
    if let Err(why) = check_ifname(&gateway) {
        let why = format_args!("the link of its gateway, {gateway:?}, {why}");
        return Err(Fault::input(&plugin.at("vlan"), why));
    }
    if read.hairpin_mode && read.promisc_mode {
        // The pod's own frames would come back to it twice; the reference refuses it too.
        return Err(Fault::input(&plugin.at("promiscMode"), "cannot be together with hairpinMode"));
    }
    Ok(read)
}

/// The largest VLAN id; 4095 is reserved (IEEE 802.1Q).
const VLAN_MAX: u32 = 4094;

/// `vlan`, or `vlanTrunk`: a list of `{"id": 5}` and `{"minID": 10, "maxID": 20}`, or of both in one.
fn read_vlans(plugin: &Object) -> Parsed<Vec<Vlan>> {
    let id = |keys: &Object, key: &str, min: u32| -> Parsed<Option<u16>> {
        let Some(id) = keys.number(key)? else { return Ok(None) };
        match u16::try_from(id).ok().filter(|_| (min..=VLAN_MAX).contains(&id)) {
            Some(id) => Ok(Some(id)),
            None => {
                let why = format_args!("{id} is no VLAN: {min} to {VLAN_MAX}").to_string();
                Err(Fault::input(&keys.at(key), why))
            }
        }
    };
    let own = id(plugin, "vlan", 0)?.filter(|id| *id != 0);
    let mut vlans: Vec<Vlan> =
        own.map(|id| Vlan { first: id, last: id, access: true }).into_iter().collect();
    for node in plugin.array("vlanTrunk")? {
        let entry = node.object()?;
        let mut tagged = |first, last| vlans.push(Vlan { first, last, access: false });
        match (id(&entry, "minID", 1)?, id(&entry, "maxID", 1)?) {
            (None, None) => {}
            (Some(first), Some(last)) if first <= last => tagged(first, last),
            (Some(_), Some(_)) => {
                return Err(node.fault("must have a maxID that is no less than minID"));
            }
            _ => return Err(node.fault("must have both minID and maxID, or neither")),
        }
        if let Some(id) = id(&entry, "id", 1)? {
            tagged(id, id);
        }
    }
    if own.is_some() && vlans.len() > 1 {
        return Err(Fault::input(&plugin.at("vlan"), "cannot be together with vlanTrunk"));
    }
    Ok(vlans)
}

/// Which of the kernel's tables the reference writes its rules to. podkeel's are always
/// nftables': asked for either, the same is done.
pub(super) fn read_backend(plugin: &Object, key: &str) -> Parsed<()> {
    match plugin.text(key)? {
        None | Some("nftables" | "iptables") => Ok(()),
        Some(other) => {
            let why = format!("{other:?} is neither \"iptables\" nor \"nftables\"");
            Err(Fault::input(&plugin.at(key), why))
        }
    }
}

pub(super) fn read_mtu(plugin: &Object, ipam: Option<&Ipam>) -> Parsed<Option<u32>> {
    // 0 is the reference's "not given".
    let Some(mtu) = plugin.number("mtu")?.filter(|mtu| *mtu != 0) else { return Ok(None) };
    let path = plugin.at("mtu");
    if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
        return Err(Fault::input(&path, format_args!("{mtu} is not from {MTU_MIN} to {MTU_MAX}")));
    }
    let v6 = ipam.is_some_and(|ipam| ipam.subnets().iter().any(|net| net.addr().is_ipv6()));
    if v6 && mtu < MTU_MIN_V6 {
        return Err(Fault::input(
            &path,
            format_args!("{mtu} is too small for IPv6, which needs {MTU_MIN_V6}"),
        ));
    }
    Ok(Some(mtu))
}

/// The link-layer address that is asked for: `args.cni.mac` of the file, over it
/// `runtimeConfig.mac`.
pub(super) fn read_mac(plugin: &Object) -> Parsed<Option<Mac>> {
    let args = plugin.object("args")?;
    let args = args.map(|args| args.object("cni")).transpose()?.flatten();
    for keys in [plugin.object("runtimeConfig")?, args].into_iter().flatten() {
        if let Some(text) = keys.text("mac")? {
            let mac: Result<Mac, String> = text.parse().and_then(Mac::unicast);
            let fault = |why| Fault::input(&keys.at("mac"), format_args!("{text:?}: {why}"));
            return mac.map(Some).map_err(fault);
        }
    }
    Ok(None)
}
