//! Cases that no plugin gets to see: they are decided at the front.

use serde_json::{Value, json};

use super::super::call::with;
use super::cases::{Case, conf, v4};

/// One that makes an interface, one that leases addresses, one that adds to an interface:
/// their fronts are all alike, as is the reference's.
const EACH: [&str; 3] = ["bridge", "host-local", "tuning"];

/// Variables that are missing or wrong.
const VARIABLES: &[(&str, &[(&str, &str)])] = &[
    ("no CNI_CONTAINERID", &[("CNI_CONTAINERID", "")]),
    ("no CNI_NETNS", &[("CNI_NETNS", "")]),
    ("no CNI_IFNAME", &[("CNI_IFNAME", "")]),
    ("container's name", &[("CNI_CONTAINERID", "a/b")]),
    ("no such namespace", &[("CNI_NETNS", "/run/netns/none")]),
    ("a namespace that is a file", &[("CNI_NETNS", "/etc/hostname")]),
    ("no CNI_PATH", &[("CNI_PATH", "")]),
    ("two variables missing", &[("CNI_CONTAINERID", ""), ("CNI_IFNAME", "")]),
    ("the host's namespace", &[("CNI_NETNS", "/run/netns/host0")]),
    ("an interface called all", &[("CNI_IFNAME", "all")]),
    ("an interface with a percent sign", &[("CNI_IFNAME", "eth%d")]),
];

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for kind in
        ["bridge", "ptp", "loopback", "host-local", "static", "portmap", "tuning", "firewall"]
    {
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
        case.stdin = Some("{");
        all.push(case);
        let mut case = of(json!({}), "front: interface's name").verbs(&["ADD", "DEL"]);
        case.ifname = "a-name-that-is-too-long";
        all.push(case);
        all.push(of(json!({}), "front: a verb").verbs(&["NONE"]));
        if !EACH.contains(&kind) {
            continue;
        }
        // Verbs of 1.1.0, which a configuration of 1.0.0 can't ask for.
        all.push(of(json!({}), "front: GC").verbs(&["GC"]));
        all.push(of(json!({}), "front: STATUS").verbs(&["STATUS"]));
        let each = &["ADD", "CHECK", "DEL"];
        for (label, vars) in VARIABLES {
            all.push(of(json!({}), &format!("front: {label}")).vars(vars).verbs(each));
        }
        all.push(of(json!({"prevResult": 7}), "front: prevResult").verbs(&["ADD", "DEL"]));
        for (label, stdin) in [("empty stdin", ""), ("a number on stdin", "7")] {
            let case = of(json!({}), &format!("front: {label}")).verbs(&["ADD", "DEL"]);
            all.push(Case { stdin: Some(stdin), ..case });
        }
        for (label, version) in [("no version", json!(null)), ("a version of a number", json!(7))] {
            let mut case = of(json!({"cniVersion": version}), "").verbs(&["ADD", "DEL"]);
            case.name = format!("{kind} none front: {label}");
            all.push(case);
        }
        all.push(of(json!({}), "front: CHECK has no prevResult").verbs(&["CHECK"]));
        all.push(of(json!({"cniVersion": "0.3.1"}), "front: CHECK").verbs(&["CHECK"]));
    }
    all
}
