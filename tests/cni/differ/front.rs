//! Cases that no plugin gets to see: they are decided at the front.

use serde_json::{Value, json};

use super::super::call::with;
use super::cases::{Case, conf, v4};

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for kind in ["bridge", "ptp", "loopback", "host-local", "static", "portmap", "tuning"] {
        let of = |more: Value, label: &str| {
            Case::new(
                conf("1.0.0", kind, with(json!({"ipam": v4(), "bridge": "br-cni"}), more)),
                label,
            )
        };
        all.push(of(json!({}), "front: VERSION").verbs(&["VERSION"]));
        all.push(of(json!({"cniVersion": "9.9.9"}), "front: version").verbs(&["ADD"]));
        all.push(of(json!({"name": "a/b"}), "front: name").verbs(&["ADD"]));
        all.push(of(json!({"name": ""}), "front: no name").verbs(&["ADD"]));
        let mut case = of(json!({}), "front: no JSON").verbs(&["ADD", "DEL"]);
        case.stdin = "{";
        all.push(case);
        let mut case = of(json!({}), "front: interface's name").verbs(&["ADD", "DEL"]);
        case.ifname = "a-name-that-is-too-long";
        all.push(case);
        all.push(of(json!({}), "front: a verb").verbs(&["NONE"]));
    }
    all
}
