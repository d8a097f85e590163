//! What the tests here share: netsetup by its command line, networks, pods.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde_json::{Value, json};

pub(crate) use super::by_hand::{NETSETUP, add, netsetup, refused, run};
use super::common::{Neighbour, Ns, dirs, neighbour, ns_add, sh};

/// IPv4 and IPv6, as it comes with podkeel.
pub(crate) const DUAL: &str = include_str!("../../oci-bundles/networks/dual.conflist");
/// A bridge, a range, an mtu and sysctls of its own, as it comes with podkeel.
pub(crate) const CUSTOM: &str = include_str!("../../oci-bundles/networks/custom-bridge.conflist");

/// The addresses of a CNI result, without prefix lengths.
pub(crate) fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().expect("a result has ips");
    let address = |ip: &Value| {
        let text = ip["address"].as_str().expect("an address");
        text.split('/').next().expect("an address").parse().expect("an address")
    };
    ips.iter().map(address).collect()
}

/// Lays down a network's list where netsetup looks for it.
pub(crate) fn network(name: &str, text: &str) {
    std::fs::write(dirs().conf.join(format!("{name}.conflist")), text).expect("write a conflist");
}

/// A list of a bridge that exists already, or not, with one subnet.
pub(crate) fn on_bridge(name: &str, bridge: &str, subnet: &str, gateway: bool) {
    let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": [
        {"type": "bridge", "bridge": bridge, "isGateway": gateway, "ipMasq": gateway,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]]}},
        {"type": "portmap", "capabilities": {"portMappings": true}}, {"type": "tuning"}]});
    network(name, &list.to_string());
}

/// A pod: a namespace and its addresses on a network.
pub(crate) struct Pod {
    pub(crate) ns: Ns,
    pub(crate) ips: Vec<IpAddr>,
}

/// Makes namespace `name` and attaches it.
pub(crate) fn pod(name: &str, network: &str, flags: &str) -> Pod {
    let ns = ns_add(name);
    let ips = addresses(&add(&format!("{network} --netns /run/netns/{name} {flags}")));
    Pod { ns, ips }
}

/// A host with two neighbours, the network `dual`, and bridge-nf-call-iptables and
/// -ip6tables as said: with 1, what goes from port to port of a bridge passes nftables.
/// The host refuses as often as it is asked, so that a test needn't wait for silence.
pub(crate) fn bed(bridge_nf: bool) -> [Neighbour; 2] {
    let value = u8::from(bridge_nf);
    sh(&format!(
        "cd /proc/sys/net/bridge && echo {value} >bridge-nf-call-iptables && \
         echo {value} >bridge-nf-call-ip6tables && \
         echo 0 >/proc/sys/net/ipv4/icmp_ratelimit && echo 0 >/proc/sys/net/ipv6/icmp/ratelimit"
    ));
    network("dual", DUAL);
    [neighbour("far", 0), neighbour("further", 1)]
}

/// The addresses of one family that packets of a test go between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// The host's addresses on the cables to the two neighbours, and on the bridge.
    pub(crate) up: [IpAddr; 2],
    pub(crate) bridge: IpAddr,
    /// The neighbours' own.
    pub(crate) far: [IpAddr; 2],
    pub(crate) loopback: IpAddr,
    pub(crate) any: IpAddr,
    /// Place of this family's address in [`Pod::ips`].
    pub(crate) at: usize,
}

/// Both families of network `dual`.
pub(crate) fn families([far, further]: &[Neighbour; 2]) -> [Family; 2] {
    let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
    [
        Family {
            up: [far.host_v4.into(), further.host_v4.into()],
            bridge: ip("10.90.0.1"),
            far: [far.v4.into(), further.v4.into()],
            loopback: ip("127.0.0.1"),
            any: ip("0.0.0.0"),
            at: 0,
        },
        Family {
            up: [far.host_v6.into(), further.host_v6.into()],
            bridge: ip("fd70:6f64:6b65:1::1"),
            far: [far.v6.into(), further.v6.into()],
            loopback: ip("::1"),
            any: ip("::"),
            at: 1,
        },
    ]
}

pub(crate) fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

/// The record of an attachment, wherever its name is laid down.
pub(crate) fn records() -> Vec<PathBuf> {
    let find = format!("find {} -type f -name '*.json'", dirs().run.join("net").display());
    super::common::sh_out(&find).lines().map(PathBuf::from).collect()
}
