//! What the host has, read once before anything is planned, so that plans are
//! pure functions of a request and these facts.

mod links;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use podkeel_wire::rt;

pub use self::links::{BondFacts, DeviceFacts, ParentFacts, TunnelFacts};
use crate::conf::{self, Bridge, Network, Plugin};
use crate::error::Result;
use crate::ipam::Leases;
use crate::kernel::ruleset::Marking;
use crate::kernel::{Nft, Rtnl, forward, set_mark};
use crate::names::Mark;
use crate::plan::{LinkAttr, Pod, Side, World};
use crate::request::Mac;

/// The facts of one attachment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// /etc/machine-id; goes into MAC addresses.
    pub machine: String,
    /// The kernel runs IPv6.
    pub ipv6: bool,
    /// The network's bridge, if it is there.
    pub bridge: Option<BridgeFacts>,
    /// The mtu of the link that the host's default route leads over. Read when
    /// the bridge isn't there: afterwards the bridge's own counts.
    pub uplink_mtu: Option<u32>,
    /// What the host reaches by routes of its own (no default route), and over
    /// which link. Read when the bridge lacks an address.
    pub routed: Vec<(IpNet, String)>,
    /// Links whose router advertisements give the host its IPv6 default route,
    /// and which would stop listening once forwarding is on.
    pub ra_uplinks: Vec<String>,
    /// The pod has an IPv4 default route, of another network or of its own making.
    pub pod_default_v4: bool,
    /// The same for IPv6.
    pub pod_default_v6: bool,
    /// The link that the pod's IPv4 address is reached over. Read for a published port.
    pub localnet: Option<Localnet>,
    /// iptables' FORWARD may drop what pods send. Read for a firewall plugin.
    pub forward_v4: bool,
    /// The same of ip6tables.
    pub forward_v6: bool,
    /// How a chain of iptables marks what is to be masqueraded, by family: IPv4, IPv6. Read
    /// for a portmap plugin that names the chain.
    pub set_mark: [Option<Marking>; 2],
    /// What the settings of the pod's interface are, if it has one of this name.
    pub pod_link: Vec<(LinkAttr, String)>,
    /// What the pod's sysctls are that somebody wants to set; `None` = no such sysctl.
    pub pod_sysctls: BTreeMap<Vec<String>, Option<String>>,
    /// The routing domains of the pod, and their tables. Read for a vrf plugin.
    pub pod_vrfs: Vec<(String, u32)>,
    /// The routes that somebody has given the pod's interface, if it is there. Read for a vrf
    /// plugin, for they are lost when it joins a domain.
    pub pod_routes: Vec<(IpNet, Option<IpAddr>)>,
    /// Where routes lead in other tables than the pod's main one. Read for a vrf plugin.
    pub pod_tables: Vec<(u32, IpNet)>,
    /// By which the pod's namespace is known for good. Read for a vrf plugin.
    pub pod_cookie: u64,
    /// The link that the pod's interface stands on.
    pub parent: Option<ParentFacts>,
    /// The host's device that is lent to the pod.
    pub device: Option<DeviceFacts>,
    /// This host's end of a tunnel.
    pub tunnel: Option<TunnelFacts>,
    /// Where namespaces are pinned whose pods have something of the host's.
    pub pins: PathBuf,
}

/// A link that packets of 127.0.0.0/8 may be let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Localnet {
    /// Its name.
    pub link: String,
    /// Somebody else has turned that on.
    pub foreign: bool,
}

/// A bridge that is there.
#[derive(Clone, Debug, Default)]
pub struct BridgeFacts {
    /// It wears our mark.
    pub ours: bool,
    /// Its link-layer address.
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    /// Its addresses, without link-local ones.
    pub addrs: Vec<IpNet>,
    /// Those of them that aren't ours: never to be removed.
    pub foreign: Vec<IpNet>,
}

