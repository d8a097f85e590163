//! The links that a pod's interface stands on, or is.

use std::path::{Path, PathBuf};

use podkeel_wire::rt::{self, LinkInfo};

use super::Facts;
use crate::conf::{Bond, HostDevice, Interface, InterfaceKind, Master, VLAN_MAX, Vxlan};
use crate::error::{Error, Kind, Result};
use crate::kernel::Rtnl;
use crate::plan::Pod;
use crate::request::Mac;

/// The link that a pod's interface stands on.
#[derive(Clone, Debug, Default)]
pub struct ParentFacts {
    /// Its name.
    pub name: String,
    /// Its link-layer address.
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    /// It is a vlan sub-interface that is ours, or yet to be made: the link below and the tag.
    pub vlan: Option<(String, u16)>,
    /// It is a bond, or stands on one, that is ours or yet to be made.
    pub bond: Option<BondFacts>,
}

/// A bond that is ours, or yet to be made.
#[derive(Clone, Debug)]
pub struct BondFacts {
    /// Its name.
    pub name: String,
    /// Its link-layer address: the first port's, as the kernel has it.
    pub mac: Option<Mac>,
    /// Bytes: what each port can carry.
    pub mtu: u32,
    /// As the network's list describes it.
    pub conf: Bond,
}

/// What `host-device` has found.
#[derive(Clone, Debug)]
pub enum DeviceFacts {
    /// A link.
    Link {
        /// Its name.
        name: String,
        /// Its link-layer address.
        mac: Option<Mac>,
        /// Bytes.
        mtu: u32,
        /// Its alias.
        alias: Option<String>,
        /// Whether it is up.
        up: bool,
    },
    /// A device that a program drives: the host has no link for it (DPDK).
    Userspace,
}

/// The end of a tunnel that is this host's.
#[derive(Clone, Debug)]
pub struct TunnelFacts {
    /// This host's own address among those of the network.
    pub local: std::net::IpAddr,
    /// The mtu of the link that has it.
    pub mtu: u32,
}

impl DeviceFacts {
    fn of(link: LinkInfo) -> DeviceFacts {
        DeviceFacts::Link {
            mac: link.mac.map(Mac),
            mtu: link.mtu,
            up: link.up(),
            name: link.name,
            alias: link.alias,
        }
    }
}

impl Facts {
    /// Reads which link the interface of a network stands on, or is.
    ///
    /// # Errors
    /// [`Kind::Missing`] where there is no such link.
    pub fn read_links(
        &mut self,
        conf: &Interface,
        host: &mut Rtnl,
        pod: &mut Pod,
        shared: &str,
    ) -> Result<()> {
        if let Some(master) = conf.master() {
            let rtnl = if master.in_pod { &mut pod.rtnl } else { &mut *host };
            self.parent = Some(parent(master, rtnl, shared)?);
        }
        if let InterfaceKind::HostDevice(by) = &conf.kind {
            let link = device(by, host)?;
            // What is set of it later is put back before it goes home.
            if let Some(link) = &link {
                self.read_settings(link);
            }
            self.device = Some(link.map_or(DeviceFacts::Userspace, DeviceFacts::of));
        }
        Ok(())
    }

    /// Reads which of a tunnel's hosts this one is.
    ///
    /// # Errors
    /// [`Kind::Input`] where it is none of them.
    pub fn read_tunnel(&mut self, conf: &Vxlan, host: &mut Rtnl) -> Result<()> {
        let own = host.addrs(0)?;
        let wanted: Vec<_> = match conf.local {
            Some(local) => vec![local],
            None => conf.remotes.iter().map(|remote| remote.host).collect(),
        };
        let Some(addr) = own.iter().find(|a| wanted.contains(&a.ip)) else {
            let what = format!("find this host among those of vxlan {}", conf.id);
            let list: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            let why = format!("it has no address of {}", list.join(", "));
            return Err(Error::input(what, why).hint("set \"local\", or name it in \"remotes\""));
        };
        let mtu = host.link_at(addr.index)?.map_or(0, |link| link.mtu);
        self.tunnel = Some(TunnelFacts { local: addr.ip, mtu });
        Ok(())
    }
}

