//! What else is read of a namespace, beside what a dump has: it becomes objects of the dump.
//!
//! ```text
//! host0 neigh 10.77.0.2 dev up0          lladdr = 02:00:00:00:00:07, state = PERMANENT
//! host0 neigh 10.77.0.2 dev up0 proxy
//! host0 qdisc up0 root                   kind = htb, options.r2q = 10, ...
//! host0 filter up0 pref 9 u32       options.fh = 800::800, ...
//! host0 flow udp src=198.18.0.2 dst=198.18.0.1 sport=* dport=8080 src=10.77.0.2 ...
//! ```
//!
//! Not read: neighbours that the kernel has found and forgets by itself, and queues without an
//! option, which a link's own attribute tells. Of a flow its state and what is left of its
//! time are left out; ports that are taken as they come are `*`.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::Value;

use super::super::common::dump::{Attrs, Dump};
use super::super::common::flatten::{flatten, items, text};
use super::super::common::traffic::{udp, udp_server};
use super::super::common::{Kind, Ns, in_netns, neighbour, output_with, sh, told, world};

/// The first port that somebody takes as it comes: the probes of sctp from here on, and the
/// kernel (ip_local_port_range).
const GIVEN_OUT: u32 = 20000;

/// Reads these namespaces, and adds what is there.
pub(super) fn read(all: &[Ns], dump: &mut Dump) {
    std::thread::scope(|scope| {
        let readers: Vec<_> = all.iter().map(|ns| scope.spawn(|| in_netns(ns, read_ns))).collect();
        for (ns, reader) in all.iter().zip(readers) {
            let objects = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            objects
                .into_iter()
                .for_each(|(name, attrs)| dump.add(format!("{} {name}", ns.name), attrs));
        }
    });
}

type Objects = Vec<(String, Attrs)>;

fn read_ns() -> Objects {
    let mut all = neighbours();
    all.extend(queues());
    all.extend(flows());
    all
}

fn neighbours() -> Objects {
    let lists = batch(&["ip", "-j"], "neigh show nud permanent\nneigh show proxy\n");
    let object = |neigh: &Value| {
        let proxy = if neigh.get("proxy").is_some() { " proxy" } else { "" };
        let name = format!("neigh {} dev {}{proxy}", text(&neigh["dst"]), text(&neigh["dev"]));
        (name, attrs_of("neigh", neigh))
    };
    lists.iter().flat_map(items).map(object).collect()
}

fn queues() -> Objects {
    let list = batch(&["tc", "-j"], "qdisc show\n").remove(0);
    let has_words = |qdisc: &&Value| !["noqueue", "noop"].contains(&&*text(&qdisc["kind"]));
    let all: Vec<&Value> = items(&list).iter().filter(has_words).collect();
    let parent = |of: &Value| of.get("parent").map_or("root".to_owned(), text);
    let queues = all.iter().map(|qdisc| {
        (format!("qdisc {} {}", text(&qdisc["dev"]), parent(qdisc)), attrs_of("qdisc", qdisc))
    });
    // Filters are told of one place at a time.
    let places: Vec<String> = all.iter().flat_map(|qdisc| places(qdisc)).collect();
    let asked: String = places.iter().map(|place| format!("filter show dev {place}\n")).collect();
    let lists = if asked.is_empty() { Vec::new() } else { batch(&["tc", "-j"], &asked) };
    let filters = places.iter().zip(&lists).flat_map(|(place, list)| {
        let object = move |filter: &Value| {
            let name = format!("filter {place} pref {} {}", filter["pref"], text(&filter["kind"]));
            (name, attrs_of("filter", filter))
        };
        items(list).iter().map(object)
    });
    queues.chain(filters).collect()
}

/// Where a queue's filters are.
fn places(qdisc: &Value) -> Vec<String> {
    let ways: &[&str] = match &*text(&qdisc["kind"]) {
        "clsact" => &[" ingress", " egress"],
        "ingress" => &[" ingress"],
        // Without a word it is the root.
        _ if qdisc.get("root").is_some() => &[""],
        _ => &[],
    };
    ways.iter().map(|way| format!("{}{way}", text(&qdisc["dev"]))).collect()
}

fn attrs_of(kind: &str, object: &Value) -> Attrs {
    let mut attrs = Attrs::new();
    flatten(kind, "", object, &mut attrs);
    // Numbers that the kernel gives out, and counts.
    attrs.retain(|key, _| !["handle", "refcnt"].contains(&&**key));
    attrs
}

