//! What somebody's hands do to each kind of object, with the tools that people have: how it
//! is removed, how it is changed, and what check says of it then.

mod links;
mod rules;

use std::fmt::Write as _;

use serde_json::Value;

use super::common::Ns;

/// A step of an attachment's record.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// `host`, `pod`.
    pub(crate) at: String,
    pub(crate) hold: String,
    /// What it is, and its keys.
    pub(crate) kind: String,
    pub(crate) of: Value,
}

/// A link of one side.
pub(crate) type On = (String, String);

/// What the kernel takes along, so that check names it, too.
#[derive(Clone, Debug)]
pub(crate) enum Along {
    Nothing,
    /// Links that are gone, with all on them and all that stands on them.
    Gone(Vec<On>),
    /// A master that all links in it have left, and that was down.
    Apart(On),
    /// A link that was down for a moment at least: routes, neighbours, IPv6 addresses, and
    /// a vlan on it goes down with it.
    Down(On),
    /// What of these kinds is on a link.
    Kind(&'static str, On),
    /// What is in a table of nftables.
    Table(&'static [&'static str]),
}

/// Something that hands do, in the object's namespace.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) command: String,
    /// What check says of the object: this is in it.
    pub(crate) state: String,
    pub(crate) along: Along,
    /// What del doesn't take away, for it is somebody else's by then.
    pub(crate) back: String,
}

impl Change {
    fn new(command: impl Into<String>, state: impl Into<String>) -> Change {
        let (command, state) = (command.into(), state.into());
        Change { command, state, along: Along::Nothing, back: String::new() }
    }

    fn gone(command: impl Into<String>) -> Change {
        Change::new(command, "missing")
    }

    fn along(self, along: Along) -> Change {
        Change { along, ..self }
    }

    fn back(self, command: impl Into<String>) -> Change {
        Change { back: command.into(), ..self }
    }
}

/// All that is done to one object, or why it can't be.
pub(crate) struct Done {
    pub(crate) removed: Result<Change, &'static str>,
    pub(crate) changed: Result<Vec<Change>, &'static str>,
}

/// Of what is set, not made.
const SET: &str = "it is a setting: it can be changed, and goes with what it is of";
/// A link-layer address of somebody's.
const MAC: &str = "02:00:00:00:00:99";

impl Step {
    pub(crate) fn str(&self, key: &str) -> &str {
        self.of[key].as_str().unwrap_or_else(|| panic!("{}: no {key}: {}", self.kind, self.of))
    }

    fn is(&self, key: &str) -> bool {
        self.of[key] == true
    }

    /// The namespace that it is in.
    pub(crate) fn ns(&self) -> Ns {
        if self.at == "pod" { Ns::named("pod") } else { Ns::host() }
    }

    pub(crate) fn on(&self, name: &str) -> On {
        (self.at.clone(), name.to_owned())
    }

    /// The link that it is, or is on.
    pub(crate) fn link(&self) -> Option<&str> {
        match self.kind.as_str() {
            "bridge" | "veth" | "device" => Some(self.str("name")),
            "lent" => Some(self.str("to")),
            "sysctl" => {
                let path: Vec<&str> =
                    self.of["path"].as_array()?.iter().flat_map(Value::as_str).collect();
                path.get(3).copied().filter(|_| path.len() == 5 && path[2] == "conf")
            }
            _ => self.of["link"].as_str(),
        }
    }

    /// What hands do to it.
    pub(crate) fn done(&self) -> Done {
        match self.kind.as_str() {
            "lease" => self.lease(),
            "bridge" => self.bridge(),
            "veth" => self.veth(),
            "device" => self.device(),
            "lent" => self.lent(),
            "pin" => self.pin(),
            "member" => self.member(),
            "neigh" => self.neigh(),
            "vlans" => self.vlans(),
            "own-vlan" => self.own_vlan(),
            "up" => {
                set(Change::new(format!("ip link set {} down", self.str("link")), "it is down")
                    .along(Along::Down(self.on(self.str("link")))))
            }
            "addr" => self.addr(),
            "settled" => Done {
                removed: Err("it is the kernel's word"),
                changed: Err("the kernel gives it once, when the address is new"),
            },
            "no-addr" => set(Change::new(
                format!("ip addr add {} dev {}", self.str("address"), self.str("link")),
                "it is there",
            )),
            "route" => self.route(),
            "link-attr" => self.link_attr(),
            "sysctl" => {
                let path: Vec<_> = self.of["path"]
                    .as_array()
                    .expect("a path")
                    .iter()
                    .flat_map(Value::as_str)
                    .collect();
                self.written(&path.join("/"), self.str("value"), "it is ")
            }
            "localnet" => {
                let path = format!("net/ipv4/conf/{}/route_localnet", self.str("link"));
                self.written(&path, "1", "route_localnet is ")
            }
            "forward" => self.forward(),
            "accepted" => self.accepted(),
            "guard" => rules::guard(),
            "sender" => self.sender(),
            "ruleset" => Done {
                removed: Ok(Change::gone("nft delete table inet podkeel")
                    .along(Along::Table(&["entry", "terms"]))),
                changed: Ok(vec![
                    Change::new(
                        "nft insert rule inet podkeel publish accept",
                        "chain publish has other rules",
                    ),
                    Change::new(
                        "nft flush chain inet podkeel guard",
                        "chain guard has other rules",
                    ),
                ]),
            },
            "terms" => self.terms(),
            "entry" => self.entry(),
            kind => panic!("what do hands do to an object of kind {kind}? {}", self.of),
        }
    }

