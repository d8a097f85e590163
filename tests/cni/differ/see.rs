//! What a case does to a host and a pod that nobody used before, as words.
//!
//! ```text
//!   far ── up0 host0 ...      10.77.0.0/24 is routed to host0 at far
//!               pod
//!
//! ADD exit = 0
//! ADD result ips.0.address = 10.77.0.2/24
//! ADD made pod link eth0 mtu = 1500
//! ADD made file /run/rootless/leases/net/10.77.0.2 content = ...
//! ADD packets pod to far = seen from 198.18.0.1, answered
//! DEL left host link br-cni mtu = 1500
//! ```
//!
//! Only what differs from the state before a plugin was called. Not looked at: what
//! [`IGNORED`](super::super::common::dump::IGNORED) names, our records and our marks
//! (a link's alias, an address's protocol). Names that the specification leaves free are replaced by words for
//! them.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::{Value, json};

use super::super::call::{Plugins, with};
use super::super::common::dump::{Dump, dump_of};
use super::super::common::{Ns, dirs, in_netns, sh, told};
use super::beside;
use super::cases::Case;
use super::{packets, vlans};

/// Words by key.
pub(super) type Seen = BTreeMap<String, String>;

/// The host and the pod of this world, for one case after another.
#[derive(Default)]
pub(super) struct Stage {
    /// They are as they were when they were new.
    fresh: bool,
    /// Their state then: it is the same each time.
    new: Option<Dump>,
}

