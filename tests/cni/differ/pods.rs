//! Cases of two pods on one network: who reaches whom; and of one that lies about its address.

use serde_json::{Value, json};

use super::super::call::with;
use super::cases::{Case, br, conf, dual, v4};

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    let bridge = |more: Value, label: &str| Case::new(br("1.0.0", more), label).second();
    let macvlan = |mode: &str| {
        let more = json!({"master": "up0", "mode": mode, "ipam": v4()});
        Case::new(conf("1.0.0", "macvlan", more), &format!("two pods, mode {mode}")).second()
    };
    let ptp = |more: Value, label: &str| {
        Case::new(conf("1.0.0", "ptp", with(json!({"ipam": v4()}), more)), label).second()
    };
    let mut all = vec![
        ptp(json!({}), "two pods"),
        ptp(json!({"ipMasq": true}), "two pods, masq"),
        ptp(json!({"ipam": dual(), "ipMasq": true}), "two pods, two families, masq"),
        bridge(json!({}), "two pods"),
        bridge(json!({"isGateway": true, "ipMasq": true}), "two pods, masq"),
        bridge(json!({"hairpinMode": true}), "two pods, hairpinMode"),
        bridge(json!({"isGateway": true, "portIsolation": true}), "two pods, portIsolation"),
        bridge(json!({"macspoofchk": true}), "two pods, macspoofchk"),
        Case::new(
            br("1.0.0", json!({"isGateway": true, "macspoofchk": true})),
            "harmed: a false MAC",
        )
        .harm("ip -n pod link set eth0 address 02:00:00:00:00:77"),
    ];
    all.extend(["bridge", "private", "vepa"].map(macvlan));
    all
}
