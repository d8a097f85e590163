//! Hands on links and on what they are: bridges, pairs, links by themselves or lent.

use std::net::IpAddr;

use serde_json::Value;

use super::super::common::flatten::{items, text};
use super::{Along, Change, Done, MAC, Step, set};

impl Step {
    pub(super) fn bridge(&self) -> Done {
        let name = self.str("name");
        let mut changed = vec![self.mac(name)];
        if self.of["mtu"].is_u64() {
            changed.push(Change::new(format!("ip link set {name} mtu 1300"), "its mtu is 1300"));
        }
        if self.is("promisc") {
            changed.push(Change::new(
                format!("ip link set {name} promisc off"),
                "it isn't promiscuous",
            ));
        }
        if self.is("vlan_filtering") {
            let command = format!("ip link set {name} type bridge vlan_filtering 0");
            changed.push(Change::new(command, "carries all VLANs to all ports"));
        }
        Done { removed: Ok(self.link_gone(name)), changed: Ok(changed) }
    }

    pub(super) fn veth(&self) -> Done {
        let (name, peer) = (self.str("name"), self.str("peer"));
        let inner = ("pod".to_owned(), peer.to_owned());
        let of_host =
            |words: &str, says: &str| Change::new(format!("ip link set {name} {words}"), says);
        let of_pod = |words: &str| format!("ip -n pod link set {peer} {words}");
        let mut changed = vec![
            of_host("down", "it is down").along(Along::Down(self.on(name))),
            self.mac(name),
            Change::new(
                of_pod(&format!("address {MAC}")),
                format!("the MAC address of {peer} isn't"),
            ),
            self.alias(name),
            Change::new(
                format!(
                    "{} && {} && ip -n pod link set eth7 up",
                    of_pod("down"),
                    of_pod("name eth7")
                ),
                format!("its peer {peer} is missing"),
            )
            .along(Along::Gone(vec![inner.clone()])),
        ];
        if self.of["mtu"].is_u64() {
            // A bridge that was told none has that of its smallest port.
            let follows = Along::Kind("bridge", self.on(self.str("master")));
            changed.push(of_host("mtu 1301", "its mtu is 1301").along(follows));
            changed.push(Change::new(of_pod("mtu 1302"), format!("the mtu of {peer} is 1302")));
        }
        if self.is("no_link_local") {
            changed.push(of_host("addrgenmode eui64", "it makes itself a link-local address"));
        }
        if !self.str("master").is_empty() {
            changed.push(
                of_host("nomaster", "it isn't a port of")
                    .along(Along::Kind("vlans", self.on(name))),
            );
            for (key, words) in [("hairpin", "hairpin"), ("isolated", "isolated")] {
                let is = if self.is(key) { "off" } else { "on" };
                changed.push(of_host(
                    &format!("type bridge_slave {words} {is}"),
                    &format!("{key} is {is}"),
                ));
            }
        }
        let gone = Along::Gone(vec![self.on(name), inner]);
        Done {
            removed: Ok(Change::gone(format!("ip link del {name}")).along(gone)),
            changed: Ok(changed),
        }
    }

    /// What all links by themselves have, and what their kind has.
    pub(super) fn device(&self) -> Done {
        let name = self.str("name");
        let mut changed = Vec::new();
        if self.of["mac"].is_string() {
            changed.push(self.mac(name));
        }
        if let Some(mtu) = self.of["mtu"].as_u64() {
            let change = Change::new(format!("ip link set {name} mtu 1300"), "its mtu is 1300");
            // A bond's ports have its mtu, and keep it.
            changed.push(change.back(format!("ip link set {name} mtu {mtu}")));
        }
        changed.extend(self.made_anew());
        // Another's link under the name of something shared is taken as it is.
        if self.hold == "own" {
            changed.push(self.alias(name));
        }
        let kind = &self.of["kind"];
        let (kind, of) = match kind.as_object().and_then(|kind| kind.iter().next()) {
            Some((kind, of)) => (kind.as_str(), of),
            None => (kind.as_str().expect("a kind"), kind),
        };
        device_settings(name, kind, of, &mut changed);
        if kind == "bond" {
            changed.push(self.another_mode(name));
        }
        // A bond's mode can be changed as long as it has no ports, a tap leaves its bridge.
        for change in changed.iter_mut().filter(|change| change.command.contains("nomaster")) {
            change.along = Along::Apart(self.on(name));
        }
        Done { removed: Ok(self.link_gone(name)), changed: Ok(changed) }
    }

