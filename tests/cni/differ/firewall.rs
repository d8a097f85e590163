//! Cases of firewall, after a bridge, where the host's iptables drop what is forwarded.

use serde_json::{Value, json};

use super::super::call::with;
use super::cases::{Case, dual};
use super::chained::after;

/// What a packet filter of docker's kind does.
pub(super) const DROP: &str = "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP";

fn wall(more: Value, label: &str) -> Case {
    after("1.0.0", "firewall", more, label).given(DROP)
}

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    let mut all: Vec<Case> = ["0.3.1", "0.4.0", "1.0.0"]
        .iter()
        .map(|version| after(version, "firewall", json!({}), "plain").given(DROP))
        .collect();
    all.extend([
        wall(json!({"backend": ""}), "no backend"),
        wall(json!({"backend": "iptables"}), "backend"),
        wall(json!({"iptablesAdminChainName": "MINE"}), "iptablesAdminChainName"),
        wall(json!({"firewalldZone": "x"}), "firewalldZone"),
        wall(json!({"ingressPolicy": "open"}), "ingressPolicy"),
        wall(json!({"ingressPolicy": ""}), "no ingressPolicy"),
        wall(json!({}), "netns lost").lost(),
        wall(json!({}), "ADD twice").verbs(&["ADD", "ADD", "DEL"]),
        after("1.0.0", "firewall", json!({}), "nothing drops"),
        wall(json!({}), "a rule of the administrator's")
            .given("iptables -P FORWARD DROP; iptables -N CNI-ADMIN; iptables -A CNI-ADMIN -d 198.18.0.2 -j DROP"),
        wall(json!({"backend": "x"}), "bad: backend"),
        wall(json!({"ingressPolicy": "x"}), "bad: ingressPolicy"),
        wall(json!({"ingressPolicy": "same-bridge"}), "bad: ingressPolicy of same-bridge"),
        wall(json!({"backend": 7}), "bad: backend is a number"),
    ]);
    let mut both = wall(json!({}), "two families");
    both.before[0] = with(both.before[0].clone(), json!({"ipam": dual()}));
    let mut alone = wall(json!({}), "bad: no prevResult");
    alone.before = Vec::new();
    all.extend([both, alone]);
    all
}