/// Flows that conntrack follows. A kernel without its file in /proc has nobody who tells.
fn flows() -> Objects {
    let table = match std::fs::read_to_string("/proc/thread-self/net/nf_conntrack") {
        Err(e) if e.kind() == ErrorKind::NotFound => return Vec::new(),
        table => table.expect("the table of flows"),
    };
    // The kernel tells of its multicast groups (IGMP) when it likes.
    let lines = table.lines().filter(|line| !line.contains(" unknown "));
    lines.map(|line| (flow(line), Attrs::new())).collect()
}

/// Has the caller's namespace remember each flow for longer than any case takes.
pub(super) fn keep_flows() {
    let all = std::fs::read_dir("/proc/sys/net/netfilter").into_iter().flatten().flatten();
    for file in all.filter(|file| file.file_name().to_string_lossy().contains("_timeout")) {
        std::fs::write(file.path(), "600").expect("a timeout of conntrack");
    }
}

/// A line of the table: `ipv4 2 udp 17 29 src=... dst=... mark=0 zone=0 use=2` (ct_seq_show of
/// net/netfilter/nf_conntrack_standalone.c).
fn flow(line: &str) -> String {
    let protocol = line.split_whitespace().nth(2).unwrap_or_default();
    let tuples = line.split_whitespace().filter(|word| {
        ["src=", "dst=", "sport=", "dport=", "type=", "code=", "mark="]
            .iter()
            .any(|of| word.starts_with(of))
    });
    let word = |word: &str| match word.split_once("port=") {
        Some((side, port)) if port.parse().is_ok_and(|port: u32| port >= GIVEN_OUT) => {
            format!(" {side}port=*")
        }
        _ => format!(" {word}"),
    };
    format!("flow {protocol}{}", tuples.map(word).collect::<String>())
}

/// What a tool answers to each line, as JSON.
fn batch(command: &[&str], lines: &str) -> Vec<Value> {
    let mut tool = std::process::Command::new(command[0]);
    let output = output_with(tool.args(&command[1..]).args(["-batch", "-"]), lines.as_bytes());
    assert!(output.status.success(), "{}", told(&format!("{command:?} {lines}"), &output));
    let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    let answers: Vec<Value> = answers.collect::<Result<_, _>>().expect("JSON");
    assert_eq!(answers.len(), lines.lines().count(), "{}", told(lines, &output));
    answers
}

/// Each of them is seen, so that none is equal because nobody looked.
#[test]
fn neighbours_queues_filters_and_flows_are_seen() {
    world(Kind::User, || {
        let far = neighbour("far", 0);
        let mut before = Dump::default();
        read(&[Ns::host()], &mut before);
        assert_eq!(before, Dump::default());
        sh("ip neigh add 198.18.0.7 lladdr 02:00:00:00:00:07 dev up0 nud permanent
            ip neigh add proxy 198.18.0.8 dev up0
            tc qdisc add dev up0 root handle 1: htb
            tc qdisc add dev up0 clsact
            tc filter add dev up0 egress pref 7 protocol ip u32 match u32 0 0 flowid 1:1
            tc filter add dev up0 pref 9 protocol ip u32 match u32 0 0 flowid 1:1
            nft 'add table inet x; add chain inet x y { type filter hook output priority 0; }'
            nft add rule inet x y ct state new accept");
        let server = udp_server(&far.ns, "far", far.v4, 9);
        udp(&Ns::host(), (far.v4, 9).into(), Duration::from_secs(5)).expect("an answer");
        drop(server);
        let mut after = Dump::default();
        read(&[Ns::host(), far.ns.clone()], &mut after);
        let seen: Vec<&str> = after.plain().keys().map(String::as_str).collect();
        let flow = "host flow udp src=198.18.0.1 dst=198.18.0.2 sport=* dport=9 \
                    src=198.18.0.2 dst=198.18.0.1 sport=9 dport=* mark=0";
        let filters = ["", " #2", " #3"].map(|n| format!("host filter up0 pref 9 u32{n}"));
        let others = filters.clone().map(|name| name.replace("up0 pref 9", "up0 egress pref 7"));
        let wanted = [
            &others.each_ref().map(String::as_str)[..],
            &filters.each_ref().map(String::as_str),
            &[flow, "host neigh 198.18.0.7 dev up0", "host neigh 198.18.0.8 dev up0 proxy"],
            &["host qdisc up0 ffff:fff1", "host qdisc up0 root"],
        ];
        assert_eq!(seen, wanted.concat());
        assert_eq!(after.get(seen[7]).expect("it")["lladdr"], "02:00:00:00:00:07");
        assert_eq!(after.get(seen[10]).expect("it")["kind"], "htb");
    });
}
