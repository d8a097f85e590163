//! check: what somebody changed by hand is found, and named; del copes with all of it.

use serde_json::Value;

use super::bed::{DUAL, add, families, netsetup, network, records, refused, run};
use super::common::dump::{assert_same_world, dump};
use super::common::flatten::text;
use super::common::{Kind, dirs, neighbour, ns_add, sh, sh_any, sh_json, sh_out, world};

/// What check must name: where, object, state.
type Named = (&'static str, &'static str, &'static str);

/// A change by hand, and what must be named. VETH is the attachment's, LEASES the
/// directory that leases are in.
const CHANGES: &[(&str, &[Named])] = &[
    ("ip link set VETH down", &[("host", "veth VETH", "it is down")]),
    ("ip link set podkeel-dual down", &[("host", "link podkeel-dual up", "it is down")]),
    ("ip -n pod link set eth0 down", &[("pod", "link eth0 up", "it is down")]),
    ("ip -n pod link set lo down", &[("pod", "link lo up", "it is down")]),
    ("ip link set VETH alias other", &[("host", "veth VETH", "its alias isn't")]),
    ("ip link set VETH nomaster", &[("host", "veth VETH", "it isn't a port of podkeel-dual")]),
    ("ip link set VETH mtu 1300", &[("host", "veth VETH", "its mtu is 1300")]),
    ("ip -n pod link set eth0 mtu 1300", &[("host", "veth VETH", "the mtu of eth0 is 1300")]),
    (
        "ip link set VETH address 02:00:00:00:00:99",
        &[("host", "veth VETH", "its MAC address isn't")],
    ),
    (
        "ip -n pod link set eth0 address 02:00:00:00:00:99",
        &[("host", "veth VETH", "the MAC address of eth0 isn't")],
    ),
    ("ip link set VETH type bridge_slave hairpin off", &[("host", "veth VETH", "hairpin is off")]),
    ("ip link set VETH type bridge_slave isolated on", &[("host", "veth VETH", "isolated is on")]),
    (
        "ip -n pod link set eth0 down && ip -n pod link set eth0 name eth7",
        &[
            ("host", "veth VETH", "its peer eth0 is missing"),
            ("pod", "link eth0 up", "missing"),
            ("pod", "address 10.90.0.9/16 dev eth0", "missing"),
        ],
    ),
    ("ip link del VETH", &[("host", "veth VETH", "missing"), ("pod", "link eth0 up", "missing")]),
    ("ip link set podkeel-dual mtu 1300", &[("host", "bridge podkeel-dual", "its mtu is 1300")]),
    (
        "ip link set podkeel-dual address 02:00:00:00:00:99",
        &[("host", "bridge podkeel-dual", "its MAC address isn't")],
    ),
    (
        "ip addr del 10.90.0.1/16 dev podkeel-dual",
        &[("host", "address 10.90.0.1/16 dev podkeel-dual", "missing")],
    ),
    (
        "ip -6 addr del fd70:6f64:6b65:1::1/64 dev podkeel-dual",
        &[("host", "address fd70:6f64:6b65:1::1/64 dev podkeel-dual", "missing")],
    ),
    (
        "ip -n pod addr del 10.90.0.9/16 dev eth0",
        &[("pod", "address 10.90.0.9/16 dev eth0", "missing")],
    ),
    (
        "ip -n pod addr add 10.90.0.9/24 dev eth0 && ip -n pod addr del 10.90.0.9/16 dev eth0",
        &[("pod", "address 10.90.0.9/16 dev eth0", "its prefix length is 24")],
    ),
    ("ip -n pod route del default", &[("pod", "route default via 10.90.0.1 dev eth0", "missing")]),
    (
        "ip -n pod route replace default via 10.90.0.3 dev eth0",
        &[("pod", "route default via 10.90.0.1 dev eth0", "it leads via 10.90.0.3")],
    ),
    (
        "ip -n pod -6 route del default",
        &[("pod", "route default via fd70:6f64:6b65:1::1 dev eth0", "missing")],
    ),
    (
        "echo 0 >/proc/sys/net/ipv4/ip_forward",
        &[("host", "sysctl net.ipv4.ip_forward=1", "it is 0")],
    ),
    (
        "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
        &[("host", "sysctl net.ipv6.conf.all.forwarding=1", "it is 0")],
    ),
    (
        "echo 1 >/proc/sys/net/ipv6/conf/podkeel-dual/accept_ra",
        &[("host", "sysctl net.ipv6.conf.podkeel-dual.accept_ra=0", "it is 1")],
    ),
    (
        "ip netns exec pod sysctl -qw net.ipv4.tcp_keepalive_time=9",
        &[("pod", "sysctl net.ipv4.tcp_keepalive_time=77", "it is 9")],
    ),
    (
        "nft delete element inet podkeel ports4 '{ tcp . 8080 }'",
        &[("host", "port 0.0.0.0:8080/tcp to 10.90.0.9:80", "missing")],
    ),
    (
        "nft 'delete element inet podkeel ports4 { tcp . 8080 }; \
         add element inet podkeel ports4 { tcp . 8080 : 10.90.0.3 . 80 }'",
        &[("host", "port 0.0.0.0:8080/tcp to 10.90.0.9:80", "it belongs to somebody else")],
    ),
    (
        "nft delete element inet podkeel masq6 '{ fd70:6f64:6b65:1::9 }'",
        &[("host", "masquerade of fd70:6f64:6b65:1::9", "missing")],
    ),
    (
        "nft flush set inet podkeel own4",
        &[("host", "true addresses within 10.90.0.0/16", "missing")],
    ),
    (
        "nft flush table inet podkeel",
        &[("host", "nftables table inet podkeel", "chain publish has other rules than ours")],
    ),
    (
        "nft insert rule inet podkeel publish accept",
        &[("host", "nftables table inet podkeel", "chain publish has other rules than ours")],
    ),
    (
        "nft flush ruleset",
        &[
            ("host", "nftables table inet podkeel", "missing"),
            ("host", "port 0.0.0.0:8080/tcp to 10.90.0.9:80", "missing"),
            ("host", "port [::]:8080/tcp to [fd70:6f64:6b65:1::9]:80", "missing"),
            ("host", "masquerade of 10.90.0.9", "missing"),
        ],
    ),
    ("rm LEASES/dual/10.90.0.9", &[("host", "lease 10.90.0.9 for pod/eth0", "missing")]),
    (
        "printf 'x\\r\\neth0' >LEASES/dual/10.90.0.9",
        &[("host", "lease 10.90.0.9 for pod/eth0", "it is leased to x/eth0")],
    ),
];

const NAME: &str = "dual --netns /run/netns/pod";
const FLAGS: &str = "-p 8080:80 --sysctl net.ipv4.tcp_keepalive_time=77 --ip 10.90.0.9 \
     --ip fd70:6f64:6b65:1::9";

/// What check finds wrong, as where, object and state.
fn wrong(format: &str) -> Vec<[String; 3]> {
    let value: Value = serde_json::from_str(format).unwrap_or_else(|e| panic!("{e}: {format}"));
    let steps = value["steps"].as_array().expect("steps").iter();
    let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let differing = steps.filter(|s| s["state"] != "ok").map(|s| {
        let state = if s["state"] == "missing" { "missing".into() } else { word(&s["difference"]) };
        [word(&s["where"]), word(&s["what"]), state]
    });
    let differing: Vec<_> = differing.collect();
    assert_eq!(value["ok"], differing.is_empty());
    differing
}

/// One change: found in both formats, then del, and the world is as it was.
fn change(command: &str, expected: &[Named]) {
    let veth = text(&sh_json("ip -j link show master podkeel-dual")[0]["ifname"]);
    let with_names = |text: &str| {
        text.replace("VETH", &veth).replace("LEASES", dirs().leases.to_str().expect("UTF-8"))
    };
    assert_eq!(wrong(&netsetup(&format!("check {NAME} --format json"))), [[""; 3]; 0]);
    let command = with_names(command);
    sh(&command);
    let text = refused(&format!("check {NAME}"), 3);
    let found = wrong(&refused(&format!("check {NAME} --format json"), 3));
    for (at, what, state) in expected {
        let what = with_names(what);
        let names = |[a, w, s]: &[String; 3]| a == at && w.starts_with(&what) && s.contains(state);
        assert!(found.iter().any(names), "{command}: {what}: {state} isn't in {found:#?}");
        let line = |l: &str| l.starts_with(at) && l.contains(&what) && l.contains(state);
        assert!(text.lines().any(line), "{command}: {what}: {state} isn't in\n{text}");
    }
    // Only what was changed; what goes with it is named above or is on the same link.
    let more =
        found.iter().filter(|f| !expected.iter().any(|e| f[1].starts_with(&with_names(e.1))));
    let more: Vec<_> = more.map(|f| f.join(" ")).collect();
    println!("{command}: also {more:?}");
}

#[test]
fn whatever_is_changed_by_hand_is_named_and_del_copes() {
    world(Kind::User, || {
        network("dual", DUAL);
        let all = [ns_add("pod"), neighbour("far", 0).ns];
        sh(
            "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
        );
        // Where leases are is there from the first one on.
        add(NAME);
        netsetup(&format!("del {NAME}"));
        let before = dump(&all);
        let keepalive = sh_out("ip netns exec pod cat /proc/sys/net/ipv4/tcp_keepalive_time");
        for (command, expected) in CHANGES {
            add(&format!("{NAME} {FLAGS}"));
            change(command, expected);
            netsetup(&format!("del {NAME}"));
            // What wears another's mark is his, and stays; it goes by hand.
            sh_any(
                "nft delete table inet podkeel; rm -f $PODKEEL_LEASE_DIR/dual/10.90.0.*; \
                    ip -n pod link del eth0; ip link del podkeel-dual",
            );
            sh(&format!("ip netns exec pod sysctl -qw net.ipv4.tcp_keepalive_time={keepalive}"));
            sh(
                "cd /proc/sys/net && echo 1 >ipv4/ip_forward && echo 1 >ipv6/conf/all/forwarding && \
                ip -n pod link set lo up",
            );
            let lines = super::common::dump::diff(&before, &dump(&all));
            assert!(lines.is_empty(), "after {command} and del: {lines:#?}");
        }
        println!("{} changes found", CHANGES.len());
    });
}

#[test]
fn what_is_not_there_cannot_be_checked() {
    world(Kind::User, || {
        network("dual", DUAL);
        ns_add("pod");
        let said = refused(&format!("check {NAME}"), 5);
        assert!(said.contains("cannot check dual/pod/eth0: there is no such attachment"), "{said}");
        add(NAME);
        let record = &records()[..];
        let [record] = record else { panic!("one record, not {record:?}") };
        // Another namespace under the same path.
        sh("ip netns del pod && ip netns add pod");
        let said = refused(&format!("check {NAME}"), 5);
        assert!(said.contains("is another network namespace by now"), "{said}");
        sh("ip netns del pod");
        let said = refused("check dual --id pod", 5);
        assert!(said.contains("its network namespace is gone"), "{said}");
        // Its record alone is gone: what wears its mark is still found by del.
        std::fs::remove_file(record).expect("remove the record");
        refused("check dual --id pod", 5);
        netsetup("del dual --id pod");
        assert!(run("gc").status.success());
        let left = sh_out("ip -br link | awk '{print $1}' | xargs; nft list ruleset");
        assert_eq!(left, "lo");
    });
}

/// Both families of a whole attachment are looked at, and looking changes nothing.
#[test]
fn a_whole_attachment_is_ok_from_first_to_last() {
    world(Kind::User, || {
        let neighbours = super::bed::bed(false);
        let pod = super::bed::pod("pod", "dual", "-p 8080:80 -p [2001:db8:18::1]:7000:80");
        let all = [pod.ns];
        let before = dump(&all);
        let text = netsetup(&format!("check {NAME}"));
        assert_same_world(&before, &dump(&all), &[]);
        for family in families(&neighbours) {
            assert!(text.contains(&format!("masquerade of {}", pod.ips[family.at])), "{text}");
        }
        assert!(text.lines().skip(1).all(|line| line.ends_with("  ok")), "{text}");
    });
}
