//! The plugins that make one link in the pod, or lend it one of the host's: `macvlan`,
//! `ipvlan`, `vlan`, `dummy`, `tap`, `host-device`. What they all know is [`Interface`].

use serde::{Deserialize, Serialize};

use super::{
    Capabilities, Dns, bond,
    bond::Bond,
    bridge::{read_mac, read_mtu},
    ipam,
    ipam::Ipam,
    json::{Fault, Object, Parsed},
    read_capabilities, read_dns,
};
use crate::request::{Mac, names::check_ifname};

/// A plugin that gives the pod one interface, without a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Which, and what is special about it.
    pub kind: InterfaceKind,
    /// Bytes; `None` = what the kernel gives it, mostly its parent's.
    pub mtu: Option<u32>,
    /// The link-layer address that is asked for.
    pub mac: Option<Mac>,
    /// The kernel asks around before the pod uses an IPv6 address; add waits for it.
    pub enable_dad: bool,
    /// Where addresses come from; `None` = it goes without.
    pub ipam: Option<Ipam>,
    /// What is passed on about name resolution.
    pub dns: Option<Dns>,
    /// What it asks a runtime for.
    pub capabilities: Capabilities,
}

/// Which plugin it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A second link on an Ethernet of the host, with its own link-layer address.
    Macvlan(Macvlan),
    /// One with the address of its parent.
    Ipvlan(Ipvlan),
    /// The frames of an Ethernet that have one tag.
    Vlan(Vlan),
    /// A link that leads nowhere.
    Dummy,
    /// Ethernet whose other end is a program.
    Tap(Tap),
    /// A link of the host's own.
    HostDevice(HostDevice),
}

impl InterfaceKind {
    /// Whether there is anybody to ask and to tell: behind a dummy there isn't, behind a tap not
    /// before a program has opened it.
    pub fn has_neighbours(&self) -> bool {
        !matches!(self, InterfaceKind::Dummy | InterfaceKind::Tap(_))
    }
}

/// Which link an interface stands on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Master {
    /// Its name; `None` = the one that the default route leads over.
    pub name: Option<String>,
    /// It is the pod's, not the host's: `linkInContainer`.
    pub in_pod: bool,
    /// What it is made of where it isn't there.
    pub bond: Option<Bond>,
}

/// What the macvlan plugin was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macvlan {
    /// The Ethernet.
    pub master: Master,
    /// Who is reached.
    pub mode: MacvlanMode,
    /// `bcqueuelen`: broadcasts that may wait; `None` = the kernel's default, 1000.
    pub queue: Option<u32>,
}

/// Whom the macvlans of one parent reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Each other, and the Ethernet.
    #[default]
    Bridge,
    /// The Ethernet alone.
    Private,
    /// Each other if the switch sends frames back.
    Vepa,
    /// There is but one, and it has the parent's address.
    Passthru,
}

/// What the ipvlan plugin was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipvlan {
    /// The link whose address it shares.
    pub master: Master,
    /// On which layer.
    pub mode: IpvlanMode,
}

/// What an ipvlan looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// Frames; it answers ARP.
    #[default]
    L2,
    /// Packets, routed by its parent's namespace without netfilter.
    L3,
    /// The same through netfilter.
    L3s,
}

/// What the vlan plugin was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The trunk. It is always named.
    pub master: Master,
    /// The tag, 0 to 4094.
    pub id: u16,
}

/// What the tap plugin was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tap {
    /// The user who may use it; `None` = root.
    pub owner: Option<u32>,
    /// The group that may use it.
    pub group: Option<u32>,
    /// Several programs may hold it open, each with a queue.
    pub multi_queue: bool,
    /// The bridge of the pod that it becomes a port of.
    pub bridge: Option<String>,
    /// The SELinux context that it is made in.
    pub selinux: Option<String>,
}

/// By what a link of the host is found. Of several the first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostDevice {
    /// By its name.
    Name(String),
    /// By its link-layer address.
    Mac(Mac),
    /// By the directory of its device below /sys/devices.
    KernelPath(String),
    /// By its address on the PCI bus: `0000:00:1f.6`.
    Pci(String),
}

impl MacvlanMode {
    const ALL: [(&str, MacvlanMode); 4] = [
        ("bridge", MacvlanMode::Bridge),
        ("private", MacvlanMode::Private),
        ("vepa", MacvlanMode::Vepa),
        ("passthru", MacvlanMode::Passthru),
    ];

