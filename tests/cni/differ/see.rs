//! What a case does to a host and a pod that nobody used before, as words.
//!
//! ```text
//! ADD exit = 0
//! ADD result ips.0.address = 10.77.0.2/24
//! ADD made pod link eth0 mtu = 1500
//! ADD made file /run/rootless/leases/net/10.77.0.2 content = ...
//! DEL left host link br-cni mtu = 1500
//! ```
//!
//! Only what differs from the state before a plugin was called. Not looked at: what
//! [`IGNORED`](super::super::common::dump::IGNORED) names, the texts of errors, our records
//! and our marks (alias, protocol). Names that the specification leaves free are replaced
//! by words for them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;

use serde_json::{Value, json};

use super::super::call::{Plugins, with};
use super::super::common::dump::{Attrs, dump};
use super::super::common::{Ns, dirs, in_netns, sh, told};
use super::cases::Case;

/// Words by key.
pub(super) type Seen = BTreeMap<String, String>;

/// Runs a case with the plugins of one side.
pub(super) fn run(case: &Case, plugins: &Plugins) -> Seen {
    let mut bench = Bench::new(case, plugins);
    let mut prev = Value::Null;
    for conf in &case.before {
        let output = bench.call("ADD", &bench.conf(conf, &prev));
        assert!(output.status.success(), "{}: {}", case.name, told(&case.name, &output));
        prev = serde_json::from_slice(&output.stdout).expect("a result");
    }
    let before = bench.dump();
    let mut dels = 0;
    for verb in case.verbs {
        let added = bench.seen.get("ADD exit").is_none_or(|exit| exit == "0");
        if *verb == "CHECK" && !(case.has_check() && added) {
            continue;
        }
        let output = bench.call(verb, &bench.conf(&case.conf, &prev));
        dels += usize::from(*verb == "DEL");
        bench.answered(if dels == 2 { "DEL again" } else { verb }, &output);
        if *verb == "ADD" && output.status.success() && !output.stdout.is_empty() {
            prev = serde_json::from_slice(&output.stdout).expect("a result");
        }
        match (*verb, dels) {
            ("ADD", _) => bench.changed("ADD made", &before),
            ("DEL", 1) => bench.changed("DEL left", &before),
            _ => {}
        }
    }
    sh("ip netns del host0; ip netns del pod");
    let names = &bench.names;
    bench.seen.iter().map(|(k, v)| (replaced(k, names), replaced(v, names))).collect()
}

/// One side's host and pod.
struct Bench<'a> {
    case: &'a Case,
    plugins: &'a Plugins,
    all: [Ns; 2],
    seen: Seen,
    /// Names that the specification leaves free, and the words for them.
    names: Vec<(String, String)>,
}

impl<'a> Bench<'a> {
    /// A host with an uplink whose mtu is not the usual one, a pod whose lo is down, no
    /// lease, no record.
    fn new(case: &'a Case, plugins: &'a Plugins) -> Self {
        let (run, leases) = (dirs().run, dirs().leases);
        sh(&format!(
            "rm -rf {} {} && mkdir -p {1} && ip netns add host0 && ip netns add pod && \
             for ns in host0 pod; do ip netns exec $ns sh -c \
             'echo 0 | tee /proc/sys/net/ipv6/conf/*/accept_dad >/dev/null' || exit; done && \
             ip -n host0 -batch - <<X\nlink set lo up\nlink add up0 mtu 1450 type veth peer name up1\n\
             link set up0 up\nlink set up1 up\naddr add 198.18.0.1/24 dev up0\n\
             route add default via 198.18.0.2\nX",
            run.display(),
            leases.display(),
        ));
        let all = [Ns::named("host0"), Ns::named("pod")];
        if !case.given.is_empty() {
            all[0].sh(case.given);
        }
        Self { case, plugins, all, seen: Seen::new(), names: Vec::new() }
    }

    /// A configuration with the result before it.
    fn conf(&self, conf: &Value, prev: &Value) -> Value {
        if prev.is_null() { conf.clone() } else { with(conf.clone(), json!({"prevResult": prev})) }
    }