impl Stage {
    /// A host with an uplink whose mtu is not the usual one, a neighbour, a pod whose lo is
    /// down, no lease, no record.
    fn set(&mut self) {
        let (run, leases) = (dirs().run, dirs().leases);
        for dir in [&run, &leases] {
            let _ = std::fs::remove_dir_all(dir);
        }
        std::fs::create_dir_all(&leases).expect("a directory");
        if std::mem::replace(&mut self.fresh, true) {
            return;
        }
        sh("[ ! -e /run/netns/pod ] || ip -batch - <<X
            netns del host0
            netns del pod
            netns del far
X");
        sh("ip -batch - <<X
            netns add host0
            netns add pod
            netns add far
X");
        for name in ["host0", "pod", "far"] {
            in_netns(&Ns::named(name), || {
                for conf in ["all", "default", "lo"] {
                    let file = format!("/proc/sys/net/ipv6/conf/{conf}/accept_dad");
                    std::fs::write(file, "0").expect("accept_dad");
                }
                beside::keep_flows();
            });
        }
        sh("ip -n host0 -batch - <<X
            link set lo up
            link add up0 address 02:00:00:00:00:fe mtu 1450 type veth peer name far0 netns far
            link set up0 up
            addr add 198.18.0.1/24 dev up0
            addr add 2001:db8:18::1/64 dev up0 nodad
            route add default via 198.18.0.2
X
            ip -n far -batch - <<X
            link set lo up
            link set far0 mtu 1450 up
            addr add 198.18.0.2/24 dev far0
            addr add 2001:db8:18::2/64 dev far0 nodad
            route add 10.77.0.0/24 via 198.18.0.1
            route add fd77::/64 via 2001:db8:18::1
X
            until ip -n host0 -br link show dev up0 | grep -q ' UP '; do sleep 0.01; done");
    }
}

/// Runs a case with the plugins of one side.
pub(super) fn run(stage: &mut Stage, case: &Case, plugins: &Plugins) -> Seen {
    stage.set();
    let mut bench = Bench::new(case, plugins);
    let before = bench.before(stage);
    bench.play(&before);
    // What nobody changed is new for the next.
    let untouched = [case.given, &case.harm].iter().all(|words| words.is_empty());
    stage.fresh = !bench.changed && untouched && case.before.is_empty();
    let names = &bench.names;
    bench.seen.iter().map(|(k, v)| (replaced(k, names), replaced(v, names))).collect()
}

/// One side's host and pod.
struct Bench<'a> {
    case: &'a Case,
    plugins: &'a Plugins,
    all: [Ns; 2],
    /// The result of the plugins before it.
    prev: Value,
    /// The last look saw another state than before.
    changed: bool,
    seen: Seen,
    /// Names that the specification leaves free, and the words for them.
    names: Vec<(String, String)>,
}

impl<'a> Bench<'a> {
    fn new(case: &'a Case, plugins: &'a Plugins) -> Self {
        let all = [Ns::named("host0"), Ns::named("pod")];
        let (prev, seen) = (Value::Null, Seen::new());
        Self { case, plugins, all, prev, changed: false, seen, names: Vec::new() }
    }

    /// The state before the case, after what is given.
    fn before(&mut self, stage: &mut Stage) -> Dump {
        let case = self.case;
        if case.given.is_empty() && case.before.is_empty() {
            let new = stage.new.take().unwrap_or_else(|| self.dump());
            self.learn(&new);
            return stage.new.insert(new).clone();
        }
        if !case.given.is_empty() {
            self.all[0].sh(case.given);
        }
        for conf in &case.before {
            let output = self.call("ADD", &self.conf(conf, &self.prev));
            assert!(output.status.success(), "{}: {}", case.name, told(&case.name, &output));
            self.prev = serde_json::from_slice(&output.stdout).expect("a result");
        }
        self.dump()
    }

    /// Calls the verbs one after the other.
    fn play(&mut self, before: &Dump) {
        let mut called: Vec<&str> = Vec::new();
        let mut added = true;
        for verb in self.case.verbs {
            // Behind an ADD only what can be checked; alone the question itself is the case.
            if *verb == "CHECK" && !called.is_empty() && !(self.case.has_check() && added) {
                continue;
            }
            let is_first = !called.contains(verb);
            let forgets = self.case.forgets && (*verb == "DEL" || !is_first);
            let prev = if forgets { &Value::Null } else { &self.prev };
            let conf = self.conf(&self.case.conf, prev);
            let changes_nothing = *verb == "CHECK" || !is_first;
            let output = match changes_nothing && self.case.is_watched() {
                true => self.watched(verb, &conf),
                false => self.call(verb, &conf),
            };
            self.answered(
                &if is_first { verb.to_string() } else { format!("{verb} again") },
                &output,
            );
            called.push(verb);
            if *verb == "ADD" && is_first {
                added = output.status.success();
                if added && !output.stdout.is_empty() {
                    self.prev = serde_json::from_slice(&output.stdout).expect("a result");
                }
            }
            match *verb {
                "ADD" => self.look(if is_first { "ADD made" } else { "ADD again made" }, before),
                "DEL" if is_first => self.look("DEL left", before),
                _ => {}
            }
            if added && is_first && ["ADD", "DEL"].contains(verb) {
                let words = packets::probe(self.case, &self.all, &self.prev, verb);
                words.into_iter().for_each(|(key, value)| self.see(key, value));
            }
            if *verb == "ADD" && is_first && added {
                self.second_pod();
                self.harm();
            }
        }
    }

    /// Calls a verb that should change nothing, and looks whether it did.
    fn watched(&mut self, verb: &str, conf: &Value) -> Output {
        let (before, changed) = (self.dump(), self.changed);
        let output = self.call(verb, conf);
        self.look(&format!("{verb} changed"), &before);
        self.changed |= changed;
        output
    }

    /// Another pod of the same network, for as long as it takes to ask who reaches whom.
    fn second_pod(&mut self) {
        if !self.case.second {
            return;
        }
        sh("ip netns add pod2");
        let two = Ns::named("pod2");
        let vars = [("CNI_CONTAINERID", "d"), ("CNI_NETNS", "/run/netns/pod2")];
        let call = |verb: &str| {
            let output = self.call_with(verb, &self.case.conf, &vars);
            assert!(output.status.success(), "{}: {}", self.case.name, told(verb, &output));
            serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
        };
        let result = call("ADD");
        let words = packets::between(&self.all[0], [(&self.all[1], &self.prev), (&two, &result)]);
        call("DEL");
        sh("ip netns del pod2");
        words.into_iter().for_each(|(key, value)| self.see(key, value));
    }

    /// What somebody does between ADD and the verbs after it.
    fn harm(&mut self) {
        if self.case.harm.is_empty() {
            return;
        }
        self.all[0].sh(&self.case.harm);
        if self.case.conf["macspoofchk"] == true {
            let words = packets::probe(self.case, &self.all, &self.prev, "harmed");
            words.into_iter().for_each(|(key, value)| self.see(key, value));
        }
    }

    /// A configuration with the result before it.
    fn conf(&self, conf: &Value, prev: &Value) -> Value {
        if prev.is_null() { conf.clone() } else { with(conf.clone(), json!({"prevResult": prev})) }
    }

    /// Calls a configuration's plugin on the host, as the case has its variables.
    fn call(&self, verb: &str, conf: &Value) -> Output {
        self.call_with(verb, conf, self.case.vars)
    }

    fn call_with(
        &self,
        verb: &str,
        conf: &Value,
        others: &[(&'static str, &'static str)],
    ) -> Output {
        let path = self.plugins.dir.display().to_string();
        // Not one of those before it.
        let is_asked = conf["type"] == self.case.conf["type"];
        let mut vars = vec![
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c"),
            ("CNI_NETNS", "/run/netns/pod"),
            ("CNI_IFNAME", self.case.ifname),
            ("CNI_ARGS", if is_asked { self.case.args } else { "" }),
            ("CNI_PATH", &path),
        ];
        if verb == "DEL" && self.case.lost {
            vars[2].1 = "";
        }
        for var in others {
            vars.retain(|(name, _)| *name != var.0);
            vars.push(*var);
        }
        let stdin = self.case.stdin.map_or_else(|| conf.to_string(), str::to_owned);
        let plugin = conf["type"].as_str().expect("a type");
        in_netns(&self.all[0], || self.plugins.raw(plugin, &vars, &stdin))
    }

    fn see(&mut self, key: String, value: String) {
        // Two objects that differ only by a name that is free.
        let mut free = key.clone();
        for count in 2.. {
            if !self.seen.contains_key(&free) {
                break;
            }
            free = format!("{key} #{count}");
        }
        self.seen.insert(free, value);
    }

    /// What was answered: exit code, error code, result with the order of its keys.
    fn answered(&mut self, verb: &str, output: &Output) {
        let exit =
            output.status.code().map_or_else(|| output.status.to_string(), |c| c.to_string());
        self.see(format!("{verb} exit"), exit);
        if output.stdout.is_empty() {
            return;
        }
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{}: {e}: {}", self.case.name, told(verb, output)));
        if !output.status.success() {
            self.see(format!("{verb} error code"), answer["code"].to_string());
            self.see(format!("{verb} error cniVersion"), answer["cniVersion"].to_string());
            for (word, key) in [("text", "msg"), ("details", "details")] {
                if let Some(text) = answer[key].as_str().filter(|text| !text.is_empty()) {
                    self.see(format!("{verb} error {word}"), text.to_owned());
                }
            }
            return;
        }
        let (mut leaves, mut order) = (Vec::new(), String::new());
        leaves_of("", &answer, &mut leaves, &mut order);
        for (path, value) in leaves {
            self.see(format!("{verb} result {path}"), value);
        }
        self.see(format!("{verb} result, order"), order);
    }

    fn dump(&mut self) -> Dump {
        let own = format!("file {}", dirs().run.display());
        let not_seen = |name: &str| {
            // Made when a link's carrier comes, or when the kernel has asked around for an
            // address: a moment later, or a second.
            let late = ["fe80::", "ff00::", " anycast"].iter().any(|word| name.contains(word));
            let late = late || name.contains(" route -6 ") && name.contains(" table local ");
            late || name.starts_with(&own)
        };
        let mut state = dump_of(&self.all);
        beside::read(&self.all, &mut state);
        vlans::read(&self.all, &mut state);
        state.retouch(|name, mut attrs| {
            attrs.retain(|key, _| !is_mark(name, key));
            for value in attrs.values_mut().filter(|value| value.contains(" LOWER_UP")) {
                // A bridge's carrier follows its ports', up to a second later.
                *value = value.replace(" LOWER_UP", "");
            }
            (!not_seen(name)).then_some(attrs)
        });
        self.learn(&state);
        state
    }

    /// Learns the free names of a state: veths of the host, and link-layer addresses that
    /// the case doesn't ask for. Of two links that share an address the veth names it: a
    /// bridge may have its port's, and a link on the bridge has the bridge's.
    fn learn(&mut self, state: &Dump) {
        let asked = format!("{}{}", self.case.conf, self.case.args);
        let mut bridges = Vec::new();
        for (name, attrs) in state.plain() {
            let Some((ns, link)) = name.split_once(" link ") else { continue };
            let kind = attrs.get("linkinfo.info_kind").map(String::as_str);
            let mut word = link.to_owned();
            // `BRIDGE.ID`, a name that isn't free, may be a veth, too: one with a port of its own.
            let is_named = link.starts_with("up") || link.contains('.');
            if ns == "host0" && kind == Some("veth") && !is_named {
                let is_gateways = attrs.get("link").is_some_and(|peer| peer.contains('.'));
                word = if is_gateways { "PORT" } else { "VETH" }.to_owned();
                self.names.push((link.to_owned(), word.clone()));
            }
            let mac = attrs.get("address").filter(|mac| mac.len() == 17 && !asked.contains(*mac));
            if let Some(mac) = mac.filter(|mac| *mac != "00:00:00:00:00:00") {
                // As a bridge's id has it: without leading zeros.
                let short: Vec<_> =
                    mac.split(':').map(|b| b.strip_prefix('0').unwrap_or(b)).collect();
                let last = matches!(kind, Some("bridge" | "vlan"));
                let list = if last { &mut bridges } else { &mut self.names };
                list.extend(
                    [mac.clone(), short.join(":")].map(|m| (m, format!("MAC of {ns} {word}"))),
                );
            }
        }
        self.names.append(&mut bridges);
    }

    /// What differs from `before`, object by object.
    fn look(&mut self, what: &str, before: &Dump) {
        let [was, is] = before.against(&self.dump());
        self.changed = !was.is_empty() || !is.is_empty();
        for name in was.keys().filter(|name| !is.contains_key(*name)) {
            self.see(format!("{what} {name}"), "(gone)".to_owned());
        }
        for (name, attrs) in &is {
            self.see(format!("{what} {name}"), "(there)".to_owned());
            for (key, value) in attrs {
                self.see(format!("{what} {name} {key}"), value.clone());
            }
        }
    }
}

/// Whether an attribute carries a mark of ours that tells nothing else. A route's, which
/// others read, is compared.
fn is_mark(object: &str, key: &str) -> bool {
    key == "ifalias" || key == "protocol" && !object.contains(" route ")
}

/// The leaves of a JSON value with their paths, and its keys in their order.
fn leaves_of(path: &str, value: &Value, leaves: &mut Vec<(String, String)>, order: &mut String) {
    let dot = if path.is_empty() { "" } else { "." };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                *order += &format!("{key} ");
                leaves_of(&format!("{path}{dot}{key}"), value, leaves, order);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (i, value) in list.iter().enumerate() {
                leaves_of(&format!("{path}{dot}{i}"), value, leaves, order);
            }
        }
        Value::String(text) => leaves.push((path.to_owned(), text.clone())),
        other => leaves.push((path.to_owned(), other.to_string())),
    }
}

/// A text with words for free names.
fn replaced(text: &str, names: &[(String, String)]) -> String {
    names.iter().fold(text.to_owned(), |text, (name, word)| text.replace(name, word))
}