    /// MACVLAN_MODE_* of linux/if_link.h.
    pub fn number(self) -> u32 {
        match self {
            MacvlanMode::Private => 1,
            MacvlanMode::Vepa => 2,
            MacvlanMode::Bridge => 4,
            MacvlanMode::Passthru => 8,
        }
    }

    /// As `ip link` says it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

impl IpvlanMode {
    const ALL: [(&str, IpvlanMode); 3] =
        [("l2", IpvlanMode::L2), ("l3", IpvlanMode::L3), ("l3s", IpvlanMode::L3s)];

    /// IPVLAN_MODE_* of linux/if_link.h.
    pub fn number(self) -> u16 {
        match self {
            IpvlanMode::L2 => 0,
            IpvlanMode::L3 => 1,
            IpvlanMode::L3s => 2,
        }
    }

    /// As `ip link` says it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

impl Interface {
    /// The link that it stands on, where it stands on one.
    pub fn master(&self) -> Option<&Master> {
        match &self.kind {
            InterfaceKind::Macvlan(conf) => Some(&conf.master),
            InterfaceKind::Ipvlan(conf) => Some(&conf.master),
            InterfaceKind::Vlan(conf) => Some(&conf.master),
            InterfaceKind::Dummy | InterfaceKind::Tap(_) | InterfaceKind::HostDevice(_) => None,
        }
    }
}

/// Reads the configuration of one of these plugins; `None` for any other type.
pub(super) fn read(kind: &str, plugin: &Object, version: &str) -> Parsed<Option<Interface>> {
    let kind = match kind {
        "macvlan" => InterfaceKind::Macvlan(Macvlan {
            master: read_master(plugin)?,
            mode: read_mode(plugin, "macvlan", &MacvlanMode::ALL)?,
            queue: plugin.number("bcqueuelen")?.filter(|length| *length != 0),
        }),
        "ipvlan" => InterfaceKind::Ipvlan(Ipvlan {
            master: read_master(plugin)?,
            mode: read_mode(plugin, "ipvlan", &IpvlanMode::ALL)?,
        }),
        "vlan" => InterfaceKind::Vlan(read_vlan(plugin)?),
        "dummy" => InterfaceKind::Dummy,
        "tap" => InterfaceKind::Tap(read_tap(plugin)?),
        "host-device" => InterfaceKind::HostDevice(read_device(plugin)?),
        _ => return Ok(None),
    };
    let ipam = ipam::read(plugin, version)?;
    let has = |key: &str| match (&kind, key) {
        (InterfaceKind::Dummy | InterfaceKind::HostDevice(_), _) => false,
        (InterfaceKind::Macvlan(_) | InterfaceKind::Tap(_), _) => true,
        (_, key) => key == "mtu",
    };
    let mac = if has("mac") { read_own_mac(plugin)? } else { None };
    let enable_dad = kind.has_neighbours() && plugin.flag("enabledad", false)?;
    if let (InterfaceKind::Macvlan(conf), Some(_)) = (&kind, mac)
        && conf.mode == MacvlanMode::Passthru
    {
        let why = "cannot be together with mode \"passthru\", which takes the master's";
        return Err(Fault::input(&plugin.at("mac"), why));
    }
    if matches!(kind, InterfaceKind::Dummy) && ipam.is_none() {
        return Err(Fault::input(
            &plugin.at("ipam"),
            "is missing: dummy interface requires an IPAM configuration",
        ));
    }
    Ok(Some(Interface {
        mtu: if has("mtu") { read_mtu(plugin, ipam.as_ref())? } else { None },
        kind,
        mac,
        enable_dad,
        ipam,
        dns: read_dns(plugin)?,
        capabilities: read_capabilities(plugin)?,
    }))
}

fn read_master(plugin: &Object) -> Parsed<Master> {
    let master = Master {
        name: read_ifname(plugin, "master")?,
        in_pod: plugin.flag("linkInContainer", false)?,
        bond: bond::read(plugin)?,
    };
    if master.bond.is_some() && master.name.is_none() {
        let why = "is missing: it names the bond that \"bond\" describes";
        return Err(Fault::input(&plugin.at("master"), why));
    }
    if master.bond.is_some() && master.in_pod {
        let why = "cannot be together with \"linkInContainer\": a bond is made of the host's links";
        return Err(Fault::input(&plugin.at("bond"), why));
    }
    Ok(master)
}

/// A link's name, unless it is empty.
pub(super) fn read_ifname(plugin: &Object, key: &str) -> Parsed<Option<String>> {
    let Some(name) = plugin.text(key)? else { return Ok(None) };
    check_ifname(name)
        .map_err(|why| Fault::input(&plugin.at(key), format_args!("{name:?} {why}")))?;
    Ok(Some(name.to_owned()))
}

/// The key `mode`: one of these names.
pub(super) fn read_mode<T: Copy + Default>(
    plugin: &Object,
    kind: &str,
    all: &[(&str, T)],
) -> Parsed<T> {
    let Some(text) = plugin.text("mode")? else { return Ok(T::default()) };
    let known: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    match all.iter().find(|(name, _)| *name == text) {
        Some((_, mode)) => Ok(*mode),
        None => Err(Fault::input(
            &plugin.at("mode"),
            format_args!("unknown {kind} mode: {text:?}: there are {}", known.join(", ")),
        )),
    }
}

fn read_vlan(plugin: &Object) -> Parsed<Vlan> {
    let master = read_master(plugin)?;
    if master.name.is_none() {
        return Err(Fault::input(
            &plugin.at("master"),
            "is missing: it names the interface whose tagged frames the pod gets",
        ));
    }
    let id = plugin.number("vlanId")?.unwrap_or(0);
    match u16::try_from(id).ok().filter(|id| *id <= VLAN_MAX) {
        Some(id) => Ok(Vlan { master, id }),
        None => Err(Fault::input(
            &plugin.at("vlanId"),
            format_args!("invalid VLAN ID {id} (must be between 0 and {VLAN_MAX})"),
        )),
    }
}

/// The highest tag: IEEE 802.1Q keeps 4095.
pub const VLAN_MAX: u16 = 4094;

fn read_tap(plugin: &Object) -> Parsed<Tap> {
    Ok(Tap {
        owner: plugin.number("owner")?,
        group: plugin.number("group")?,
        multi_queue: plugin.flag("multiQueue", false)?,
        bridge: read_ifname(plugin, "bridge")?,
        selinux: plugin.text("selinuxContext")?.map(str::to_owned),
    })
}

fn read_device(plugin: &Object) -> Parsed<HostDevice> {
    let runtime = plugin.object("runtimeConfig")?;
    let asked = runtime.map(|r| r.text("deviceID").map(|id| id.map(str::to_owned))).transpose()?;
    if let Some(name) = read_ifname(plugin, "device")? {
        return Ok(HostDevice::Name(name));
    }
    if let Some(text) = plugin.text("hwaddr")? {
        let wrong = |why| Fault::input(&plugin.at("hwaddr"), format_args!("{text:?}: {why}"));
        return Ok(HostDevice::Mac(text.parse().map_err(wrong)?));
    }
    if let Some(path) = plugin.text("kernelpath")? {
        let leads_out = path.split('/').any(|part| part == "..");
        if !path.starts_with("/sys/devices/") || leads_out {
            let why = format!("{path:?} must be absolute and begin with /sys/devices/");
            return Err(Fault::input(&plugin.at("kernelpath"), why));
        }
        return Ok(HostDevice::KernelPath(path.to_owned()));
    }
    match asked.flatten().or(plugin.text("pciBusID")?.map(str::to_owned)) {
        Some(id) if id.contains('/') || id.starts_with('.') => {
            let why = format!("{id:?} is not an address on the PCI bus");
            Err(Fault::input(&plugin.at("pciBusID"), why))
        }
        Some(id) => Ok(HostDevice::Pci(id)),
        None => {
            let why = "specify either \"device\", \"hwaddr\", \"kernelpath\" or \"pciBusID\"";
            Err(Fault::input(&plugin.path, why))
        }
    }
}

/// The link-layer address: what a runtime says, else `args.cni.mac`, else the key `mac`.
fn read_own_mac(plugin: &Object) -> Parsed<Option<Mac>> {
    if let Some(mac) = read_mac(plugin)? {
        return Ok(Some(mac));
    }
    let Some(text) = plugin.text("mac")? else { return Ok(None) };
    let mac: Result<Mac, String> = text.parse().and_then(Mac::unicast);
    mac.map(Some).map_err(|why| Fault::input(&plugin.at("mac"), format_args!("{text:?}: {why}")))
}
