//! status: whether an add could work, as far as can be told without one. The plan of an
//! imaginary pod is made, compared with what is there, and thrown away.
//!
//! ```text
//!   an empty network namespace ─► facts, leases, plan ─► what pods share: does it fit?
//!   (for a chained plugin with                            a bridge that is yet to be made:
//!    an interface in it)                                  made there, where nobody sees it
//! ```

use super::add::prepare;
use super::{Context, Part, Wanted};
use crate::conf::{Ipam, Network, Plugin};
use crate::error::Result;
use crate::ipam::{self, Assigned, Leases};
use crate::kernel::{Netns, Nft, Rtnl};
use crate::names::Mark;
use crate::plan::{self, Pod, World};
use crate::record::{self, boot_id};
use crate::request::{Publish, Wishes};

/// Why an add to a network can't work.
#[derive(Clone, Debug)]
pub struct Unable {
    /// The reason.
    pub error: crate::error::Error,
    /// It is something that pods rely on which are attached already.
    pub limits_pods: bool,
}

/// The names of a pod that isn't there.
const CONTAINER: &str = "status";
const IFNAME: &str = "eth0";

/// Addresses of nobody (RFC 5737, RFC 3849), for a chained plugin.
const NOBODYS: [&str; 2] = ["192.0.2.2/24", "2001:db8::2/64"];

/// Whether an add to this network could work, as far as can be told without one.
///
/// # Errors
/// The first reason why it couldn't.
pub fn status(context: &Context, network: &Network) -> std::result::Result<(), Unable> {
    let of_shared = |error| Unable { limits_pods: has_pods(context, network), error };
    context.trust().and_then(|()| has_nftables(network)).map_err(of_shared)?;
    let leases = leased(context, network).map_err(|error| Unable { error, limits_pods: false })?;
    let made = match network.makes_interface() {
        true => imagine(context, network, leases),
        false => imagine_chained(context, network),
    };
    made.map_err(|error| match rests_on_the_host(network) {
        true => of_shared(error),
        false => Unable { error, limits_pods: false },
    })
}

/// Whether any pod is attached to a network, as far as records can be read.
fn has_pods(context: &Context, network: &Network) -> bool {
    let all = record::whole(&context.roots).unwrap_or_default();
    all.iter().any(|a| a.id.network == network.name && boot_id().is_ok_and(|boot| boot == a.boot))
}

/// Whether the interfaces of its pods stand on what an add looks for: a bridge, a master. A
/// device that is lent is away because a pod has it.
fn rests_on_the_host(network: &Network) -> bool {
    let lends = |conf: &crate::conf::Interface| {
        matches!(conf.kind, crate::conf::InterfaceKind::HostDevice(_))
    };
    network.makes_interface() && !network.interface().is_some_and(lends)
}

fn has_nftables(network: &Network) -> Result<()> {
    let filters = network.plugins.iter().any(|plugin| match plugin {
        Plugin::Bridge(conf) => conf.ip_masq || conf.mac_spoof_check,
        Plugin::Vxlan(conf) => conf.bridge.ip_masq || conf.bridge.mac_spoof_check,
        Plugin::Ptp(conf) => conf.ip_masq,
        Plugin::Portmap(_) | Plugin::Firewall(_) => true,
        _ => false,
    });
    if filters { Nft::open()?.generation().map(|_| ()) } else { Ok(()) }
}

/// Addresses that a pod would get; none of an address manager of others.
fn leased(context: &Context, network: &Network) -> Result<Leases> {
    if matches!(network.ipam(), Some(Ipam::Foreign(_))) {
        return Ok(Leases::default());
    }
    let asked = ipam::Asked { network, container: CONTAINER, ifname: IFNAME, ips: &[] };
    ipam::lease(asked, &context.roots)
}

/// A chained plugin is told the addresses; which families they are of isn't known before. It
/// can work if it can for one.
fn imagine_chained(context: &Context, network: &Network) -> Result<()> {
    if network.plugins.iter().all(|plugin| matches!(plugin, Plugin::Ipam(_))) {
        return Ok(());
    }
    let with = |address: &str| {
        let address = address.parse().ok().map(|address| Assigned { address, gateway: None });
        let addrs = address.into_iter().collect();
        imagine(context, network, Leases { addrs, ..Leases::default() })
    };
    with(NOBODYS[0]).or_else(|error| with(NOBODYS[1]).map_err(|_| error))
}

/// Makes the plan of an add, and sees that nothing is in its way.
fn imagine(context: &Context, network: &Network, leases: Leases) -> Result<()> {
    let wanted = Wanted {
        network: network.clone(),
        container: CONTAINER.into(),
        ifname: IFNAME.into(),
        wishes: Wishes { ports: port_of(network)?, ..Wishes::default() },
        default_route: true,
        bundle: None,
        part: Some(Part { given: Some(leases), ..Part::default() }),
    };
    wanted.is_allowed()?;
    let mut pod = Pod::open(Netns::make()?)?;
    if !wanted.makes_interface() {
        // What a plugin before this one would have made.
        pod.rtnl.make_pair(IFNAME, "peer")?;
    }
    let mark = wanted.id().mark(context.root()?, 0);
    let mut world = World::new(Rtnl::open()?, Some(pod), mark.clone());
    let plan = prepare(context, &wanted, &mut world)?.plan;
    let missing = plan::missing(&mut world, &plan)?;
    match world.pod {
        Some(pod) => can_make(pod, mark, missing),
        None => Ok(()),
    }
}

/// A port for a portmap to publish.
fn port_of(network: &Network) -> Result<Vec<Publish>> {
    if network.portmap().is_some() { Publish::parse("1:1") } else { Ok(Vec::new()) }
}

/// Whether this kernel makes the bridges that aren't there: it is asked where nobody sees it.
fn can_make(pod: Pod, mark: Mark, missing: Vec<plan::Step>) -> Result<()> {
    let mut aside = World::new(pod.rtnl, None, mark);
    missing.iter().try_for_each(|step| match &step.what {
        plan::Object::Bridge(bridge) => plan::make_bridge(&mut aside, bridge),
        _ => Ok(()),
    })
}
