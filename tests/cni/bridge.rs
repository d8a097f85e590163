//! bridge, ptp and loopback: what is made, and that it goes, whatever happened meanwhile.

use std::io::ErrorKind;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::call::{Plugins, Who, bridge, files, host_local, leases, ours, reference, who, with};
use super::common::dump::{assert_same_world, dump};
use super::common::traffic::{tcp, tcp_server, udp};
use super::common::{Kind, Ns, dirs, neighbour, ns_add, ns_del, sh, sh_out, world};

const WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// What an ADD leaves on purpose, as the reference does: the bridge with what belongs to
/// it, forwarding, and where the next search for an address begins.
const STAYS: &[&str] = &[
    "host link br-cni: added",
    "host addr br-cni *: added",
    "host route * dev br-cni *: added",
    "host route -6 * dev br-cni *: added",
    "host sysctl net.ipv*.conf.br-cni.*: added",
    "host sysctl net.ipv*.neigh.br-cni.*: added",
    "host sysctl net.ipv4.ip_forward: value 0 -> 1",
    "host sysctl net.ipv*.conf.*.forwarding: value 0 -> 1",
    "host sysctl net.ipv4.conf.all.accept_redirects: value 1 -> 0",
    "file /run/scratch/*: added",
];

#[test]
fn the_bridge_stays_and_nothing_else_does() {
    world(Kind::User, || {
        let (pod, plugins) = (ns_add("a"), ours());
        let conf = with(bridge("1.0.0"), json!({"ipMasq": true}));
        let before = dump(std::slice::from_ref(&pod));
        plugins.ok("ADD", &who("a"), &conf);
        plugins.ok("DEL", &who("a"), &conf);
        let after = dump(std::slice::from_ref(&pod));
        assert_same_world(&before, &after, &allowed());
        assert!(sh_out("ip -br link show br-cni").contains("br-cni"));
        // From here on nothing at all differs any more.
        plugins.ok("ADD", &who("a"), &conf);
        plugins.ok("DEL", &who("a"), &conf);
        plugins.ok("DEL", &who("a"), &conf);
        let last = &["file *last_reserved_ip*"];
        assert_same_world(&after, &dump(&[pod]), last);
        assert!(!dirs().run.exists(), "no record is left");
    });
}

fn allowed() -> Vec<&'static str> {
    [STAYS, &["file *: added", "host * br-cni*: added", "host * multicast *: added"]].concat()
}

/// The same results but for names and link-layer addresses, in every version.
#[test]
fn results_are_the_references() {
    world(Kind::User, || {
        ns_add("a");
        for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"] {
            for more in [
                json!({}),
                json!({"isDefaultGateway": true, "ipam": host_local(&["10.77.0.0/24", "fd77::/64"]), "dns": {"nameservers": ["10.77.0.1"], "search": ["x"]}}),
                json!({"isGateway": false}),
                json!({"ipam": {}, "isGateway": false}),
            ] {
                // The first versions have no way to say that there is no address.
                if more["ipam"] == json!({}) && ["0.1.0", "0.2.0"].contains(&version) {
                    continue;
                }
                let conf = with(bridge(version), more);
                let answers = [ours(), reference()].map(|plugins| {
                    sh(&format!("rm -rf {}", leases("net").display()));
                    let result = plugins.ok("ADD", &who("a"), &conf);
                    plugins.ok("DEL", &who("a"), &conf);
                    sh("ip link del br-cni");
                    plain(result).to_string()
                });
                // As text: the order of the keys counts, too.
                assert_eq!(answers[0], answers[1], "{conf}");
            }
        }
    });
}

/// A result without what the specification leaves free.
fn plain(mut result: Value) -> Value {
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        interface["mac"] = json!("free");
        if interface.get("sandbox").is_none() && interface["name"] != "br-cni" {
            interface["name"] = json!("free");
        }
    }
    result
}

