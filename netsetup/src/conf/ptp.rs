//! The `ptp` plugin: a veth pair from the pod to the host, and routes over it.

use super::{
    Capabilities, Dns,
    bridge::{read_backend, read_mtu},
    ipam,
    ipam::Ipam,
    json::{Object, Parsed},
    read_capabilities, read_dns,
};

/// What the ptp plugin was told. Names as in its documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ptp {
    /// What leaves the pod is masqueraded.
    pub ip_masq: bool,
    /// Of both ends, in bytes; `None` = up to the driver.
    pub mtu: Option<u32>,
    /// Where addresses come from.
    pub ipam: Option<Ipam>,
    /// What is passed on about name resolution.
    pub dns: Option<Dns>,
    /// What it asks a runtime for.
    pub capabilities: Capabilities,
}

pub(super) fn read(plugin: &Object, cni_version: &str) -> Parsed<Ptp> {
    read_backend(plugin, "ipMasqBackend")?;
    let ipam = ipam::read(plugin, cni_version)?;
    Ok(Ptp {
        ip_masq: plugin.flag("ipMasq", false)?,
        mtu: read_mtu(plugin, ipam.as_ref())?,
        ipam,
        dns: read_dns(plugin)?,
        capabilities: read_capabilities(plugin)?,
    })
}
