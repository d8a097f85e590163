//! The plugins that add to an interface that is there: `portmap` and `tuning`.

use serde_json::{Value, json};

use super::{
    Capabilities,
    json::{Fault, Object, Parsed},
    read_capabilities,
};
use crate::request::SysctlSetting;

/// Published ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portmap {
    /// What it asks a runtime for: `portMappings`.
    pub capabilities: Capabilities,
}

/// Sysctls in the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// In the file's order, no key twice. A part `IFNAME` stands for the pod's
    /// interface: [`SysctlSetting::on_interface`].
    pub sysctls: Vec<SysctlSetting>,
    /// What it asks a runtime for: `mac`.
    pub capabilities: Capabilities,
}

pub(super) fn read_portmap(plugin: &Object) -> Parsed<Portmap> {
    // podkeel's rules are nftables': asking for them is asking for what is done.
    plugin.refuse("backend", json!("nftables"))?;
    plugin.refuse("conditionsV4", Value::Null)?;
    plugin.refuse("conditionsV6", Value::Null)?;
    plugin.refuse("masqAll", json!(false))?;
    // 13 is the reference's default bit; podkeel needs no mark for its rules.
    plugin.refuse("markMasqBit", json!(13))?;
    plugin.refuse("externalSetMarkChain", Value::Null)?;
    plugin.refuse("snat", Value::Bool(true))?;
    Ok(Portmap { capabilities: read_capabilities(plugin)? })
}

pub(super) fn read_tuning(plugin: &Object) -> Parsed<Tuning> {
    refuse_link_settings(plugin)?;
    plugin.refuse("dataDir", json!("/run/cni/tuning"))?;
    let mut sysctls = Vec::new();
    read_sysctls(plugin, &mut sysctls)?;
    if let Some(args) = plugin.object("args")?
        && let Some(cni) = args.object("cni")?
    {
        refuse_link_settings(&cni)?;
        cni.refuse("sysctl", Value::Null)?;
    }
    Ok(Tuning { sysctls, capabilities: read_capabilities(plugin)? })
}

fn refuse_link_settings(settings: &Object) -> Parsed<()> {
    settings.refuse("mac", Value::Null)?;
    settings.refuse("promisc", json!(false))?;
    settings.refuse("mtu", json!(0))?;
    settings.refuse("txQLen", Value::Null)?;
    match settings.get("allmulti") {
        // Given at all, it is set or cleared: false asks for something, too.
        Some(node) => {
            Err(Fault::unsupported(&node.path, format_args!("{} is not supported yet", node.value)))
        }
        None => Ok(()),
    }
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