/// Who reaches whom, and with which address, is the same through both.
#[test]
fn packets_go_as_with_the_reference() {
    world(Kind::User, || {
        let (far, a, b) = (neighbour("far", 0), ns_add("a"), ns_add("b"));
        let _far = tcp_server(&far.ns, "far", far.v4, 80);
        let seen = [ours(), reference()].map(|plugins| {
            let conf = with(bridge("1.0.0"), json!({"ipMasq": true}));
            let [ip_a, ip_b] =
                ["a", "b"].map(|name| address(&plugins.ok("ADD", &who(name), &conf)));
            let server = tcp_server(&b, "b", ip_b, 80);
            let from = |ns: &Ns, to: std::net::SocketAddr| {
                tcp(ns, to, WITHIN).map(|answer| answer.peer.ip()).map_err(|e| e.kind())
            };
            let seen = [
                from(&a, (far.v4, 80).into()),
                from(&a, (ip_b, 80).into()).map(|ip| if ip == ip_a { [0; 4].into() } else { ip }),
                from(&Ns::host(), (ip_b, 80).into()),
                from(&far.ns, (ip_b, 80).into()),
            ];
            drop(server);
            for name in ["a", "b"] {
                plugins.ok("DEL", &who(name), &conf);
            }
            sh("ip link del br-cni");
            format!("{seen:?}")
        });
        assert_eq!(seen[0], seen[1]);
        assert!(seen[0].contains("198.18.0.1"), "masqueraded: {}", seen[0]);
    });
}

/// The IPv4 address of a result.
pub(crate) fn address(result: &Value) -> std::net::IpAddr {
    let ips = result["ips"].as_array().expect("addresses").iter();
    let texts = ips.map(|ip| ip["address"].as_str().expect("an address"));
    let first = texts.map(|t| t.split('/').next().expect("one")).find(|t| t.contains('.'));
    first.expect("IPv4").parse().expect("an address")
}

#[test]
fn a_repeated_add_is_refused_and_harms_nothing() {
    world(Kind::User, || {
        ns_add("a");
        let (plugins, conf) = (ours(), bridge("1.0.0"));
        let result = plugins.ok("ADD", &who("a"), &conf);
        let (code, msg) = plugins.fails("ADD", &who("a"), &conf);
        assert_eq!(code, 104, "{msg}");
        let told = with(conf.clone(), json!({"prevResult": result}));
        plugins.ok("CHECK", &who("a"), &told);
        plugins.ok("DEL", &who("a"), &told);
        plugins.ok("ADD", &who("a"), &conf);
    });
}

