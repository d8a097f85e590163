//! Hands on nftables: tables, chains, and elements of sets and maps.

use serde_json::Value;

use super::{Along, Change, Done, Step};

impl Step {
    pub(super) fn sender(&self) -> Done {
        let (link, mac) = (self.str("link"), self.str("mac"));
        let del = |set: &str, key: String| {
            format!("nft delete element bridge podkeel {set} '{{ {key} }}'")
        };
        let sender = del("senders", format!("\"{link}\" . {mac}"));
        let guarded = del("guarded", format!("\"{link}\""));
        Done {
            removed: Ok(Change::gone(format!("{sender} && {guarded}"))),
            changed: Ok(vec![
                Change::new(sender, "a part of it is missing"),
                Change::new(guarded, "a part of it is missing"),
            ]),
        }
    }

    pub(super) fn forward(&self) -> Done {
        let tool = if self.is("v6") { "ip6tables" } else { "iptables" };
        let rule = format!("$({tool} -S FORWARD | grep CNI-FORWARD | sed 's/^-A//')");
        let admin = self.str("admin");
        let inner = format!("$({tool} -S CNI-FORWARD | grep -- '-j {admin}' | sed 's/^-A//')");
        Done {
            removed: Ok(Change::gone(format!("eval {tool} -D {rule}"))),
            changed: Ok(vec![Change::gone(format!("eval {tool} -D {inner}"))]),
        }
    }

    pub(super) fn accepted(&self) -> Done {
        let ip = self.of.as_str().expect("an address");
        let tool = if ip.contains(':') { "ip6tables" } else { "iptables" };
        let del = |n: &str| {
            format!(
                "{tool} -S CNI-FORWARD | grep '{ip}/' | head -{n} | sed 's/^-A/-D/' | \
                 while read -r rule; do eval {tool} $rule || exit; done"
            )
        };
        Done {
            removed: Ok(Change::gone(del("9"))),
            changed: Ok(vec![Change::new(del("1"), "2 of 3 rules are there")]),
        }
    }

    /// The rules that lead to the chains of terms are the table's own.
    pub(super) fn terms(&self) -> Done {
        let version = if self.is("v6") { 6 } else { 4 };
        let chain = format!(
            "$(nft list table inet podkeel | grep -o 'terms{version}-[0-9a-f]*' | head -1)"
        );
        Done {
            removed: Err("the table's own rules lead to its chains, so nft doesn't let them go"),
            changed: Ok(vec![Change::new(
                format!("nft flush chain inet podkeel {chain}"),
                "rules",
            )]),
        }
    }

    pub(super) fn entry(&self) -> Done {
        let of = self.of.as_object().expect("an entry").iter().next().expect("an entry");
        let (set, key, value) = element(of.0, of.1);
        let del = format!("delete element inet podkeel {set} {{ {key} }}");
        let removed = Ok(Change::gone(format!("nft '{del}'")));
        if self.hold != "own" {
            let changed = Err("many share it, and it has no value: there is nothing else to it");
            return Done { removed, changed };
        }
        let back = format!("nft '{del}'");
        let mut changed = vec![
            Change::new(
                format!("nft '{del}; add element inet podkeel {set} {{ {key}{value} }}'"),
                "it belongs to somebody else",
            )
            .back(back),
        ];
        if !value.is_empty() {
            let comment = format!(
                "$(nft list map inet podkeel {set} | grep -o 'comment \"[^\"]*\"' | head -1)"
            );
            let other =
                value.rsplit_once(" . ").map(|(ip, _)| format!("{ip} . 4711")).expect("a port");
            changed.push(Change::new(
                format!("c={comment}; nft \"{del}; add element inet podkeel {set} {{ {key} $c{other} }}\""),
                "it leads elsewhere",
            ));
        }
        Done { removed, changed: Ok(changed) }
    }
}

pub(super) fn guard() -> Done {
    let along = || Along::Table(&["sender"]);
    Done {
        removed: Ok(Change::gone("nft delete table bridge podkeel").along(along())),
        changed: Ok(vec![
            Change::new(
                "nft 'delete table bridge podkeel; table bridge podkeel { comment \"other\"; }'",
                "its comment isn't ours",
            )
            .along(along())
            .back("nft delete table bridge podkeel"),
        ]),
    }
}

/// A set or map of the table, the key of an entry in it, and its value.
fn element(kind: &str, of: &Value) -> (String, String, String) {
    let text = |key: &str| of[key].as_str().unwrap_or_else(|| panic!("{kind} has {key}: {of}"));
    let family = |of: &str| if of.contains(':') && !of.contains('.') { 6 } else { 4 };
    let to = || {
        let (ip, port) = text("to").rsplit_once(':').expect("a port");
        (ip.trim_matches(['[', ']']), port)
    };
    let port = || format!("{} . {}", text("proto"), of["host_port"]);
    match kind {
        "published" => {
            let ((ip, inner), port) = (to(), port());
            let (set, key) = match of["host_ip"].as_str() {
                Some(host) => ("bound", format!("{host} . {port}")),
                None => ("ports", port),
            };
            let set = match of["terms"].as_str() {
                Some(terms) => format!("{terms}-{set}"),
                None => format!("{set}{}", family(ip)),
            };
            (set, key, format!(" : {ip} . {inner}"))
        }
        "marked" => panic!("no scene has any: {of}"),
        "hidden" => {
            let (ip, port) = to();
            let key = format!("{ip} . {} . {port}", text("proto"));
            (format!("hidden{}", family(ip)), key, String::new())
        }
        "masqueraded" => {
            let ip = of.as_str().expect("an address");
            (format!("masq{}", family(ip)), ip.to_owned(), String::new())
        }
        "own" => {
            let net = of.as_str().expect("a network");
            (format!("own{}", family(net)), format!("{net} . {net}"), String::new())
        }
        "across" => {
            let (from, to) = (text("from"), text("to"));
            (format!("own{}", family(from)), format!("{from} . {to}"), String::new())
        }
        kind => panic!("an entry of kind {kind}: {of}"),
    }
}