/// A master by its name; one that isn't there may be a bond that is described, or a vlan
/// sub-interface: `eth0.100`. Those are made on demand.
fn parent(master: &Master, rtnl: &mut Rtnl, shared: &str) -> Result<ParentFacts> {
    let name = match &master.name {
        Some(name) => name.clone(),
        None => default_link(rtnl)?,
    };
    let tagged = || {
        let (lower, id) = name.rsplit_once('.')?;
        let id = id.parse().ok().filter(|id| (1..=VLAN_MAX).contains(id))?;
        Some((lower.to_owned(), id)).filter(|_| !master.in_pod)
    };
    let (there, tagged) = (rtnl.link(&name)?, tagged());
    let bond = match &master.bond {
        Some(conf) => {
            let name = tagged.as_ref().map_or(&name, |(lower, _)| lower);
            bond(name, conf, rtnl, shared)?
        }
        None => None,
    };
    let facts = |mac, mtu, vlan, bond| ParentFacts { name: name.clone(), mac, mtu, vlan, bond };
    if let Some(link) = there {
        let vlan = tagged.filter(|_| link.alias.as_deref() == Some(shared));
        return Ok(facts(link.mac.map(Mac), link.mtu, vlan, bond));
    }
    if let Some(made) = bond {
        return Ok(facts(made.mac, made.mtu, tagged, Some(made)));
    }
    let Some((lower, id)) = tagged else {
        return Err(no_master(&name, "there is no such link"));
    };
    match rtnl.link(&lower)? {
        Some(below) => Ok(facts(below.mac.map(Mac), below.mtu, Some((lower, id)), None)),
        None => Err(no_master(&name, &format!("there is no link {lower} to make it on"))),
    }
}

/// A bond that is ours, or to be made. Somebody else's is used as it is, if it is what is
/// described: then there is nothing to make.
fn bond(name: &str, conf: &Bond, rtnl: &mut Rtnl, shared: &str) -> Result<Option<BondFacts>> {
    let facts = |mac, mtu| BondFacts { name: name.to_owned(), mac, mtu, conf: conf.clone() };
    match rtnl.link(name)? {
        Some(link) if link.alias.as_deref() == Some(shared) => {
            Ok(Some(facts(link.mac.map(Mac), link.mtu)))
        }
        Some(link) => is_described(&link, conf, rtnl).map(|()| None),
        None => {
            let ports = free_ports(name, conf, rtnl)?;
            let mtu = ports.iter().map(|port| port.mtu).min().unwrap_or_default();
            Ok(Some(facts(ports.first().and_then(|port| port.mac).map(Mac), mtu)))
        }
    }
}

/// The links that a bond is to be made of. The kernel takes none that is up, and one that
/// is in use must not be taken from whoever uses it.
fn free_ports(name: &str, conf: &Bond, rtnl: &mut Rtnl) -> Result<Vec<LinkInfo>> {
    let what = |port: &str| format!("make bond {name} of link {port}");
    let mut ports = Vec::new();
    for port in &conf.links {
        let Some(link) = rtnl.link(port)? else {
            return Err(Error::new(Kind::Missing, what(port), "there is no such link"));
        };
        if link.master.is_some() {
            let why = "it is in another bond, bridge or routing domain";
            return Err(Error::new(Kind::Taken, what(port), why));
        }
        if link.up() {
            return Err(Error::new(Kind::Taken, what(port), "it is up, so it may be in use")
                .hint(format!("if nobody needs it: ip link set {port} down")));
        }
        ports.push(link);
    }
    Ok(ports)
}