    /// What a link of its kind has from birth on: it is made anew, with the same mark and
    /// address.
    pub(super) fn made_anew(&self) -> Vec<Change> {
        let (name, of) = (self.str("name"), &self.of["kind"]);
        let tap = |words: &str| format!("ip tuntap add dev {name} mode tap {words}");
        let link = |words: &str| format!("ip link add {name} type {words}");
        let makes = match of.as_object().and_then(|kind| kind.iter().next()) {
            Some((kind, of)) if kind == "tap" => {
                let queue = if of["multi_queue"] == true { "multi_queue" } else { "" };
                // Root is the one user whom a test's world knows.
                let of_root = |key: &str, word, yes| if yes == (of[key] == 0) { word } else { "" };
                let user = |yes| of_root("owner", "user 0", yes);
                let group = |yes| of_root("group", "group 0", yes);
                let other = if queue.is_empty() { "multi_queue" } else { "" };
                let words = [
                    [user(false), group(true), queue],
                    [user(true), group(false), queue],
                    [user(true), group(true), other],
                ];
                words.map(|words| tap(&words.join(" "))).to_vec()
            }
            Some((kind, _)) if kind == "vlan" => {
                let parent = &self.of["parent"];
                let (at, on) = (parent["at"].as_str(), parent["name"].as_str().expect("a parent"));
                // From the other side, where the parent is.
                let ns = if at == Some(self.at.as_str()) { "" } else { "netns pod" };
                let there = if ns.is_empty() { "" } else { "nsenter -t 1 -n " };
                vec![format!("{there}ip link add link {on} name {name} {ns} type vlan id 4001")]
            }
            Some((kind, _)) if kind == "vrf" => vec![link("vrf table 4711")],
            Some((kind, of)) if kind == "vxlan" => {
                let local = of["local"].as_str().expect("an address");
                let rest = format!("local {local} nolearning");
                vec![
                    link(&format!("vxlan id 4711 dstport {} {rest}", of["port"])),
                    link(&format!("vxlan id {} dstport 4711 {rest}", of["id"])),
                ]
            }
            _ => Vec::new(),
        };
        if makes.is_empty() {
            return Vec::new();
        }
        let is = self.seen(name);
        let (mac, alias) = (text(&is["address"]), text(&is["ifalias"]));
        let change = |makes: String| {
            let command = format!(
                "ip link del {name} && {makes} && \
                 ip link set {name} address {mac} alias '{alias}'"
            );
            Change::new(command, "its settings are others").along(self.link_gone(name).along)
        };
        makes.into_iter().map(change).collect()
    }

    pub(super) fn lent(&self) -> Done {
        let name = self.str("to");
        let gone = Along::Gone(vec![self.on(name)]);
        let renamed = format!("ip link set {name} down && ip link set {name} name eth7");
        let back = format!("ip link set eth7 name {name} && ip link set {name} up");
        // Without our mark it is anybody's.
        let alias = self.alias(name);
        let taken = Change::gone(format!("{} && {renamed}", alias.command));
        Done {
            removed: Ok(taken.along(gone.clone()).back(format!("{back} && {}", alias.back))),
            changed: Ok(vec![
                Change::new(renamed, "it is called eth7 there").along(gone).back(back),
                alias,
            ]),
        }
    }

    pub(super) fn pin(&self) -> Done {
        let file = format!("{}/{}", self.str("dir"), self.str("name"));
        Done {
            removed: Ok(Change::gone(format!("umount {file} && rm {file}"))),
            changed: Ok(vec![
                Change::new(
                    format!("umount {file} && mount --bind /run/netns/far {file}"),
                    "it is another namespace",
                )
                .back(format!("umount {file} && rm {file}")),
            ]),
        }
    }

    pub(super) fn member(&self) -> Done {
        let (link, master) = (self.str("link"), self.str("master"));
        let along = Along::Down(self.on(link));
        let makes = match text(&self.seen(master)["linkinfo"]["info_kind"]).as_str() {
            "vrf" => "ip link add hand0 type vrf table 4711 && ip link set hand0 up".to_owned(),
            kind => format!("ip link set {link} down && ip link add hand0 type {kind}"),
        };
        let other =
            format!("ip link set {link} nomaster && {makes} && ip link set {link} master hand0");
        Done {
            removed: Ok(Change::gone(format!("ip link set {link} nomaster")).along(along.clone())),
            changed: Ok(vec![
                Change::new(other, "it is in another").along(along).back("ip link del hand0"),
            ]),
        }
    }

    pub(super) fn vlans(&self) -> Done {
        let link = self.str("link");
        let mut changed = Vec::new();
        for tag in self.of["tags"].as_array().expect("tags") {
            let (first, access) = (&tag["first"], tag["access"] == true);
            let flags: &[&str] =
                if access { &["", "pvid", "untagged"] } else { &["pvid untagged", "untagged"] };
            let says = format!("it doesn't carry VLAN {first}");
            changed.push(Change::new(format!("bridge vlan del vid {first} dev {link}"), &says));
            changed.extend(flags.iter().map(|words| {
                Change::new(format!("bridge vlan add vid {first} dev {link} {words}"), &says)
            }));
            // The other end of a range.
            let last = &tag["last"];
            if last != first {
                changed.push(Change::new(
                    format!("bridge vlan del vid {last} dev {link}"),
                    format!("it doesn't carry VLAN {last}"),
                ));
            }
        }
        if !self.is("default") {
            let command = format!("bridge vlan add vid 1 dev {link}");
            changed.push(Change::new(command, "it carries VLAN 1"));
        }
        Done {
            removed: Err("it is several things: each is removed by itself"),
            changed: Ok(changed),
        }
    }

