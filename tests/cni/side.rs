//! Both ways over: a node that changes from the reference to ours or back, with pods alive.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::call::{Plugins, Who, bridge, files, host_local, leases, ours, reference, who, with};
use super::common::traffic::{tcp, tcp_server};
use super::common::{Kind, Neighbour, Ns, dirs, neighbour, ns_add, ns_del, sh, sh_out, world};

const SHORT: Duration = Duration::from_millis(500);

#[test]
fn a_change_over_in_both_directions() {
    world(Kind::User, || {
        let (ours, theirs) = (ours(), reference());
        let conf = bridge("1.0.0");
        for (before, after) in [(&theirs, &ours), (&ours, &theirs)] {
            for name in ["a", "b", "c"] {
                ns_add(name);
            }
            let told = |name: &str, result: &Value| {
                (who(name), with(conf.clone(), json!({"prevResult": result})))
            };
            let old = ["a", "b"].map(|name| before.ok("ADD", &who(name), &conf));
            // A new pod on the same bridge, with an address of its own, reaches an old one.
            let new = after.ok("ADD", &who("c"), &conf);
            let ips: Vec<&Value> =
                old.iter().chain([&new]).map(|r| &r["ips"][0]["address"]).collect();
            assert!(ips[0] != ips[1] && ips[1] != ips[2] && ips[0] != ips[2], "{ips:?}");
            let ip = ips[0].as_str().unwrap().split('/').next().unwrap();
            sh_out(&format!("ip netns exec c ping -c 1 -W 2 {ip}"));
            for (name, result) in ["a", "b"].iter().zip(&old) {
                let (who, conf) = told(name, result);
                after.ok("CHECK", &who, &conf);
                after.ok("DEL", &who, &conf);
                assert!(!sh_out(&format!("ip -n {name} -br link")).contains("eth0"));
            }
            after.ok("DEL", &who("c"), &conf);
            let left = files(&leases("net"));
            assert!(
                left.iter().all(|(name, _)| name == "lock" || name.starts_with("last_")),
                "{left:?}"
            );
            for name in ["a", "b", "c"] {
                ns_del(name);
            }
        }
    });
}

