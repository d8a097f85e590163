//! A dump sees every kind of change, names it, and nothing that changes by itself.

use std::fs;
use std::time::{Duration, Instant};

use super::common::dump::{IGNORED, assert_same_world, diff, differences, dump, glob};
use super::common::traffic::{SOON, tcp, tcp_server, udp, udp_server};
use super::common::{Kind, Ns, dirs, neighbour, ns_add, ns_del, sh, world};
use super::fails;

/// Changes, their undoing, and the lines that a diff must have, each as a pattern.
/// RUN and LEASES stand for the roots of state; `other` is the neighbour.
const CHANGES: &[(&str, &str, &[&str])] = &[
    ("ip link add br7 type bridge", "ip link del br7", &["host link br7: added"]),
    ("ip link set up0 mtu 1400", "ip link set up0 mtu 1500", &["host link up0: mtu 1500 -> 1400"]),
    (
        "ip link set up0 alias x",
        "ip link set up0 alias ''",
        &["host link up0: ifalias (none) -> x"],
    ),
    (
        "ip link set br0 type bridge stp_state 1",
        "ip link set br0 type bridge stp_state 0",
        &["host link br0: linkinfo.info_data.stp_state 0 -> 1"],
    ),
    ("ip link set br0 up", "ip link set br0 down", &["host link br0: flags * -> *UP*"]),
    (
        "ip addr add 10.9.0.1/24 dev lo",
        "ip addr del 10.9.0.1/24 dev lo",
        &[
            "host addr lo 10.9.0.1/24: added",
            "host route -4 10.9.0.1 dev lo table local type local: added",
        ],
    ),
    (
        "ip -n other addr add fd00::1/64 dev eth0",
        "ip -n other addr del fd00::1/64 dev eth0",
        &[
            "other addr eth0 fd00::1/64: added",
            "other route -6 fd00::/64 dev eth0 metric 256: added",
        ],
    ),
    (
        "ip route add 10.8.0.0/16 via 198.18.0.2",
        "ip route del 10.8.0.0/16",
        &["host route -4 10.8.0.0/16 via 198.18.0.2 dev up0: added"],
    ),
    (
        "ip -6 route add fd08::/16 dev up0 table 100",
        "ip -6 route del fd08::/16 dev up0 table 100",
        &["host route -6 fd08::/16 dev up0 metric 1024 table 100: added"],
    ),
    (
        "ip -n other route del default",
        "ip -n other route add default via 198.18.0.1",
        &["other route -4 default via 198.18.0.1 dev eth0: removed"],
    ),
    (
        "ip rule add from 10.7.0.1 table 7",
        "ip rule del from 10.7.0.1 table 7",
        &["host rule -4 *src 10.7.0.1*table 7: added"],
    ),
    (
        "ip -6 rule add from fd07::1 table 7",
        "ip -6 rule del from fd07::1 table 7",
        &["host rule -6 *src fd07::1*table 7: added"],
    ),
    ("nft add table inet x", "nft delete table inet x", &["host nft table inet x: added"]),
    ("nft add chain ip t c2", "nft delete chain ip t c2", &["host nft chain ip t c2: added"]),
    (
        "nft 'add chain ip t c {policy drop;}'",
        "nft 'add chain ip t c {policy accept;}'",
        &["host nft chain ip t c: policy accept -> drop"],
    ),
    (
        "nft insert rule ip t c tcp dport 81 accept comment '\"mine\"'",
        "nft delete rule ip t c handle $(nft -a list chain ip t c | sed -n 's/.*mine.*handle //p')",
        &[
            "host nft chain ip t c: rules 1 in order * -> 2 in order *",
            "host nft rule ip t c: *mine*: added",
        ],
    ),
    (
        "nft add element ip t m '{ 81 : 10.0.0.1 }'",
        "nft delete element ip t m '{ 81 }'",
        &["host nft element ip t m: *81*10.0.0.1*: added"],
    ),
    (
        "nft add element ip t m '{ 82 comment \"x\" : 10.0.0.1 }'",
        "nft delete element ip t m '{ 82 }'",
        &["host nft element ip t m: *\"x\"*: added"],
    ),
    (
        "echo 1 >/proc/sys/net/ipv4/ip_forward",
        "echo 0 >/proc/sys/net/ipv4/ip_forward",
        &["host sysctl net.ipv4.ip_forward: value 0 -> 1", "host sysctl net.ipv4.conf.*"],
    ),
    (
        "ip netns exec other sysctl -qw net.ipv6.conf.eth0.accept_ra=2",
        "ip netns exec other sysctl -qw net.ipv6.conf.eth0.accept_ra=0",
        &["other sysctl net.ipv6.conf.eth0.accept_ra: value 0 -> 2"],
    ),
    (
        "mkdir -p RUN/net/a && echo x >RUN/net/a/eth0.json",
        "rm -r RUN/net",
        &["file RUN/net/a: added", "file RUN/net/a/eth0.json: added"],
    ),
    ("echo 2 >RUN/state", "echo 1 >RUN/state", &["file RUN/state: content 1\n -> 2\n"]),
    ("chmod 600 RUN/state", "chmod 644 RUN/state", &["file RUN/state: mode * -> *600*"]),
    ("echo id >LEASES/n/10.88.0.9", "rm LEASES/n/10.88.0.9", &["file LEASES/n/10.88.0.9: added"]),
    (
        "ip netns add third",
        "ip netns del third",
        &["netns third: added", "mount /run/netns/third: added"],
    ),
    (
        "mount -t tmpfs t RUN/mnt",
        "umount RUN/mnt",
        &["mount RUN/mnt: added", "file RUN/mnt: mode *"],
    ),
];