    pub(super) fn own_vlan(&self) -> Done {
        let (link, id) = (self.str("link"), &self.of["id"]);
        Done {
            removed: Ok(Change::gone(format!("bridge vlan del vid {id} dev {link} self"))),
            changed: Ok(vec![
                Change::new(
                    format!("bridge vlan add vid {id} dev {link} self untagged"),
                    "its frames have no tag",
                ),
                Change::new(
                    format!("bridge vlan add vid {id} dev {link} self pvid untagged"),
                    "its frames have no tag",
                ),
            ]),
        }
    }

    pub(super) fn link_attr(&self) -> Done {
        let (link, value) = (self.str("link"), self.str("value"));
        let (name, other) = match self.str("attr") {
            "mac" => ("address", MAC),
            "mtu" => ("mtu", "1299"),
            "txqlen" => ("txqueuelen", "99"),
            "promisc" => ("promisc", if value == "1" { "off" } else { "on" }),
            "allmulti" => ("allmulticast", if value == "1" { "off" } else { "on" }),
            other => panic!("a setting {other}"),
        };
        let says = match other {
            "off" => "it is 0".to_owned(),
            "on" => "it is 1".to_owned(),
            other => format!("it is {other}"),
        };
        let planned = match (name, value) {
            ("promisc" | "allmulticast", "1") => "on",
            ("promisc" | "allmulticast", _) => "off",
            (_, value) => value,
        };
        // What was lent is put back from what was set, not from what somebody else has set.
        set(Change::new(format!("ip link set {link} {name} {other}"), says)
            .back(format!("ip link set {link} {name} {planned}")))
    }

    pub(super) fn link_gone(&self, name: &str) -> Change {
        Change::gone(format!("ip link del {name}")).along(Along::Gone(vec![self.on(name)]))
    }

    pub(super) fn mac(&self, name: &str) -> Change {
        // Neighbours of the old one are forgotten.
        Change::new(format!("ip link set {name} address {MAC}"), "its MAC address isn't")
            .along(Along::Kind("neigh", self.on(name)))
    }

    /// What wears no mark of ours stays at del, so it gets its own again.
    pub(super) fn alias(&self, name: &str) -> Change {
        let was = text(&self.seen(name)["ifalias"]);
        Change::new(format!("ip link set {name} alias other"), "its alias isn't")
            .back(format!("ip link set {name} alias '{was}'"))
    }

    /// A bond's mode can be changed as long as it has no ports.
    fn another_mode(&self, name: &str) -> Change {
        let ports = self.ns().sh_json(&format!("ip -j link show master {name}"));
        let leave = |port: &Value| format!("ip link set {} nomaster && ", text(&port["ifname"]));
        let left: String = items(&ports).iter().map(leave).collect();
        let command = format!(
            "{left}ip link set {name} down && ip link set {name} type bond mode balance-xor"
        );
        Change::new(command, "its settings are others")
    }

    /// What `ip` says of a link on its side.
    fn seen(&self, name: &str) -> Value {
        self.ns().sh_json(&format!("ip -d -j link show {name}"))[0].take()
    }
}

/// Changes of what one kind of link has.
fn device_settings(name: &str, kind: &str, of: &Value, changed: &mut Vec<Change>) {
    let mut set = |words: &str| {
        let command = format!("ip link set {name} type {kind} {words}");
        changed.push(Change::new(command, "its settings are others"));
    };
    match kind {
        "macvlan" => {
            if of["mode"] != "passthru" {
                set(if of["mode"] == "private" { "mode vepa" } else { "mode private" });
            }
            if of["queue"].is_u64() {
                set("bcqueuelen 4711");
            }
        }
        "ipvlan" => set(if of["mode"] == "l3" { "mode l2" } else { "mode l3" }),
        "bond" => set("miimon 200"),
        "vxlan" => {
            // Its id and its port are given to it at birth.
            set(if of["learning"] == true { "nolearning" } else { "learning" });
            set(match of["local"].as_str().map(str::parse::<IpAddr>) {
                Some(Ok(IpAddr::V6(_))) => "local 2001:db8::66",
                _ => "local 192.0.2.66",
            });
        }
        "tap" => {
            if let Some(bridge) = of["bridge"].as_str() {
                let command = format!("ip link set {name} nomaster");
                changed.push(Change::new(command, format!("it isn't a port of {bridge}")));
            }
        }
        _ => {}
    }
}
