//! What the tests here share: netsetup by its command line, networks, and the life of an
//! attachment from explain to del.

use serde_json::{Value, json};

pub(crate) use super::by_hand::{NETSETUP, add, netsetup, refused, run};
use super::common::dump::{Dump, diff, dump};
use super::common::flatten::{items, text};
use super::common::{Ns, dirs, ns_add, sh, sh_any, sh_json, told};
use super::each::each_object;

/// Lays down network `name` with this one plugin.
pub(crate) fn network(name: &str, plugin: &Value) {
    list(name, std::slice::from_ref(plugin));
}

/// Lays down network `name` with these plugins.
pub(crate) fn list(name: &str, plugins: &[Value]) {
    let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins});
    let file = dirs().conf.join(format!("{name}.conflist"));
    std::fs::write(file, list.to_string()).expect("write a conflist");
}

/// Addresses of both families, with a default route for IPv4.
pub(crate) fn both() -> Value {
    json!({"type": "host-local", "ranges": [[{"subnet": "10.5.0.0/24"}], [{"subnet": "fd05::/64"}]],
           "routes": [{"dst": "0.0.0.0/0"}]})
}

/// Keys for addresses of both families in 10.`n` and fd0`n`, with routes to everywhere and to
/// 10.`n`0 and fd`n`0.
pub(crate) fn everywhere(n: u8) -> Value {
    let routes = ["0.0.0.0/0", "::/0", &format!("10.{n}0.0.0/16"), &format!("fd{n}0::/16")];
    let routes: Vec<Value> = routes.iter().map(|dst| json!({"dst": dst})).collect();
    let ranges = [format!("10.{n}.0.0/24"), format!("fd0{n}::/64")];
    let ranges: Vec<Value> = ranges.iter().map(|net| json!([{"subnet": net}])).collect();
    json!({"ipam": {"type": "host-local", "ranges": ranges, "routes": routes}})
}

/// A plugin with addresses of both families and these keys.
pub(crate) fn plugin(kind: &str, more: Value) -> Value {
    let mut plugin = json!({"type": kind, "ipam": both()});
    let (Value::Object(keys), Value::Object(more)) = (&mut plugin, more) else { panic!("keys") };
    keys.extend(more);
    plugin
}

/// Packets that the rules of table `inet seen` have counted, rule by rule.
pub(crate) fn counted(ns: &Ns) -> Vec<u64> {
    let list = ns.sh_json("nft -j list table inet seen");
    let parts = items(&list["nftables"]).iter().flat_map(|entry| items(&entry["rule"]["expr"]));
    parts.filter_map(|part| part["counter"]["packets"].as_u64()).collect()
}

/// Fails where the kernel has no links of this kind: with words that say where it has.
#[track_caller]
pub(crate) fn needs(kind: &str) {
    let with = match kind {
        "vlan" => "link probe0 name probe type vlan id 7".to_owned(),
        "vrf" => "name probe type vrf table 7".to_owned(),
        "ipvlan" | "macvlan" => format!("link probe0 name probe type {kind}"),
        "vxlan" => "name probe type vxlan id 7 dstport 4789".to_owned(),
        // Any kernel that runs tests has these.
        "tap" | "ptp" => return,
        kind => format!("name probe type {kind}"),
    };
    let made = sh_any(&format!(
        "ip link add probe0 type veth peer name probe1; modprobe -q {kind} 2>/dev/null; \
         ip link add {with}; made=$?; ip link del probe 2>/dev/null; ip link del probe0; exit $made"
    ));
    assert!(
        made.status.success(),
        "this kernel has no links of kind {kind}; Linux 6.12 of tests/vm has: {}",
        told("ip link add", &made)
    );
}

/// A host with an uplink `up0` to an Ethernet whose other end is `far`, and a pod. No
/// duplicate address detection changes anything later.
pub(crate) fn host() -> [Ns; 2] {
    sh("cd /proc/sys/net && echo 1 >ipv4/ip_forward && echo 1 >ipv6/conf/all/forwarding && \
        echo 0 | tee ipv6/conf/*/accept_dad >/dev/null");
    let far = super::common::neighbour("far", 0).ns;
    [pod("pod"), far]
}

/// A pod's namespace, without duplicate address detection.
pub(crate) fn pod(name: &str) -> Ns {
    let pod = ns_add(name);
    pod.sh("echo 0 | tee /proc/sys/net/ipv6/conf/*/accept_dad >/dev/null");
    pod
}