impl Facts {
    /// Reads what an attachment with these addresses needs to know of the host.
    pub fn read(network: &Network, leases: &Leases, mark: &Mark, host: &mut Rtnl) -> Result<Facts> {
        let mut facts = Facts {
            machine: machine_id(),
            ipv6: host.forwarding(libc::AF_INET6)?.is_some(),
            ..Facts::default()
        };
        for plugin in &network.plugins {
            if let Plugin::Bridge(conf) | Plugin::Vxlan(conf::Vxlan { bridge: conf, .. }) = plugin {
                facts.read_bridge(conf, &mark.shared(), host)?;
            }
        }
        if let Some(conf) = network.vxlan() {
            facts.read_tunnel(conf, host)?;
        }
        let v6 = leases.addrs.iter().any(|a| a.address.addr().is_ipv6());
        if facts.ipv6 && v6 && network.forwards() {
            facts.read_ra_uplinks(host)?;
        }
        Ok(facts)
    }

    /// Reads the settings of a link in the pod.
    pub fn read_pod_link(&mut self, pod: &mut Pod, link: &str) -> Result<()> {
        if let Some(link) = pod.rtnl.link(link)? {
            self.read_settings(&link);
        }
        Ok(())
    }

    /// Notes the settings of a link that is, or will be, the pod's.
    fn read_settings(&mut self, link: &rt::LinkInfo) {
        use LinkAttr::{Allmulti, Mac, Mtu, Promisc, Txqlen};
        let all = [Mac, Mtu, Promisc, Allmulti, Txqlen];
        self.pod_link = all.map(|attr| (attr, attr.of(link))).to_vec();
    }

    /// Reads which routing domains the pod has, and the routes over an interface that may join.
    pub fn read_vrfs(&mut self, pod: &mut Pod, link: &str) -> Result<()> {
        let of = |link: rt::LinkInfo| match link.device {
            Some(rt::Device::Vrf { table }) => Some((link.name, table)),
            _ => None,
        };
        let links = pod.rtnl.links()?;
        let index = links.iter().find(|there| there.name == link).map(|link| link.index);
        self.pod_vrfs = links.into_iter().filter_map(of).collect();
        if index.is_none() {
            return Ok(());
        }
        for family in [libc::AF_INET, libc::AF_INET6] {
            let net = |(ip, prefix)| IpNet::new(ip, prefix).ok();
            let main = |route: &rt::RouteInfo| route.table == u32::from(libc::RT_TABLE_MAIN);
            let (of_main, others): (Vec<_>, Vec<_>) =
                pod.rtnl.routes(family)?.into_iter().partition(main);
            let routes = of_main.into_iter().filter(|route| {
                // Those of the addresses come again by themselves.
                let given = ![libc::RTPROT_KERNEL, rt::PROTOCOL_RA].contains(&route.protocol);
                given && route.kind == libc::RTN_UNICAST && route.oif == index
            });
            self.pod_routes.extend(routes.filter_map(|r| Some((net(r.dst)?, r.gateway))));
            self.pod_tables.extend(others.iter().filter_map(|r| Some((r.table, net(r.dst)?))));
        }
        // What leads to a gateway comes before what leads over it.
        self.pod_routes.sort_by_key(|(_, gateway)| gateway.is_some());
        Ok(())
    }

    /// Reads whether the host's iptables may drop what is forwarded.
    pub fn read_forward(&mut self, nft: &mut Nft) -> Result<()> {
        self.forward_v4 = forward::may_drop(nft, false)?;
        self.forward_v6 = forward::may_drop(nft, true)?;
        Ok(())
    }

    /// Reads how the chain that a portmap plugin names marks packets, for each family that
    /// the pod has addresses of.
    pub fn read_set_mark(&mut self, chain: &str, leases: &Leases, nft: &mut Nft) -> Result<()> {
        for (v6, slot) in [false, true].into_iter().zip(&mut self.set_mark) {
            if leases.addrs.iter().any(|a| a.address.addr().is_ipv6() == v6) {
                *slot = Some(set_mark::read(nft, v6, chain)?);
            }
        }
        Ok(())
    }

