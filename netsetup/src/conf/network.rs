//! Questions to a network and to its plugins.

use super::{
    Bridge, Capabilities, Dns, Firewall, Interface, Ipam, Network, Plugin, Portmap, Source, Vxlan,
    load::BUILTIN, parse,
};
use crate::error::Result;

impl Network {
    /// The network that is there without any file: `bridge`.
    pub fn builtin() -> Result<Network> {
        parse(BUILTIN, Source::Builtin)
    }

    /// Whether the pod gets an interface from it.
    pub fn makes_interface(&self) -> bool {
        self.plugins.iter().any(Plugin::makes_interface)
    }

    /// Its bridge plugin, if it has one.
    pub fn bridge(&self) -> Option<&Bridge> {
        self.plugins.iter().find_map(|plugin| match plugin {
            Plugin::Bridge(bridge) => Some(bridge),
            Plugin::Vxlan(vxlan) => Some(&vxlan.bridge),
            _ => None,
        })
    }

    /// Its firewall plugin, if it has one.
    pub fn firewall(&self) -> Option<&Firewall> {
        self.plugins.iter().find_map(|plugin| match plugin {
            Plugin::Firewall(firewall) => Some(firewall),
            _ => None,
        })
    }

    /// Its portmap plugin, if it has one.
    pub fn portmap(&self) -> Option<&Portmap> {
        self.plugins.iter().find_map(|plugin| match plugin {
            Plugin::Portmap(portmap) => Some(portmap),
            _ => None,
        })
    }

    /// Its plugin that makes one link by itself, if it has one.
    pub fn interface(&self) -> Option<&Interface> {
        self.plugins.iter().find_map(|plugin| match plugin {
            Plugin::Interface(interface) => Some(interface),
            _ => None,
        })
    }

    /// Its vxlan plugin, if it has one.
    pub fn vxlan(&self) -> Option<&Vxlan> {
        self.plugins.iter().find_map(|plugin| match plugin {
            Plugin::Vxlan(vxlan) => Some(vxlan),
            _ => None,
        })
    }

    /// Whether its pods have the host's own namespace.
    pub fn is_host(&self) -> bool {
        self.plugins.contains(&Plugin::Host)
    }

    /// Where its addresses come from.
    pub fn ipam(&self) -> Option<&Ipam> {
        self.plugins.iter().find_map(Plugin::ipam)
    }

    /// Whether it gives pods IPv6 addresses, as far as the file says.
    pub fn has_ipv6(&self) -> bool {
        self.ipam().is_some_and(|ipam| ipam.subnets().iter().any(|net| net.addr().is_ipv6()))
    }

    /// Whether the host forwards packets for it.
    pub fn forwards(&self) -> bool {
        self.plugins.iter().any(|plugin| match plugin {
            Plugin::Bridge(bridge) | Plugin::Vxlan(Vxlan { bridge, .. }) => {
                bridge.is_gateway && bridge.ipam.is_some()
            }
            Plugin::Ptp(_) => true,
            _ => false,
        })
    }

    /// Whether the host is the pods' gateway and the gateway's address must be known.
    pub fn has_gateway(&self) -> bool {
        self.plugins.iter().any(|plugin| match plugin {
            Plugin::Bridge(bridge) | Plugin::Vxlan(Vxlan { bridge, .. }) => bridge.is_gateway,
            Plugin::Ptp(_) => true,
            _ => false,
        })
    }

    /// What it says about name resolution itself.
    pub fn dns(&self) -> Option<&Dns> {
        self.plugins.iter().find_map(|plugin| match plugin {
            Plugin::Bridge(bridge) | Plugin::Vxlan(Vxlan { bridge, .. }) => bridge.dns.as_ref(),
            Plugin::Ptp(ptp) => ptp.dns.as_ref(),
            Plugin::Interface(interface) => interface.dns.as_ref(),
            _ => None,
        })
    }

    /// The sysctls that its tuning plugins set.
    pub fn sysctls(&self) -> impl Iterator<Item = &crate::request::SysctlSetting> {
        self.plugins.iter().flat_map(|plugin| match plugin {
            Plugin::Tuning(tuning) => &tuning.sysctls[..],
            _ => &[],
        })
    }

    /// Whether some plugin of the list asks for this capability.
    pub fn can(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.capabilities().contains(capability))
    }
}

impl Plugin {
    /// What its configuration asks a runtime for.
    pub fn capabilities(&self) -> &Capabilities {
        static NONE: Capabilities = Capabilities::new();
        match self {
            Plugin::Bridge(bridge) | Plugin::Vxlan(Vxlan { bridge, .. }) => &bridge.capabilities,
            Plugin::Ptp(ptp) => &ptp.capabilities,
            Plugin::Interface(interface) => &interface.capabilities,
            Plugin::Portmap(portmap) => &portmap.capabilities,
            Plugin::Tuning(tuning) => &tuning.capabilities,
            _ => &NONE,
        }
    }

    /// Where the addresses of its interface come from.
    pub fn ipam(&self) -> Option<&Ipam> {
        match self {
            Plugin::Bridge(bridge) | Plugin::Vxlan(Vxlan { bridge, .. }) => bridge.ipam.as_ref(),
            Plugin::Ptp(ptp) => ptp.ipam.as_ref(),
            Plugin::Interface(interface) => interface.ipam.as_ref(),
            Plugin::Ipam(ipam) => Some(ipam),
            _ => None,
        }
    }

    /// Whether it makes the pod's interface.
    pub fn makes_interface(&self) -> bool {
        use Plugin::{Bridge, Interface, Ptp, Vxlan};
        matches!(self, Bridge(_) | Ptp(_) | Interface(_) | Vxlan(_))
    }

    /// Whether a list begins with it.
    pub(super) fn is_first(&self) -> bool {
        self.makes_interface() || matches!(self, Plugin::Loopback | Plugin::Host)
    }
}