/// What a DEL may lack: the namespace, its path, the previous result, the record (which a
/// reboot takes along); and what made the attachment may have been the reference.
#[test]
fn del_takes_away_whatever_is_left() {
    world(Kind::User, || {
        let (plugins, conf) = (ours(), with(bridge("1.0.0"), json!({"ipMasq": true})));
        type Lose = fn(&mut Who);
        let cases: [(&str, Lose); 5] = [
            ("nothing is lost", |_| {}),
            ("CNI_NETNS is empty", |who| who.netns.clear()),
            ("the namespace is gone", |who| ns_del(&who.container)),
            ("the record is gone", |_| sh_quiet("rm -rf $PODKEEL_RUN_DIR")),
            ("both are gone", |who| {
                who.netns.clear();
                sh_quiet("rm -rf $PODKEEL_RUN_DIR; ip netns del a");
            }),
        ];
        for (made_by, maker) in [("ours", ours()), ("the reference", reference())] {
            for (case, lose) in &cases {
                ns_add("a");
                let mut who = who("a");
                maker.ok("ADD", &who, &conf);
                lose(&mut who);
                plugins.ok("DEL", &who, &conf);
                plugins.ok("DEL", &who, &conf);
                let left = files(&leases("net"));
                let is_hint = |name: &str| name.starts_with("last_reserved_ip") || name == "lock";
                assert!(left.iter().all(|(name, _)| is_hint(name)), "{made_by}, {case}: {left:?}");
                let empty_by_reference = made_by != "ours" && *case == "CNI_NETNS is empty";
                if !empty_by_reference {
                    // A namespace that is gone takes the reference's veth along, in its own
                    // time: one worker of the kernel's does it for all that are ending.
                    let ports = || sh_out("ip -br link show master br-cni");
                    let end = Instant::now() + Duration::from_secs(20);
                    let gone = made_by != "ours" && !sh_out("ip netns").contains('a');
                    while gone && !ports().is_empty() && Instant::now() < end {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    assert_eq!(ports(), "", "{made_by}, {case}");
                }
                if made_by == "ours" {
                    // Who shares what is only known to records: without any, it is gc's.
                    let rules = sh_out("nft list ruleset");
                    assert!(!rules.contains("net/a/eth0"), "{made_by}, {case}: {rules}");
                    assert!(*case != "nothing is lost" || rules.is_empty(), "{case}: {rules}");
                }
                sh_quiet("ip netns del a 2>/dev/null; ip link del br-cni");
            }
        }
    });
}

fn sh_quiet(command: &str) {
    super::common::sh_any(command);
}

#[test]
fn check_finds_what_changed() {
    world(Kind::User, || {
        let (pod, plugins) = (ns_add("a"), ours());
        let conf = with(bridge("1.0.0"), json!({"ipMasq": true}));
        let checks = |how: &str| {
            let result = plugins.ok("ADD", &who("a"), &conf);
            let told = with(conf.clone(), json!({"prevResult": result}));
            plugins.ok("CHECK", &who("a"), &told);
            pod.sh(how);
            let (code, msg) = plugins.fails("CHECK", &who("a"), &told);
            assert_eq!(code, 103, "{how}: {msg}");
            plugins.ok("DEL", &who("a"), &told);
            msg
        };
        assert!(checks("ip addr del 10.77.0.2/24 dev eth0").contains("address 10.77.0.2/24"));
        assert!(checks("ip -6 route del default").contains("route default"));
        assert!(checks("ip link set eth0 down").contains("eth0"));
        assert!(checks("ip link del eth0").contains("veth"));
        assert!(
            checks("nsenter --net=/proc/1/ns/net nft flush set inet podkeel masq4")
                .contains("masq")
        );
        // What the reference made is compared with what the runtime was told.
        let result =
            reference().ok("ADD", &who("a"), &with(conf.clone(), json!({"ipMasq": false})));
        let told = with(conf.clone(), json!({"prevResult": result}));
        plugins.ok("CHECK", &who("a"), &told);
        pod.sh("ip -6 addr flush dev eth0 scope global");
        let (code, msg) = plugins.fails("CHECK", &who("a"), &told);
        assert_eq!(code, 103, "{msg}");
        plugins.ok("DEL", &who("a"), &told);
    });
}

#[test]
fn keys_of_the_bridge() {
    world(Kind::User, || {
        let (pod, plugins) = (ns_add("a"), ours());
        let port = || sh_out("ip -d link show master br-cni");
        let add = |who: &Who, more: Value| {
            let conf = with(bridge("1.0.0"), more);
            (plugins.ok("ADD", who, &conf), conf)
        };
        let done = |(_, conf): (Value, Value)| {
            plugins.ok("DEL", &who("a"), &conf);
            sh("ip link del br-cni");
        };
        let made = add(&who("a"), json!({"hairpinMode": true, "portIsolation": true, "mtu": 1400}));
        assert!(port().contains("hairpin on") && port().contains("isolated on"), "{}", port());
        assert!(pod.sh_out("ip link show eth0").contains("mtu 1400"));
        done(made);
        let made = add(&who("a"), json!({"promiscMode": true}));
        assert!(sh_out("ip -d link show br-cni").contains("promiscuity 1"));
        done(made);
        // A bridge that is there already becomes promiscuous, too.
        sh("ip link add br-cni type bridge");
        let made = add(&who("a"), json!({"promiscMode": true}));
        assert!(sh_out("ip -d link show br-cni").contains("promiscuity 1"));
        done(made);
        let mac = |n: u8| format!("02:00:00:00:00:0{n}");
        let by_env = Who { args: format!("MAC={}", mac(1)), ..who("a") };
        for (who, more, wins) in [
            (by_env.clone(), json!({}), 1),
            (by_env.clone(), json!({"args": {"cni": {"mac": mac(2)}}}), 2),
            (
                by_env,
                json!({"args": {"cni": {"mac": mac(2)}}, "runtimeConfig": {"mac": mac(3)}}),
                3,
            ),
        ] {
            let who = Who { args: format!("IgnoreUnknown=1;{}", who.args), ..who };
            let made = add(&who, more);
            assert_eq!(made.0["interfaces"][2]["mac"], mac(wins));
            assert!(pod.sh_out("ip link show eth0").contains(&mac(wins)));
            done(made);
        }
    });
}

/// Duplicate address detection: waited for, and a duplicate is an error.
#[test]
fn the_kernel_asks_around_where_it_is_told_to() {
    world(Kind::User, || {
        let (pod, plugins) = (ns_add("a"), ours());
        let conf = with(bridge("1.0.0"), json!({"enabledad": true}));
        pod.sh("echo 1 | tee /proc/sys/net/ipv6/conf/*/accept_dad >/dev/null");
        plugins.ok("ADD", &who("a"), &conf);
        let flags = pod.sh_out("ip -6 addr show dev eth0 scope global");
        assert!(flags.contains("fd77::2/64") && !flags.contains("nodad"), "{flags}");
        assert!(!flags.contains("tentative"), "{flags}");
        plugins.ok("DEL", &who("a"), &conf);
        // Somebody on the bridge has the next address already.
        sh("ip addr add fd77::3/64 dev br-cni nodad");
        let (code, msg) = plugins.fails("ADD", &who("a"), &conf);
        assert!(code == 104 && msg.contains("fd77::3 is another's"), "{code}: {msg}");
        assert!(!pod.sh_out("ip -br link").contains("eth0"), "it is taken back");
        let left = files(&leases("net"));
        assert!(left.iter().all(|(name, _)| name.starts_with("last_")), "{left:?}");
    });
}

#[test]
fn an_interface_that_stays_down() {
    world(Kind::User, || {
        sh("ip netns add a");
        let plugins = ours();
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br-cni",
            "disableContainerInterface": true});
        let result = plugins.ok("ADD", &who("a"), &conf);
        assert!(!sh_out("ip -n a link").contains(",UP"), "neither eth0 nor lo is up");
        plugins.ok("CHECK", &who("a"), &with(conf.clone(), json!({"prevResult": result})));
        plugins.ok("DEL", &who("a"), &conf);
        let both = with(bridge("1.0.0"), json!({"disableContainerInterface": true}));
        assert_eq!(plugins.fails("ADD", &who("a"), &both).0, 7);
    });
}