    /// Reads the pod's default routes.
    pub fn read_pod(&mut self, pod: &mut Pod) -> Result<()> {
        let is_default = |r: &rt::RouteInfo| {
            r.dst.1 == 0 && r.table == u32::from(libc::RT_TABLE_MAIN) && r.kind == libc::RTN_UNICAST
        };
        self.pod_default_v4 = pod.rtnl.routes(libc::AF_INET)?.iter().any(is_default);
        self.pod_default_v6 = pod.rtnl.routes(libc::AF_INET6)?.iter().any(is_default);
        Ok(())
    }

    /// Reads these sysctls of the pod.
    pub fn read_sysctls(&mut self, world: &mut World, paths: Vec<Vec<String>>) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        self.pod_sysctls = world.sysctls(Side::Pod, |proc| {
            paths.into_iter().map(|path| Ok((path.clone(), proc.read(&path)?))).collect()
        })?;
        Ok(())
    }

    fn read_bridge(&mut self, conf: &conf::Bridge, shared: &str, host: &mut Rtnl) -> Result<()> {
        let link = host.link(&conf.bridge)?;
        if let Some(link) = &link {
            let gateway = match conf.gateway_vlan() {
                Some(_) => host.link(&conf.gateway_link())?,
                None => Some(link.clone()),
            };
            let addrs = gateway.as_ref().map_or(Ok(Vec::new()), |g| host.addrs(g.index))?;
            let global: Vec<_> =
                addrs.iter().filter(|a| a.scope == libc::RT_SCOPE_UNIVERSE).collect();
            let net = |a: &&rt::AddrInfo| IpNet::new(a.ip, a.prefix).ok();
            let ours = link.alias.as_deref() == Some(shared);
            let alias = gateway.and_then(|gateway| gateway.alias);
            let given = alias.as_deref() == Some(shared);
            let foreign = |a: &&&rt::AddrInfo| !given && a.proto != Some(rt::PROTOCOL);
            self.bridge = Some(BridgeFacts {
                ours,
                mac: link.mac.map(Mac),
                mtu: link.mtu,
                addrs: global.iter().filter_map(net).collect(),
                foreign: global.iter().filter(foreign).filter_map(net).collect(),
            });
        }
        Ok(())
    }

    /// Reads what the host reaches without the network's bridge, unless the bridge has its
    /// addresses already.
    pub fn read_reach(&mut self, network: &Network, host: &mut Rtnl) -> Result<()> {
        let Some(conf) = network.bridge() else { return Ok(()) };
        let there = self.bridge.as_ref().map_or(&[][..], |b| &b.addrs);
        if !conf.is_gateway && !there.is_empty()
            || conf.gateways().all(|gateway| there.contains(&gateway))
        {
            return Ok(());
        }
        self.read_routes(host)?;
        Ok(())
    }

    /// Reads over which link the pod's IPv4 address is reached.
    pub fn read_localnet(&mut self, leases: &Leases, host: &mut Rtnl) -> Result<()> {
        let pod = leases.addrs.iter().map(|a| a.address.addr()).find(|ip| ip.is_ipv4());
        let Some(pod) = pod else { return Ok(()) };
        let routes = host.routes(libc::AF_INET)?;
        let leads = |r: &&rt::RouteInfo| {
            r.table == u32::from(libc::RT_TABLE_MAIN)
                && r.kind == libc::RTN_UNICAST
                && IpNet::new(r.dst.0, r.dst.1).is_ok_and(|net| net.contains(&pod))
        };
        // A pod behind the default route is on no link of this host.
        let best = routes.iter().filter(leads).max_by_key(|r| r.dst.1).filter(|r| r.dst.1 > 0);
        let Some(index) = best.and_then(|r| r.oif) else { return Ok(()) };
        let Some(link) = host.link_at(index)? else { return Ok(()) };
        let foreign = link.switches.route_localnet == Some(1);
        self.localnet = Some(Localnet { link: link.name, foreign });
        Ok(())
    }

    /// The same of a pod that is still to be attached: by the network's bridge, or by its own
    /// end of a pair.
    pub fn expect_localnet(
        &mut self,
        network: &Network,
        mark: &Mark,
        host: &mut Rtnl,
    ) -> Result<()> {
        if !network.forwards() {
            return Ok(());
        }
        let name = network.bridge().map_or_else(|| mark.veth(), Bridge::gateway_link);
        let there = host.link(&name)?;
        let foreign = there.is_some_and(|link| link.switches.route_localnet == Some(1));
        self.localnet = Some(Localnet { link: name, foreign });
        Ok(())
    }

    fn read_routes(&mut self, host: &mut Rtnl) -> Result<()> {
        let links = host.links()?;
        let link_of = |index: Option<u32>| links.iter().find(|l| Some(l.index) == index);
        // A link that is down has no routes, but it has its addresses.
        for addr in host.addrs(0)? {
            let link = link_of(Some(addr.index)).filter(|_| addr.scope == libc::RT_SCOPE_UNIVERSE);
            let net = IpNet::new(addr.ip, addr.prefix).ok().map(|net| net.trunc());
            self.routed.extend(net.zip(link.map(|link| link.name.clone())));
        }
        for family in [libc::AF_INET, libc::AF_INET6] {
            for route in host.routes(family)? {
                let is_main = route.table == u32::from(libc::RT_TABLE_MAIN)
                    && route.kind == libc::RTN_UNICAST;
                let Some(link) = link_of(route.oif).filter(|_| is_main) else { continue };
                if route.dst.1 == 0 {
                    self.uplink_mtu = self.uplink_mtu.or(Some(link.mtu));
                    continue;
                }
                // 0.0.0.0/1 and 128.0.0.0/1 are a VPN's way to say "default";
                // link-local networks are on every link.
                let link_local =
                    matches!(route.dst.0, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local());
                if route.dst.1 > 1 && !link_local {
                    self.routed.extend(
                        IpNet::new(route.dst.0, route.dst.1)
                            .ok()
                            .map(|net| (net, link.name.clone())),
                    );
                }
            }
        }
        Ok(())
    }

    fn read_ra_uplinks(&mut self, host: &mut Rtnl) -> Result<()> {
        // A host that forwards already has lost the route, or has seen to it.
        if host.forwarding(libc::AF_INET6)? == Some(1) {
            return Ok(());
        }
        let is_default = |r: &rt::RouteInfo| r.dst.1 == 0 && r.protocol == rt::PROTOCOL_RA;
        let indices: Vec<_> = host
            .routes(libc::AF_INET6)?
            .into_iter()
            .filter(is_default)
            .filter_map(|r| r.oif)
            .collect();
        if indices.is_empty() {
            return Ok(());
        }
        for link in host.links()?.into_iter().filter(|l| indices.contains(&l.index)) {
            if link.switches.accept_ra == Some(1) {
                self.ra_uplinks.push(link.name);
            }
        }
        Ok(())
    }
}