/// A chain with all that makes rules or settings, the pod's port 80 published as `port`.
fn chain(main: &Value, port: u16) -> Vec<Value> {
    let plugin = |more: Value| with(json!({"cniVersion": "1.0.0", "name": "net"}), more);
    vec![
        with(main.clone(), json!({"ipMasq": true})),
        plugin(json!({"type": "portmap", "capabilities": {"portMappings": true}, "runtimeConfig":
            {"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]}})),
        plugin(json!({"type": "firewall", "backend": "iptables"})),
        plugin(json!({"type": "tuning", "mtu": 1400, "promisc": true})),
    ]
}

/// A pod with its chain, and a server on each of its addresses.
struct Pod {
    who: Who,
    list: Vec<Value>,
    result: Value,
}

impl Pod {
    fn new(plugins: &Plugins, name: &str, main: &Value, port: u16) -> Pod {
        let ns = ns_add(name);
        Pod::on(&ns, plugins, main, port)
    }

    fn on(ns: &Ns, plugins: &Plugins, main: &Value, port: u16) -> Pod {
        let (who, list) = (who(&ns.name), chain(main, port));
        let result = plugins.chain("ADD", &who, &list, &Value::Null);
        for ip in result["ips"].as_array().expect("addresses") {
            let ip = ip["address"].as_str().expect("an address").split('/').next();
            let ip: IpAddr = ip.expect("an address").parse().expect("an address");
            tcp_server(ns, &ns.name, ip, 80);
        }
        Pod { who, list, result }
    }

    fn del(&self, plugins: &Plugins) {
        plugins.chain("DEL", &self.who, &self.list, &self.result);
    }
}

/// A runtime's DEL of our pod by the reference's plugins. Their bridge fails once it has removed
/// the interface, for it finds no chain of its own; asked again, it finds nothing, and that is
/// well.
fn del_by(theirs: &Plugins, pod: &Pod) {
    let Pod { who, list, result } = pod;
    theirs.chain("DEL", who, &list[1..], result);
    let conf = with(list[0].clone(), json!({"prevResult": result}));
    let (_, msg) = theirs.fails("DEL", who, &conf);
    assert!(msg.contains("does not exist"), "{msg}");
    theirs.ok("DEL", who, &conf);
}

/// Who answers at a port of the host, over both families.
fn who_answers(far: &Neighbour, port: u16) -> [Option<String>; 2] {
    let ips: [IpAddr; 2] = [far.host_v4.into(), far.host_v6.into()];
    ips.map(|ip| tcp(&far.ns, (ip, port).into(), SHORT).ok().map(|answer| answer.server))
}

#[track_caller]
fn answers(far: &Neighbour, port: u16, name: &str) {
    let both = [Some(name.to_owned()), Some(name.to_owned())];
    assert_eq!(who_answers(far, port), both, "{}", rules());
}

fn rules() -> String {
    sh_out("iptables-save; ip6tables-save; nft list table inet podkeel 2>/dev/null || true")
}

/// Rules of this pod that iptables has: by its id, its addresses, its chains.
fn rules_of(pod: &Pod) -> Vec<String> {
    let ips = pod.result["ips"].as_array().expect("addresses").iter();
    let ips: Vec<&str> = ips.filter_map(|ip| ip["address"].as_str()?.split('/').next()).collect();
    let ends = ["/", ":", "]"];
    let is_its = |line: &str| {
        line.contains(&format!("id: \\\"{}\\\"", pod.who.container))
            || ips.iter().any(|ip| ends.iter().any(|end| line.contains(&format!("{ip}{end}"))))
    };
    let all = sh_out("iptables-save; ip6tables-save");
    all.lines().filter(|line| is_its(line)).map(str::to_owned).collect()
}

fn ptp() -> Value {
    let subnets = ["10.78.0.0/24", "fd78::/64"];
    json!({"cniVersion": "1.0.0", "name": "net", "type": "ptp", "ipam": with(host_local(&subnets),
        json!({"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}))})
}

/// What the reference made for a pod goes with our DEL, its rules too, and no other's; the
/// port is a new pod's, packets say so.
#[test]
fn rules_of_the_reference_go_with_our_del() {
    world(Kind::User, || {
        let (far, ours, theirs) = (neighbour("far", 0), ours(), reference());
        for main in [bridge("1.0.0"), ptp()] {
            let a = Pod::new(&theirs, "a", &main, 8080);
            let b = Pod::new(&theirs, "b", &main, 8081);
            answers(&far, 8080, "a");
            let of_b = rules_of(&b);
            assert!(of_b.len() > 10, "{}", rules());
            assert!(std::path::Path::new("/run/cni/tuning/a_eth0.json").exists());
            a.del(&ours);
            assert_eq!(rules_of(&a), [""; 0], "{}", rules());
            assert_eq!(sh_out("iptables-save; ip6tables-save").matches(":CNI-DN-").count(), 2);
            assert!(!std::path::Path::new("/run/cni/tuning/a_eth0.json").exists());
            assert_eq!(rules_of(&b), of_b, "{}", rules());
            answers(&far, 8081, "b");
            let c = Pod::new(&ours, "c", &main, 8080);
            answers(&far, 8080, "c");
            // One whose namespace has gone before, asked twice.
            ns_del("b");
            b.del(&ours);
            b.del(&ours);
            assert_eq!(rules_of(&b), [""; 0], "{}", rules());
            c.del(&ours);
            assert!(!dirs().run.exists(), "{}", sh_out("find /run"));
            let left = files(&leases("net"));
            assert!(left.iter().all(|(n, _)| n == "lock" || n.starts_with("last_")), "{left:?}");
            ["a", "c"].into_iter().for_each(ns_del);
        }
    });
}

/// Where the reference's plugins delete what ours have made, its ports and addresses are still
/// a dead pod's: the next pod of ours takes them, and gc all.
#[test]
fn what_the_reference_leaves_of_ours() {
    world(Kind::User, || {
        let (far, ours, theirs) = (neighbour("far", 0), ours(), reference());
        let main = bridge("1.0.0");
        let (a, b) = (Pod::new(&ours, "a", &main, 8080), Pod::new(&ours, "b", &main, 8081));
        answers(&far, 8080, "a");
        // While the pod lives, the port is its own, whatever became of its interface.
        del_by(&theirs, &a);
        let ns = ns_add("c");
        let claims = |port: u16| {
            let result = ours.ok("ADD", &who("c"), &main);
            let conf = with(chain(&main, port)[1].clone(), json!({"prevResult": result}));
            let failed = ours.fails("ADD", &who("c"), &conf);
            ours.ok("DEL", &who("c"), &main);
            failed
        };
        let (code, msg) = claims(8080);
        assert!(code == 104 && msg.contains("taken by net/a/eth0"), "{code}: {msg}");
        ns_del("a");
        // The reference has given the address away, too.
        sh(&format!("echo 10.77.0.1 >{}/last_reserved_ip.0", leases("net").display()));
        let c = Pod::on(&ns, &ours, &main, 8080);
        assert_eq!(c.result["ips"][0]["address"], a.result["ips"][0]["address"]);
        answers(&far, 8080, "c");
        c.del(&ours);
        // Back at the reference for good.
        del_by(&theirs, &b);
        ns_del("b");
        let gc =
            format!("PODKEEL_RUN_DIR={} {}", dirs().run.display(), env!("CARGO_BIN_EXE_netsetup"));
        sh(&format!("{gc} gc"));
        assert!(!dirs().run.exists(), "{}", sh_out("find /run"));
        assert!(!sh_out("nft list tables").contains("podkeel"), "{}", rules());
        let d = Pod::new(&theirs, "d", &main, 8081);
        answers(&far, 8081, "d");
        d.del(&theirs);
    });
}

/// A pod that keeps its namespace gets its interface again, from whichever plugins.
#[test]
fn the_same_pod_again() {
    world(Kind::User, || {
        let (far, ours, theirs) = (neighbour("far", 0), ours(), reference());
        let (main, ns) = (bridge("1.0.0"), ns_add("a"));
        let a = Pod::on(&ns, &ours, &main, 8080);
        del_by(&theirs, &a);
        let a = Pod::on(&ns, &ours, &main, 8080);
        answers(&far, 8080, "a");
        a.del(&ours);
        assert!(!dirs().run.exists(), "{}", sh_out("find /run"));
    });
}

/// What newer ones make with their nftables backends.
#[test]
fn rules_of_the_references_nftables_backends() {
    world(Kind::User, || {
        let ours = ours();
        let hashes = "0123456789abcdef-fedcba9876543210";
        let long = "c".repeat(64);
        let net = "a-network-with-a-name";
        let cut: String = format!("{hashes}, net: {net}, if: eth0, id: {long}")[..127].into();
        let masq = |comment: &str| {
            format!(
                "ip saddr 10.77.0.2 ip daddr != 10.77.0.0/24 masquerade comment \"{comment}\"\n"
            )
        };
        let dnat = |port: u16, id: &str| {
            format!("tcp dport {port} dnat to 10.77.0.2:80 comment \"{id}\"\n")
        };
        let script = format!(
            "table inet cni_plugins_masquerade {{ chain masq_checks {{\n{}{}{}{} }}; }}\n\
             table ip cni_hostport {{ chain hostports {{\n{}{} }}; chain masquerading {{\n{} }}; }}\n",
            masq(&format!("{hashes}, net: net, if: eth0, id: a")),
            masq(&format!("{hashes}, net: net, if: eth0, id: ab")),
            masq(&format!("{hashes}, net: other, if: eth0, id: a")),
            masq(&cut),
            dnat(8080, "a"),
            dnat(8081, "ab"),
            "ip saddr 10.77.0.2 ip daddr 10.77.0.2 masquerade comment \"a\"\n",
        );
        sh(&format!("nft -f - <<'EOF'\n{script}\nEOF"));
        let listed = || sh_out("nft list ruleset").matches("comment").count();
        assert_eq!(listed(), 7);
        ns_add("a");
        let list = chain(&bridge("1.0.0"), 8080);
        ours.chain("DEL", &who("a"), &list, &Value::Null);
        let left = sh_out("nft list ruleset");
        assert_eq!(listed(), 4, "{left}");
        assert!(!left.contains("if: eth0, id: a\"") || left.contains("net: other"), "{left}");
        assert!(left.contains("\"ab\"") && left.contains("id: ab\""), "{left}");
        let who = Who { container: long, ..who("a") };
        ours.ok("DEL", &who, &with(bridge("1.0.0"), json!({"name": net})));
        assert_eq!(listed(), 3, "{}", sh_out("nft list ruleset"));
    });
}