/// A bridge with another address is refused; with forceAddress it changes.
#[test]
fn another_address_of_the_bridge() {
    world(Kind::User, || {
        ns_add("a");
        for plugins in [ours(), reference()] {
            sh("ip link add br-cni type bridge && ip addr add 10.99.0.1/24 dev br-cni");
            let conf = with(bridge("1.0.0"), json!({"ipam": host_local(&["10.77.0.0/24"])}));
            let (_, msg) = plugins.fails("ADD", &who("a"), &conf);
            assert!(msg.contains("already has"), "{msg}");
            plugins.ok("DEL", &who("a"), &conf);
            sh("ip link del br-cni");
        }
        // The address of a network that was given another subnet since.
        let before = with(bridge("1.0.0"), json!({"ipam": host_local(&["10.99.0.0/24"])}));
        let after = with(bridge("1.0.0"), json!({"forceAddress": true}));
        for plugins in [ours(), reference()] {
            plugins.ok("ADD", &who("a"), &before);
            plugins.ok("DEL", &who("a"), &before);
            plugins.ok("ADD", &who("a"), &after);
            let there = sh_out("ip -4 -br addr show br-cni");
            assert!(there.contains("10.77.0.1/24") && !there.contains("10.99"), "{there}");
            plugins.ok("DEL", &who("a"), &after);
            sh("ip link del br-cni");
        }
    });
}