fn with_roots(text: &str) -> String {
    let dirs = dirs();
    text.replace("RUN", dirs.run.to_str().expect("UTF-8"))
        .replace("LEASES", dirs.leases.to_str().expect("UTF-8"))
}

/// A host with something of everything on it, and a neighbour.
fn furnished() -> Ns {
    let other = neighbour("other", 0);
    sh(&with_roots(
        "ip link add br0 type bridge && ip link set br0 up && ip link set br0 down && mkdir -p RUN/mnt LEASES/n && echo 1 >RUN/state && \
         nft add table ip t && \
         nft add chain ip t c '{type filter hook input priority 0; policy accept;}' && \
         nft add rule ip t c counter && nft add map ip t m '{type inet_service : ipv4_addr;}'",
    ));
    other.ns
}

#[test]
fn every_kind_of_change_is_seen_and_its_undoing_too() {
    world(Kind::User, || {
        let others = [furnished()];
        let before = dump(&others);
        for (change, undo, expected) in CHANGES {
            sh(&with_roots(change));
            let lines = diff(&before, &dump(&others));
            for pattern in expected.iter().map(|p| with_roots(p)) {
                assert!(
                    lines.iter().any(|l| glob(&pattern, l)),
                    "{change}: no {pattern} in {lines:#?}"
                );
            }
            let text = fails(|| assert_same_world(&before, &dump(&others), &[]));
            assert!(text.contains(&lines[0]), "{text}");
            sh(&with_roots(undo));
            let lines = diff(&before, &dump(&others));
            assert!(lines.is_empty(), "{change}, then {undo}: {lines:#?}");
        }
        println!("{} changes seen", CHANGES.len());
    });
}

#[test]
fn what_changes_by_itself_is_no_difference() {
    world(Kind::User, || {
        let others = [furnished()];
        let before = dump(&others);
        let (host, up) =
            (Ns::host(), "198.18.0.1".parse::<std::net::IpAddr>().expect("an address"));
        let (web, dns) = (tcp_server(&host, "web", up, 0), udp_server(&host, "dns", up, 0));
        for _ in 0..20 {
            tcp(&others[0], web.addr, SOON).expect("an answer");
            udp(&others[0], dns.addr, SOON).expect("an answer");
        }
        fs::write(dirs().leases.join("n/last_reserved_ip.0"), "10.88.0.2").expect("write");
        // Same names, new numbers.
        sh("ip link del br0 && ip link add br0 address 02:00:00:00:00:07 type bridge");
        sh("ip link set br0 up && ip link set br0 down");
        std::thread::sleep(Duration::from_millis(1100));
        let lines = differences(&before, &dump(&others), &["host link br0: address *"]);
        assert!(lines.is_empty(), "{lines:#?}");
        assert!(IGNORED.iter().all(|(_, _, reason)| !reason.is_empty()));
    });
}

#[test]
fn exceptions_are_named_one_by_one() {
    world(Kind::User, || {
        let before = dump(&[]);
        sh("sysctl -qw net.ipv4.ip_forward=1 && ip addr add 10.9.0.1/32 dev lo");
        let after = dump(&[]);
        let lines = differences(&before, &after, &["host sysctl *"]);
        assert!(lines.iter().any(|l| l == "host addr lo 10.9.0.1/32: added"), "{lines:#?}");
        assert!(!lines.iter().any(|l| l.contains("sysctl")), "{lines:#?}");
        let allowed = ["host sysctl net.ipv4.*", "host addr lo *", "host route -4 10.9.0.1 *"];
        assert_same_world(&before, &after, &allowed);
        fails(|| assert_same_world(&before, &after, &allowed[..2]));
    });
}

#[test]
fn a_namespace_that_is_gone_is_a_difference() {
    world(Kind::User, || {
        let others = [ns_add("web")];
        let before = dump(&others);
        ns_del("web");
        let lines = diff(&before, &dump(&others));
        for line in ["web namespace: added", "web link lo: removed", "netns web: removed"] {
            assert!(lines.iter().any(|l| l == line), "{line} in {lines:#?}");
        }
    });
}

#[test]
fn patterns_match_as_a_shell_does() {
    for (pattern, text) in
        [("a*c", "abc"), ("*", ""), ("a*b*c", "axxbyyc"), ("abc", "abc"), ("*c", "c")]
    {
        assert!(glob(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in
        [("a*c", "abd"), ("abc", "abcd"), ("a*bc*c", "abc"), ("", "x"), ("a*a", "a")]
    {
        assert!(!glob(pattern, text), "{pattern} {text}");
    }
}

#[test]
fn a_dump_is_fast() {
    world(Kind::User, || {
        let others = [furnished(), ns_add("third")];
        let mut times: Vec<Duration> = (0..20)
            .map(|_| {
                let start = Instant::now();
                dump(&others);
                start.elapsed()
            })
            .collect();
        times.sort();
        println!("a dump of 3 namespaces: median {:.1?}, best {:.1?}", times[10], times[0]);
        // Hundreds are taken per test. Twenty times what it takes when the machine is idle.
        assert!(times[0] < Duration::from_millis(400), "{times:?}");
    });
}
