//! The picture: who is wired to whom. Drawn from the records, with what the kernel says of
//! each object now.
//!
//! ```text
//! the host's links that pods hang on, each with what it hangs on itself
//!   bridge, vlan, bond, vxlan, or what was there before
//!   pods: a veth's other end, or a link that stands on one of the host's
//! pods whose interface hangs on no link of the host: ptp, host-device, dummy, tap, none
//! ```

mod draw;
mod gather;

use std::collections::BTreeMap;

use serde::Serialize;

use super::Context;
use crate::error::Result;
use crate::record::State;

/// Who is wired to whom.
#[derive(Debug, Default, Serialize)]
pub struct Map {
    /// The host's links that pods hang on, and those that these hang on, by name.
    pub links: BTreeMap<String, LinkView>,
    /// Pods that hang on no link of the host.
    pub pods: Vec<PodView>,
}

/// A link of the host, and the pods on it.
#[derive(Debug, Default, Serialize)]
pub struct LinkView {
    /// bridge, vlan, bond, vxlan; "link" where it isn't netsetup's.
    pub kind: String,
    /// What is said of its kind: `id 100`.
    pub settings: String,
    /// "up", "down" or "missing".
    pub state: &'static str,
    /// Bytes.
    pub mtu: Option<u32>,
    /// With prefix lengths.
    pub addresses: Vec<String>,
    /// The link that it hangs on: of a port its master, of a vlan the link below.
    pub on: Option<String>,
    /// Of a vxlan: who is at the other ends.
    pub remotes: Vec<RemoteView>,
    /// The pods.
    pub pods: Vec<PodView>,
}

/// The other end of a tunnel.
#[derive(Debug, Serialize)]
pub struct RemoteView {
    /// The host's address.
    pub host: String,
    /// What is reached by it.
    pub subnets: Vec<String>,
}

/// A pod's attachment.
#[derive(Debug, Serialize)]
pub struct PodView {
    /// Network.
    pub network: String,
    /// Container id.
    pub container: String,
    /// How far it has come: adding, complete, deleting.
    pub state: State,
    /// What the interface is: veth, macvlan, ipvlan, vlan, dummy, tap; host-device for one
    /// that the host lends; empty where there is none but lo.
    pub kind: &'static str,
    /// What is said of its kind: `mode bridge`.
    pub settings: String,
    /// Its name on the host: of a veth the other end, of what is lent the one that it has
    /// at home.
    pub outer: Option<String>,
    /// Of a veth the state of the end on the host, of all others that of the interface in
    /// the pod: "up", "down", "missing", "unknown" where the pod can't be looked into.
    pub link_state: &'static str,
    /// The interface in the pod.
    pub ifname: String,
    /// Its link-layer address, where it has one of its own.
    pub mac: Option<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The routing domain that it is in.
    pub vrf: Option<String>,
    /// Its routes.
    pub routes: Vec<String>,
    /// Path of the namespace.
    pub netns: String,
    /// Its number, as in `net:[4026532281]`.
    pub netns_inode: u64,
    /// Process id and name of the container's first process.
    pub process: Option<String>,
    /// Published ports and masquerade.
    pub rules: Vec<String>,
}

/// Draws what there is.
///
/// # Errors
/// Records that can't be read, and a kernel that doesn't answer.
pub fn map(context: &Context) -> Result<Map> {
    gather::map(crate::record::whole(&context.roots)?)
}