/// A driver's network `net`, for a pod `pod`.
#[derive(Default)]
pub(crate) struct Life {
    /// What is there beforehand.
    pub(crate) setup: &'static str,
    /// The list's.
    pub(crate) plugins: Vec<Value>,
    /// What `add` is asked for beside it.
    pub(crate) flags: &'static str,
    /// `explain`, from its second line on.
    pub(crate) explained: &'static str,
    /// Kinds of objects that hands are laid on; none = all. An emulated CPU is slow: there
    /// those that other drivers don't have.
    pub(crate) kinds: &'static [&'static str],
}

const ATTACH: &str = "net --netns /run/netns/pod";

impl Life {
    /// All of it, in the caller's world.
    pub(crate) fn run(&self) {
        let all = host();
        sh(self.setup);
        list("net", &self.plugins);
        // Once around: where leases are is there from the first one on.
        add(&format!("{ATTACH} {}", self.flags));
        netsetup(&format!("del {ATTACH}"));
        let before = settled(&all);
        self.explains();
        assert_eq!(diff(&before, &dump(&all)), [""; 0], "explain has changed something");
        self.is_answered();
        let (changes, cannot) = each_object(ATTACH, self.flags, self.kinds);
        assert_eq!(left(&before, &all), [""; 0], "after {changes} changes by hand and del");
        println!("{changes} changes found; {cannot:#?}");
    }

    fn explains(&self) {
        let text = netsetup(&format!("explain {ATTACH} {}", self.flags));
        let lines = text.lines().skip(1).map(without_ids);
        let text: Vec<String> = lines.filter(|line| !line.starts_with("own: ")).collect();
        let wanted: Vec<&str> = self.explained.trim().lines().map(str::trim).collect();
        assert_eq!(text, wanted, "explain prints\n{}", text.join("\n"));
    }

    /// The answer names the interface as it is, and a second add is refused.
    fn is_answered(&self) {
        let result = add(&format!("{ATTACH} {}", self.flags));
        if let Some(interfaces) = result["interfaces"].as_array() {
            let inner = interfaces.iter().find(|one| one["sandbox"] == "/run/netns/pod");
            let inner = inner.unwrap_or_else(|| panic!("the pod's interface is missing: {result}"));
            let is = text(&sh_json("ip -n pod -j link show dev eth0")[0]["address"]);
            assert_eq!(inner["mac"], is, "{result}");
        }
        let said = refused(&format!("add {ATTACH}"), 4);
        assert!(said.contains("it is attached already"), "{said}");
        netsetup(&format!("check {ATTACH}"));
        netsetup(&format!("del {ATTACH}"));
        netsetup(&format!("del {ATTACH}"));
    }
}

/// A line with runs of blanks as one, and what is a hash as a word for it.
fn without_ids(line: &str) -> String {
    let is_hex = |word: &str| word.bytes().all(|b| b.is_ascii_hexdigit());
    let words = line.split_whitespace().map(|word| match word.rsplit_once("/pins/") {
        Some((_, name)) if name.len() >= 14 && is_hex(name) => "RUN/pins/ID".to_owned(),
        _ if word.len() == 17 && word.starts_with("02:") => "02:MAC".to_owned(),
        _ if word.starts_with("fe80::") => "fe80::MAC".to_owned(),
        _ => {
            let name = word.find("pk").and_then(|at| word.get(at..at + 14));
            match name.filter(|name| is_hex(&name[2..])) {
                Some(name) => word.replace(name, "VETH"),
                None => word.to_owned(),
            }
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What is different from before, once the kernel is done with links that went up.
pub(crate) fn left(before: &Dump, all: &[Ns]) -> Vec<String> {
    let mut lines = diff(before, &dump(all));
    for _ in 0..20 {
        if lines.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        lines = diff(before, &dump(all));
    }
    lines
}

/// What is told, once it has this in it.
pub(crate) fn in_time(told: impl Fn() -> String, says: &str) -> String {
    for _ in 0..200 {
        let text = told();
        if text.contains(says) {
            return text;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{says} isn't in\n{}", told());
}

/// A state of the world that stays: the kernel may see to a link's carrier up to a second later
/// (linkwatch), and to the routes that it gets by it.
pub(crate) fn settled(all: &[Ns]) -> Dump {
    let (mut last, mut same) = (dump(all), 0);
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(600));
        let now = dump(all);
        same = if now == last { same + 1 } else { 0 };
        if same == 2 {
            return now;
        }
        last = now;
    }
    panic!("the world does not come to rest");
}

/// Whether one namespace reaches an address: one ping.
pub(crate) fn reaches(from: &Ns, to: &str) -> bool {
    from.sh_any(&format!("ping -c 1 -W 1 -n {to}")).status.success()
}