#[test]
fn point_to_point() {
    world(Kind::User, || {
        let (far, a, b) = (neighbour("far", 0), ns_add("a"), ns_add("b"));
        let _far = tcp_server(&far.ns, "far", far.v4, 80);
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "ptp", "ipMasq": true, "mtu": 1400,
            "ipam": with(host_local(&["10.77.0.0/24", "fd77::/64"]), json!({"routes": [{"dst": "0.0.0.0/0"}]}))});
        let _b = tcp_server(&b, "b", std::net::Ipv4Addr::UNSPECIFIED, 80);
        let before = dump(&[a.clone(), b.clone()]);
        let answers = [reference(), ours()].map(|plugins| {
            sh(&format!("rm -rf {}", leases("net").display()));
            let results = ["a", "b"].map(|name| plugins.ok("ADD", &who(name), &conf));
            let ip_b = address(&results[1]);
            let from =
                |to: (std::net::IpAddr, u16)| tcp(&a, to.into(), WITHIN).map(|x| x.peer.ip()).ok();
            let seen = [from((far.v4.into(), 80)), from((ip_b, 80))];
            let routes = a.sh_out("ip route | sed 's/ proto [0-9]*//; s/ src [0-9.]*//' | sort");
            let told = with(conf.clone(), json!({"prevResult": results[0]}));
            plugins.ok("CHECK", &who("a"), &told);
            for name in ["a", "b"] {
                plugins.ok("DEL", &who(name), &conf);
            }
            (results.map(|r| plain(r).to_string()), seen, words(&routes))
        });
        assert_eq!(answers[0], answers[1]);
        assert!(answers[0].1.iter().all(Option::is_some), "{answers:?}");
        let forwarding = &[
            "*forwarding: value 0 -> 1",
            "*ip_forward: value 0 -> 1",
            "*accept_redirects*",
            "file *",
            "* table filter*",
            "* nat *",
            "*CNI*",
            "host nft*",
            "* anycast*",
            "* lo*",
        ];
        assert_same_world(&before, &dump(&[a, b]), forwarding);
    });
}

/// Nothing that is sent to the pod from ADD on is lost, however long the kernel takes to see
/// to a link's carrier: somebody else makes and removes links all the time.
#[test]
fn the_first_packet_of_a_point_to_point_arrives() {
    world(Kind::User, || {
        ns_add("busy");
        let links = "while :; do for i in $(seq 100); do echo link add v$i group 7 type veth; done \
                     | ip -n busy -batch - && ip -n busy link set group 7 up; \
                     ip -n busy link del group 7; done";
        let mut busy = Command::new("sh").args(["-c", links]).spawn().expect("sh");
        let ipam = json!({"type": "static", "addresses": [{"address": "10.77.0.9/24"}]});
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "ptp", "ipam": ipam});
        let plugins = ours();
        for round in 0..40 {
            ns_add("a");
            plugins.ok("ADD", &who("a"), &conf);
            // Nobody listens: the pod says so.
            let said = udp(&Ns::host(), ([10, 77, 0, 9], 9).into(), WITHIN / 4).err();
            let refused = said.as_ref().is_some_and(|e| e.kind() == ErrorKind::ConnectionRefused);
            assert!(refused, "round {round}: {said:?}");
            plugins.ok("DEL", &who("a"), &conf);
            ns_del("a");
        }
        busy.kill().and_then(|()| busy.wait()).expect("sh ends");
    });
}

/// Lines of words: blanks at their ends are no difference.
fn words(text: &str) -> Vec<Vec<String>> {
    text.lines().map(|l| l.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn the_pods_own_lo() {
    world(Kind::User, || {
        sh("ip netns add a");
        let lo = Who { ifname: "lo".into(), ..who("a") };
        let conf = json!({"cniVersion": "1.0.0", "name": "cni-loopback", "type": "loopback"});
        let answers = [reference(), ours()].map(|plugins: Plugins| {
            let result = plugins.ok("ADD", &lo, &conf);
            assert!(sh_out("ip -n a link show lo").contains(",UP"));
            assert_eq!(plugins.ok("ADD", &lo, &conf), result, "once more");
            let told = with(conf.clone(), json!({"prevResult": result}));
            plugins.ok("CHECK", &lo, &told);
            plugins.ok("DEL", &lo, &conf);
            plugins.ok("DEL", &lo, &conf);
            assert!(!sh_out("ip -n a link show lo").contains(",UP"));
            result.to_string()
        });
        assert_eq!(answers[0], answers[1]);
        assert!(!dirs().run.exists(), "no record is left");
    });
}
