//! Which VLANs the ports of a bridge are in, and which addresses it knows where: of a bridge
//! that filters VLANs, for else nothing hangs on it.
//!
//! ```text
//! host0 vlan br-cni 1            flags = PVID Egress Untagged
//! host0 fdb veth0 MAC vlan 100   master = br-cni, state = permanent
//! ```

use serde_json::Value;

use super::super::common::dump::{Attrs, Dump};
use super::super::common::{Ns, in_netns, sh_out};

/// Adds them to a state of these namespaces.
pub(super) fn read(all: &[Ns], state: &mut Dump) {
    for ns in all {
        let filters = |(name, attrs): (&String, &Attrs)| {
            name.starts_with(&format!("{} link ", ns.name))
                && attrs.get("linkinfo.info_data.vlan_filtering").is_some_and(|on| on == "1")
        };
        if state.plain().iter().any(filters) {
            in_netns(ns, || {
                vlans(&ns.name, &listed("bridge -d -j vlan show"), state);
                fdb(&ns.name, &listed("bridge -j fdb show"), state);
            });
        }
    }
}

fn listed(command: &str) -> Vec<Value> {
    serde_json::from_str(&sh_out(command)).unwrap_or_else(|e| panic!("{command}: {e}"))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn words(value: &Value) -> String {
    value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(" ")
}

fn vlans(ns: &str, list: &[Value], state: &mut Dump) {
    for port in list {
        for vlan in port["vlans"].as_array().into_iter().flatten() {
            let last = vlan.get("vlanEnd").map(|last| format!("-{last}")).unwrap_or_default();
            let name = format!("{ns} vlan {} {}{last}", text(&port["ifname"]), vlan["vlan"]);
            state.add(name, Attrs::from([("flags".to_owned(), words(&vlan["flags"]))]));
        }
    }
}

/// Those that stay: what a bridge has learned goes by who has sent something lately. Groups
/// that the kernel listens to follow its addresses and links.
fn fdb(ns: &str, list: &[Value], state: &mut Dump) {
    for entry in list.iter().filter(|entry| entry["state"] == "permanent") {
        let mac = text(&entry["mac"]);
        if u8::from_str_radix(&mac[..2], 16).is_ok_and(|first| first & 1 == 1) {
            continue;
        }
        let vlan = entry.get("vlan").map(|id| format!(" vlan {id}")).unwrap_or_default();
        let mut attrs = Attrs::from([("flags".to_owned(), words(&entry["flags"]))]);
        attrs.insert("master".to_owned(), text(&entry["master"]));
        state.add(format!("{ns} fdb {} {mac}{vlan}", text(&entry["ifname"])), attrs);
    }
}