    fn lease(&self) -> Done {
        let file = format!("{}/{}", self.str("dir"), self.str("ip"));
        Done {
            removed: Ok(Change::gone(format!("rm {file}"))),
            changed: Ok(vec![
                Change::new(
                    format!("printf 'other\\r\\neth0' >{file}"),
                    "it is leased to other/eth0",
                )
                .back(format!("rm {file}")),
            ]),
        }
    }

    fn neigh(&self) -> Done {
        let (link, ip, mac) = (self.str("link"), self.str("ip"), self.str("mac"));
        if self.is("fdb") {
            let v6 = ip.contains(':');
            let other = if v6 { "2001:db8::77" } else { "192.0.2.77" };
            return Done {
                removed: Ok(Change::gone(format!("bridge fdb del {mac} dev {link} self"))),
                changed: Ok(vec![Change::new(
                    format!("bridge fdb replace {mac} dev {link} dst {other} self"),
                    format!("it is at {other}"),
                )]),
            };
        }
        Done {
            removed: Ok(Change::gone(format!("ip neigh del {ip} dev {link}"))),
            changed: Ok(vec![Change::new(
                format!("ip neigh replace {ip} lladdr {MAC} nud permanent dev {link}"),
                format!("it has {MAC}"),
            )]),
        }
    }

    fn addr(&self) -> Done {
        let (link, address) = (self.str("link"), self.str("address"));
        let (ip, prefix) = address.split_once('/').expect("a prefix length");
        let other = if prefix == "29" { 28 } else { 29 };
        // Routes need it.
        let along = Along::Kind("route", self.on(link));
        let del = format!("ip addr del {address} dev {link}");
        // Without its subnet's route: it would hide others.
        let add = format!("ip addr add {ip}/{other} dev {link} noprefixroute");
        Done {
            removed: Ok(Change::gone(&del).along(along.clone())),
            changed: Ok(vec![
                Change::new(format!("{del} && {add}"), format!("its prefix length is {other}"))
                    .along(along),
            ]),
        }
    }

    fn route(&self) -> Done {
        let (link, dst) = (self.str("link"), self.str("dst"));
        let v6 = dst.contains(':');
        let (family, other) = if v6 { ("-6", "fe80::77") } else { ("-4", "10.77.77.77") };
        let mut key = format!("{dst} dev {link}");
        let mut attrs = String::new();
        for (name, word) in [("table", "table"), ("priority", "metric")] {
            if let Some(n) = self.of["attrs"][name].as_u64() {
                write!(key, " {word} {n}").expect("to a string");
            }
        }
        for name in ["mtu", "advmss"] {
            if let Some(n) = self.of["attrs"][name].as_u64() {
                write!(attrs, " {name} {n}").expect("to a string");
            }
        }
        let via = self.of["via"].as_str().map(|via| format!(" via {via}")).unwrap_or_default();
        let mut changed = vec![Change::new(
            format!("ip {family} route replace {key}{attrs} via {other} onlink"),
            format!("it leads via {other}"),
        )];
        if !attrs.is_empty() {
            let command = format!("ip {family} route replace {key}{via} mtu 1290");
            changed.push(Change::new(command, "its mtu is 1290"));
        }
        if let Some(n) = self.of["attrs"]["priority"].as_u64() {
            let other = key.replace(&format!("metric {n}"), &format!("metric {}", n + 1));
            let command = format!(
                "ip {family} route del {key}{via} && ip {family} route add {other}{via}{attrs}"
            );
            changed.push(Change::new(command, format!("its metric is {}", n + 1)));
        }
        Done {
            removed: Ok(Change::gone(format!("ip {family} route del {key}{via}"))),
            changed: Ok(changed),
        }
    }

    /// Another number in a file below /proc/sys.
    fn written(&self, path: &str, value: &str, says: &str) -> Done {
        let other = match value.trim().parse::<u64>() {
            Ok(0) => "1".to_owned(),
            Ok(1) => "0".to_owned(),
            Ok(n) => (n + 1).to_string(),
            Err(_) => panic!("{path}: another value than {value}"),
        };
        set(Change::new(format!("echo {other} >/proc/sys/{path}"), format!("{says}{other}"))
            .back(format!("echo {value} >/proc/sys/{path}")))
    }
}

fn set(change: Change) -> Done {
    Done { removed: Err(SET), changed: Ok(vec![change]) }
}