    /// Calls a configuration's plugin on the host, as the case has its variables.
    fn call(&self, verb: &str, conf: &Value) -> Output {
        let path = self.plugins.dir.display().to_string();
        let mut vars = vec![
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c"),
            ("CNI_NETNS", "/run/netns/pod"),
            ("CNI_IFNAME", self.case.ifname),
            ("CNI_ARGS", self.case.args),
            ("CNI_PATH", &path),
        ];
        if verb == "DEL" && self.case.lost {
            vars[2].1 = "";
        }
        let stdin =
            if self.case.stdin.is_empty() { conf.to_string() } else { self.case.stdin.into() };
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
            return;
        }
        let (mut leaves, mut order) = (Vec::new(), String::new());
        leaves_of("", &answer, &mut leaves, &mut order);
        for (path, value) in leaves {
            self.see(format!("{verb} result {path}"), value);
        }
        self.see(format!("{verb} result, order"), order);
    }

    fn dump(&mut self) -> BTreeMap<String, Attrs> {
        let objects = dump(&self.all).objects();
        let own = format!("file {}", dirs().run.display());
        let not_seen = |name: &str| {
            // Made when a link's carrier comes, which may take the kernel a second.
            let late = ["fe80::", "ff00::", " anycast"].iter().any(|word| name.contains(word));
            late || name.starts_with("host ") || name.starts_with(&own)
        };
        let objects: BTreeMap<_, _> = objects.into_iter().filter(|(n, _)| !not_seen(n)).collect();
        self.learn(&objects);
        objects
    }

    /// Learns the free names of a state: veths of the host, and link-layer addresses that
    /// the case doesn't ask for.
    fn learn(&mut self, objects: &BTreeMap<String, Attrs>) {
        let asked = format!("{}{}", self.case.conf, self.case.args);
        for (name, attrs) in objects {
            let Some((ns, link)) = name.split_once(" link ") else { continue };
            let is_veth = attrs.get("linkinfo.info_kind").is_some_and(|kind| kind == "veth");
            let mut word = link.to_owned();
            if ns == "host0" && is_veth && !link.starts_with("up") {
                word = "VETH".to_owned();
                self.names.push((link.to_owned(), word.clone()));
            }
            let mac = attrs.get("address").filter(|mac| mac.len() == 17 && !asked.contains(*mac));
            if let Some(mac) = mac.filter(|mac| *mac != "00:00:00:00:00:00") {
                self.names.push((mac.clone(), format!("MAC of {ns} {word}")));
                // As a bridge's id has it: without leading zeros.
                let short: Vec<_> =
                    mac.split(':').map(|b| b.strip_prefix('0').unwrap_or(b)).collect();
                self.names.push((short.join(":"), format!("MAC of {ns} {word}")));
            }
        }
    }

    /// What differs from `before`, object by object.
    fn changed(&mut self, what: &str, before: &BTreeMap<String, Attrs>) {
        let after = self.dump();
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            self.see(format!("{what} {name}"), "(gone)".to_owned());
        }
        for (name, attrs) in after.iter().filter(|(name, attrs)| before.get(*name) != Some(attrs)) {
            self.see(format!("{what} {name}"), "(there)".to_owned());
            for (key, value) in attrs.iter().filter(|(key, _)| !MARKS.contains(&key.as_str())) {
                // A bridge's carrier follows its ports', up to a second later.
                self.see(format!("{what} {name} {key}"), value.replace(" LOWER_UP", ""));
            }
        }
    }
}

/// Attributes that carry our marks.
const MARKS: &[&str] = &["ifalias", "protocol"];

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

/// What differs, a line each: `ADD error code: 999 -> 7`.
pub(super) fn differences(theirs: &Seen, ours: &Seen) -> Vec<String> {
    let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let show = |seen: &Seen, key: &String| seen.get(key).cloned().unwrap_or("(none)".to_owned());
    let differing = keys.into_iter().filter(|key| theirs.get(*key) != ours.get(*key));
    let only_one = |key: &str| {
        let there = |seen: &Seen| seen.get(key).is_some_and(|value| value == "(there)");
        there(theirs) != there(ours) && theirs.contains_key(key) != ours.contains_key(key)
    };
    // What an ADD that only one side refuses did not make needs no lines.
    let refused = theirs.get("ADD exit") != ours.get("ADD exit");
    let told =
        |key: &&String| !refused || key.starts_with("ADD e") || key.starts_with("DEL again e");
    differing
        .filter(told)
        .filter(|key| !owners(key).iter().any(|owner| only_one(owner)))
        .map(|key| format!("{key}: {} -> {}", show(theirs, key), show(ours, key)))
        .collect()
}

/// The objects whose coming tells this one's: of an attribute its object, of a sysctl the
/// link that it is about.
fn owners(key: &str) -> Vec<String> {
    let mut owners = Vec::new();
    if let Some((object, _)) = key.rsplit_once(' ') {
        owners.push(object.to_owned());
    }
    if let Some((place, sysctl)) = key.split_once(" sysctl ") {
        let parts: Vec<&str> = sysctl.split('.').collect();
        if let ["net", _, "conf" | "neigh", link, ..] = parts[..] {
            owners.push(format!("{place} link {link}"));
        }
    }
    owners
}