/// A host whose iptables-nft drops what is forwarded drops the pods' packets
/// too: an accept in our table can't overrule a drop in another. Returns
/// warnings that name the rule. Legacy iptables can't be seen from here.
pub fn forward_drops(nft: &mut Nft, network: &Network) -> Result<Vec<String>> {
    use podkeel_wire::nf;
    let mut warnings = Vec::new();
    for (family, name, wanted) in [(nf::IP, "ip", true), (nf::IP6, "ip6", network.has_ipv6())] {
        if !wanted {
            continue;
        }
        let table = nf::Table { family, name: "filter" };
        let chain = nft.chain(table, "FORWARD")?;
        if chain.is_some_and(|c| c.policy == Some(libc::NF_DROP as u32)) {
            let tables = if family == nf::IP { "iptables" } else { "ip6tables" };
            let bridge = network.bridge().map_or("BRIDGE", |conf| &conf.bridge);
            warnings.push(format!(
                "packets that leave or reach network {} will be dropped: chain FORWARD of table {name} filter has \
                 policy drop (docker sets it); accept them with \
                 `{tables} -I FORWARD -i {bridge} -j ACCEPT; {tables} -I FORWARD -o {bridge} -m conntrack --ctstate ESTABLISHED,RELATED,DNAT -j ACCEPT`",
                network.name
            ));
        }
    }
    Ok(warnings)
}

/// A host without a machine id (a test, a minimal image) has only the
/// attachment's randomness in its MAC addresses.
fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