/// Whether somebody else's link is the bond that a network's list describes. One without
/// its ports would be a master that leads nowhere.
fn is_described(link: &LinkInfo, conf: &Bond, rtnl: &mut Rtnl) -> Result<()> {
    let differs = |why: String| {
        Err(Error::new(Kind::Taken, format!("use {} as the bond of the list", link.name), why)
            .hint(format!("ip link del {}, or leave \"bond\" out to use it as it is", link.name)))
    };
    match link.device {
        Some(rt::Device::Bond { mode, .. }) if mode == conf.mode.number() => {}
        Some(rt::Device::Bond { .. }) => {
            return differs(format!("its mode isn't {}", conf.mode.name()));
        }
        _ => return differs("it is no bond".into()),
    }
    for port in &conf.links {
        if rtnl.link(port)?.and_then(|port| port.master) != Some(link.index) {
            return differs(format!("link {port} isn't in it"));
        }
    }
    Ok(())
}

fn no_master(name: &str, why: &str) -> Error {
    Error::new(Kind::Missing, format!("find master {name}"), why)
        .hint("set \"master\" in the network's list to a link of `ip link`")
}

/// The link of the default route, IPv4's before IPv6's.
fn default_link(rtnl: &mut Rtnl) -> Result<String> {
    for family in [libc::AF_INET, libc::AF_INET6] {
        let is_default = |r: &&rt::RouteInfo| {
            r.dst.1 == 0 && r.table == u32::from(libc::RT_TABLE_MAIN) && r.kind == libc::RTN_UNICAST
        };
        let index = rtnl.routes(family)?.iter().find(is_default).and_then(|r| r.oif);
        if let Some(index) = index
            && let Some(link) = rtnl.link_at(index)?
        {
            return Ok(link.name);
        }
    }
    let why = "no default route interface found, and the network's list names no master";
    Err(Error::new(Kind::Missing, "find the master", why))
}

/// Drivers of devices that programs use without the kernel's network.
const USERSPACE: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];
const PCI: &str = "/sys/bus/pci/devices";

/// The link, or nothing for a device that a program drives by itself.
fn device(by: &HostDevice, host: &mut Rtnl) -> Result<Option<LinkInfo>> {
    let missing = |which: String, why: &str| {
        Err(Error::new(Kind::Missing, format!("find the host's device {which}"), why))
    };
    let found = match by {
        HostDevice::Name(name) => match host.link(name)? {
            Some(link) => Some(link),
            None => return missing(name.clone(), "there is no such link"),
        },
        HostDevice::Mac(mac) => {
            host.links()?.into_iter().find(|l| l.mac == Some(mac.0) && l.family == 0)
        }
        HostDevice::KernelPath(path) => first_in(&Path::new(path).join("net"), host)?,
        HostDevice::Pci(id) => {
            let dir = Path::new(PCI).join(id);
            let driver = std::fs::read_link(dir.join("driver"));
            let driver = driver.ok().and_then(|d| Some(d.file_name()?.to_str()?.to_owned()));
            if driver.is_some_and(|driver| USERSPACE.contains(&driver.as_str())) {
                return Ok(None);
            }
            let mut found = first_in(&dir.join("net"), host)?;
            for virtio in entries(&dir).into_iter().filter(|e| is_virtio(e)) {
                found = match found {
                    None => first_in(&virtio.join("net"), host)?,
                    some => some,
                };
            }
            found
        }
    };
    match found {
        Some(link) => Ok(Some(link)),
        None => {
            let which = match by {
                HostDevice::Name(name) => name.clone(),
                HostDevice::Mac(mac) => format!("with address {mac}"),
                HostDevice::KernelPath(path) => format!("at {path}"),
                HostDevice::Pci(id) => format!("with PCI address {id}"),
            };
            missing(which, "no link of this network namespace belongs to it")
        }
    }
}

fn is_virtio(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("virtio"))
}

/// The first link of a directory of links in /sys that is in this namespace.
fn first_in(dir: &Path, host: &mut Rtnl) -> Result<Option<LinkInfo>> {
    for entry in entries(dir) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(link) = host.link(&name)? {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

/// What is in a directory, in order; nothing for one that isn't there.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> = found.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}
