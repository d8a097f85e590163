//! Chains: bridge, portmap and tuning, each called by itself.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::{Value, json};

use super::bridge::address;
use super::call::{bridge, ours, who, with};
use super::common::traffic::{tcp, tcp_server, udp_server};
use super::common::{Kind, Ns, dirs, in_netns, neighbour, ns_add, sh, sh_out, told, world};

const WITHIN: Duration = Duration::from_secs(2);

fn list(version: &str) -> Vec<Value> {
    let plugin = |more: Value| with(json!({"cniVersion": version, "name": "net"}), more);
    vec![
        with(bridge(version), json!({"ipMasq": true, "hairpinMode": true})),
        plugin(json!({"type": "portmap", "runtimeConfig": {"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}})),
        plugin(
            json!({"type": "tuning", "mtu": 1300, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}),
        ),
        plugin(
            json!({"type": "tuning", "promisc": true, "sysctl": {"net.ipv4.tcp_keepalive_time": "77"}}),
        ),
    ]
}

#[test]
fn each_part_makes_and_takes_what_is_its_own() {
    world(Kind::User, || {
        let (far, pod, plugins) = (neighbour("far", 0), ns_add("a"), ours());
        let link = || pod.sh_out("ip -d link show eth0");
        let keepalive = || pod.sh_out("cat /proc/sys/net/ipv4/tcp_keepalive_time");
        let before = keepalive();
        for version in ["0.3.1", "1.0.0", "1.1.0"] {
            let list = list(version);
            let result = plugins.chain("ADD", &who("a"), &list, &Value::Null);
            let ip = address(&result);
            let server = tcp_server(&pod, "a", ip, 80);
            let answer =
                tcp(&far.ns, (far.host_v4, 8080).into(), WITHIN).expect("a published port");
            assert_eq!(answer.peer.ip(), far.v4);
            drop(server);
            assert!(link().contains("mtu 1300") && link().contains("PROMISC"), "{}", link());
            assert_eq!(keepalive(), "77");
            if version != "0.3.1" {
                plugins.chain("CHECK", &who("a"), &list, &result);
            }
            let records =
                sh_out(&format!("find {} -name '*.json' | sort", dirs().run.join("net").display()));
            let names: Vec<&str> = records.lines().filter_map(|r| r.rsplit('/').next()).collect();
            assert_eq!(
                names,
                ["eth0.json", "eth0:portmap.json", "eth0:tuning.2.json", "eth0:tuning.json"]
            );
            // tuning alone: all that it borrowed is back.
            plugins.ok("DEL", &who("a"), &list[3]);
            assert!(link().contains("mtu 1500") && !link().contains("PROMISC"), "{}", link());
            assert_eq!(keepalive(), before);
            // portmap alone: the port is closed, the pod is still there.
            plugins.ok("DEL", &who("a"), &list[1]);
            assert!(tcp(&far.ns, (far.host_v4, 8080).into(), WITHIN).is_err());
            assert!(sh_out("nft list set inet podkeel masq4").contains(&ip.to_string()));
            plugins.chain("DEL", &who("a"), &list, &result);
            plugins.chain("DEL", &who("a"), &list, &result);
            assert!(!dirs().run.exists() && !sh_out("nft list tables").contains("podkeel"));
        }
    });
}

/// A published port on the host's own 127.0.0.1, as the reference has it; what else
/// listens there stays out of reach for neighbours.
#[test]
fn localhost_of_the_host() {
    world(Kind::User, || {
        let (far, pod, plugins) = (neighbour("far", 0), ns_add("a"), ours());
        let result = plugins.ok("ADD", &who("a"), &bridge("1.0.0"));
        let _pod = tcp_server(&pod, "a", Ipv4Addr::UNSPECIFIED, 80);
        let _own = tcp_server(&Ns::host(), "own", Ipv4Addr::LOCALHOST, 9090);
        let portmap = |more: Value| {
            let mapping = |port: u16, host: &str| json!({"hostPort": port, "containerPort": 80, "protocol": "tcp", "hostIP": host});
            let base = json!({"cniVersion": "1.0.0", "name": "net", "type": "portmap", "prevResult": result,
                "runtimeConfig": {"portMappings": [mapping(8080, ""), mapping(8081, "127.0.0.1")]}});
            with(base, more)
        };
        let from = |ns: &Ns, to: IpAddr, port: u16| {
            tcp(ns, (to, port).into(), Duration::from_millis(500))
                .ok()
                .map(|a| (a.server, a.peer.ip()))
        };
        let here = |port: u16| from(&Ns::host(), Ipv4Addr::LOCALHOST.into(), port);
        // A neighbour who sends the host what is for 127.0.0.1.
        far.ns.sh(&format!(
            "echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet && ip addr del 127.0.0.1/8 dev lo && \
             ip route add 127.0.0.0/8 via {} dev eth0 src {}",
            far.host_v4, far.v4
        ));
        sh("echo 1 >/proc/sys/net/ipv4/conf/up0/route_localnet");
        assert_eq!(
            from(&far.ns, Ipv4Addr::LOCALHOST.into(), 9090),
            Some(("own".into(), far.v4.into())),
            "the hole that is to be closed"
        );
        let localnet = || sh_out("cat /proc/sys/net/ipv4/conf/br-cni/route_localnet");
        let gateway: IpAddr = [10, 77, 0, 1].into();
        let to_pod = |seen: IpAddr| Some(("a".to_owned(), seen));
        for (masq_all, seen) in [(false, far.v4.into()), (true, gateway)] {
            let conf = portmap(json!({"masqAll": masq_all}));
            plugins.ok("ADD", &who("a"), &conf);
            assert_eq!(localnet(), "1");
            assert_eq!(here(8080), to_pod(gateway));
            assert_eq!(here(8081), to_pod(gateway));
            assert_eq!(here(9090), Some(("own".into(), Ipv4Addr::LOCALHOST.into())));
            assert_eq!(from(&far.ns, far.host_v4.into(), 8080), to_pod(seen));
            assert_eq!(from(&far.ns, far.host_v4.into(), 8081), None);
            assert_eq!(
                from(&far.ns, Ipv4Addr::LOCALHOST.into(), 9090),
                None,
                "closed before it opens"
            );
            plugins.ok("CHECK", &who("a"), &conf);
            plugins.ok("DEL", &who("a"), &conf);
            assert_eq!((localnet().as_str(), here(8080)), ("0", None));
        }
        // Turned off, loopback is the host's own.
        let off = with(
            portmap(json!({"snat": false})),
            json!({"runtimeConfig": {"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}),
        );
        plugins.ok("ADD", &who("a"), &off);
        assert_eq!((localnet().as_str(), here(8080)), ("0", None));
        assert_eq!(from(&far.ns, far.host_v4.into(), 8080), to_pod(far.v4.into()));
        let (code, msg) = plugins.fails("ADD", &who("b"), &portmap(json!({"snat": false})));
        assert!(code >= 3, "{code}: {msg}");
        plugins.ok("DEL", &who("a"), &off);
        // What somebody else turned on stays on.
        sh("echo 1 >/proc/sys/net/ipv4/conf/br-cni/route_localnet");
        plugins.ok("ADD", &who("a"), &portmap(json!({})));
        plugins.ok("DEL", &who("a"), &portmap(json!({})));
        assert_eq!(localnet(), "1");
    });
}

/// A runtime that comes back, or changes its mind: the last ports count.
#[test]
fn ports_of_a_repeated_add() {
    world(Kind::User, || {
        let (far, pod, plugins) = (neighbour("far", 0), ns_add("a"), ours());
        let result = plugins.ok("ADD", &who("a"), &bridge("1.0.0"));
        let _server = tcp_server(&pod, "a", address(&result), 80);
        let portmap = |ports: &[u16]| {
            let mapping = |p: &u16| json!({"hostPort": p, "containerPort": 80, "protocol": "tcp"});
            let ports: Vec<Value> = ports.iter().map(mapping).collect();
            json!({"cniVersion": "1.0.0", "name": "net", "type": "portmap", "prevResult": result,
                   "runtimeConfig": {"portMappings": ports}})
        };
        let open =
            || [8080, 8081].map(|port| tcp(&far.ns, (far.host_v4, port).into(), WITHIN).is_ok());
        for (ports, wanted) in [
            (&[8080][..], [true, false]),
            (&[8080], [true, false]),
            (&[8081], [false, true]),
            (&[8080, 8081], [true, true]),
            (&[], [false, false]),
        ] {
            assert_eq!(plugins.ok("ADD", &who("a"), &portmap(ports)), result, "it is passed on");
            assert_eq!(open(), wanted, "{ports:?}");
        }
        // A port is one pod's. The reference lets the last one have it.
        let other = ns_add("b");
        plugins.ok("ADD", &who("a"), &portmap(&[8080]));
        let (code, msg) = plugins.fails("ADD", &who("b"), &portmap(&[8080]));
        assert_eq!(code, 104, "{msg}");
        assert!(msg.contains("taken by net/a/eth0"), "{msg}");
        drop(other);
    });
}

/// The link-layer address of tuning: in the result, in the pod, and back again.
#[test]
fn tuning_changes_the_address() {
    world(Kind::User, || {
        let (pod, plugins) = (ns_add("a"), ours());
        let first = plugins.ok("ADD", &who("a"), &bridge("1.0.0"));
        let before = first["interfaces"][2]["mac"].as_str().expect("an address").to_owned();
        let mac = "02:00:00:00:00:07";
        let tuning = json!({"cniVersion": "1.0.0", "name": "net", "type": "tuning", "mac": mac,
            "allmulti": true, "txQLen": 77, "prevResult": first});
        let result = plugins.ok("ADD", &who("a"), &tuning);
        assert_eq!(result["interfaces"][2]["mac"], mac);
        let link = || pod.sh_out("ip -d link show eth0");
        assert!(
            link().contains(mac) && link().contains("allmulti 1") && link().contains("qlen 77"),
            "{}",
            link()
        );
        let told = |conf: Value| with(conf, json!({"prevResult": result}));
        plugins.ok("CHECK", &who("a"), &told(tuning.clone()));
        plugins.ok("CHECK", &who("a"), &told(bridge("1.0.0")));
        pod.sh("ip link set eth0 txqueuelen 78");
        let (code, msg) = plugins.fails("CHECK", &who("a"), &told(tuning.clone()));
        assert!(code == 103 && msg.contains("txqueuelen"), "{msg}");
        plugins.ok("DEL", &who("a"), &tuning);
        // What somebody else changed since stays his.
        assert!(
            link().contains(&before) && link().contains("allmulti 0") && link().contains("qlen 78"),
            "{}",
            link()
        );
    });
}

/// What the host's administrator doesn't let networks set isn't set. The reference has
/// this from 1.2.0 on, Debian's is older.
#[test]
fn the_allowlist_of_tuning() {
    world(Kind::User, || {
        let (pod, ours) = (ns_add("a"), ours());
        let result = ours.ok("ADD", &who("a"), &bridge("1.0.0"));
        let conf = |key: &str| {
            json!({"cniVersion": "1.0.0", "name": "net", "type": "tuning", "prevResult": result,
                   "sysctl": {key: "1"}})
        };
        let arp = "net.ipv4.conf.IFNAME.arp_filter";
        let is = |key: &str| {
            let path = key.replace('.', "/").replace("IFNAME", "eth0");
            pod.sh_out(&format!("cat /proc/sys/{path}"))
        };
        sh("mkdir -p /etc/cni/tuning");
        for (lines, key, allowed) in [
            ("^net.ipv4.conf.IFNAME.[a-z_]*$\n", arp, true),
            ("^net.ipv4.conf.IFNAME.[a-z_]*$\n", "net.ipv4.conf.all.arp_filter", false),
            ("  net\\.core\\.somaxconn  \n\n ^net\\.ipv4\\.conf\\.(IFNAME|lo)\\. \n", arp, true),
            ("net.core\n", arp, false),
            ("arp_\n", arp, true),
            ("", arp, false),
            ("(\n", arp, false),
        ] {
            std::fs::write("/etc/cni/tuning/allowlist.conf", lines).expect("the world's /etc");
            let output = ours.call("tuning", "ADD", &who("a"), &conf(key));
            assert_eq!(output.status.success(), allowed, "{lines:?}: {}", told(key, &output));
            assert_eq!(is(key), u8::from(allowed).to_string(), "{lines:?} {key}");
            ours.ok("DEL", &who("a"), &conf(key));
        }
        // Other settings are none of its business; a caller's word is.
        let mut asked = conf(arp);
        asked["sysctl"] = json!({});
        asked["mtu"] = json!(1300);
        ours.ok("ADD", &who("a"), &asked);
        ours.ok("DEL", &who("a"), &asked);
        asked["args"] = json!({"cni": {"sysctl": {arp: "1"}}});
        std::fs::write("/etc/cni/tuning/allowlist.conf", "net.core").expect("the world's /etc");
        let (code, msg) = ours.fails("ADD", &who("a"), &asked);
        assert!(
            code == 106 && msg.contains("allowlist.conf") && msg.contains(arp),
            "{code}: {msg}"
        );
    });
}

/// A client of UDP that never stops: conntrack would go on with what it decided when
/// the port was nobody's, and later with a pod that has left.
#[test]
fn flows_of_udp_follow_their_port() {
    for v6 in [false, true] {
        world(Kind::User, || flows_of_udp(v6));
    }
}

fn flows_of_udp(v6: bool) {
    let (far, pod, plugins) = (neighbour("far", 0), ns_add("a"), ours());
    let (any, host): (IpAddr, IpAddr) = match v6 {
        false => (Ipv4Addr::UNSPECIFIED.into(), far.host_v4.into()),
        true => (std::net::Ipv6Addr::UNSPECIFIED.into(), far.host_v6.into()),
    };
    let family = if v6 { "^ipv6" } else { "^ipv4" };
    let result = plugins.ok("ADD", &who("a"), &bridge("1.0.0"));
    let ip = result["ips"][usize::from(v6)]["address"].as_str().expect("an address");
    let ip: IpAddr = ip.split('/').next().expect("an address").parse().expect("an address");
    let _inside = udp_server(&pod, "a", ip, 53);
    // Bound to the very address: an answer of one that isn't may come from another.
    let _own = udp_server(&Ns::host(), "host", host, 5353);
    let _other = udp_server(&Ns::host(), "host", host, 5354);
    let portmap = json!({"cniVersion": "1.0.0", "name": "net", "type": "portmap", "prevResult": result,
        "runtimeConfig": {"portMappings": [{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}]}});
    // Each asks again and again from one socket.
    let client = |port: u16| {
        let socket = in_netns(&far.ns, || std::net::UdpSocket::bind((any, 0))).expect("a socket");
        socket.connect((host, port)).expect("a route");
        socket.set_read_timeout(Some(WITHIN)).expect("a timeout");
        move || {
            socket.send(b"?\n").ok()?;
            let mut line = [0; 200];
            let len = socket.recv(&mut line).ok()?;
            String::from_utf8_lossy(&line[..len]).split(' ').next().map(str::to_owned)
        }
    };
    let flows =
        |what: &str| sh_out(&format!("grep '{family} .*{what}' /proc/net/nf_conntrack || true"));
    let flow = |port: u16| flows(&format!("udp .* dport={port} ")).lines().count();
    // The ruleset is there already, so that conntrack sees the host's own flows.
    let masq = with(bridge("1.0.0"), json!({"ipMasq": true}));
    ns_add("b");
    plugins.ok("ADD", &who("b"), &masq);
    let (asker, other) = (client(5353), client(5354));
    assert_eq!((asker(), other()), (Some("host".into()), Some("host".into())));
    let kept = flows("dport=5354 ");
    assert_eq!(flow(5353), 1);
    plugins.ok("ADD", &who("a"), &portmap);
    assert_eq!(asker(), Some("a".into()), "the same socket reaches the pod now");
    assert!(!flows("sport=53 ").is_empty(), "through the pod");
    plugins.ok("DEL", &who("a"), &portmap);
    assert_eq!(flow(5353), 0);
    assert_eq!(asker(), Some("host".into()), "and the host again");
    // Nobody else's flow was touched: it is the same one, not one made anew.
    let ports = |line: &str| {
        line.split_whitespace()
            .filter(|w| w.starts_with("sport="))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(ports(&flows("dport=5354 ")), ports(&kept));
}

/// A result of somebody else's, with what ours would not write: it is read as far as it is
/// needed, and handed through word for word.
#[test]
fn what_others_have_made() {
    world(Kind::User, || {
        let (far, pod, plugins) = (neighbour("far", 0), ns_add("a"), ours());
        sh(
            "ip link add up7 up type veth peer name eth0 netns a && ip addr add 10.79.0.1/24 dev up7",
        );
        pod.sh("ip link set eth0 up && ip addr add 10.79.0.2/24 dev eth0 && ip route add default via 10.79.0.1");
        sh("iptables -P FORWARD DROP && echo 1 >/proc/sys/net/ipv4/ip_forward");
        let interface = json!({"name": "eth0", "sandbox": "/run/netns/a", "mac": "02:00:00:00:00:07",
            "mtu": 1500, "vendor": {"queue": 7}});
        let prev = json!({"cniVersion": "1.1.0", "interfaces": [interface], "vendor": ["x"],
            "ips": [{"address": "10.79.0.2/24", "interface": -1, "gateway": ""}],
            "routes": [{"dst": "10.1.2.3/16"}, {"dst": "10.2.0.0/16", "gw": "fd00::1"},
                       {"dst": "10.3.0.0/16", "gw": "", "mtu": -1, "priority": -5}]});
        let handed = with(prev.clone(), json!({"dns": {}}));
        let conf = |more: Value| {
            with(json!({"cniVersion": "1.1.0", "name": "net", "prevResult": prev}), more)
        };
        let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80}]});
        let confs = [
            conf(json!({"type": "portmap", "runtimeConfig": ports})),
            conf(json!({"type": "firewall"})),
            conf(json!({"type": "tuning", "promisc": true})),
        ];
        for conf in &confs {
            assert_eq!(plugins.ok("ADD", &who("a"), conf), handed, "{conf}");
            plugins.ok("CHECK", &who("a"), conf);
        }
        let _server = tcp_server(&pod, "a", Ipv4Addr::new(10, 79, 0, 2), 80);
        let ask = || tcp(&far.ns, (far.host_v4, 8080).into(), WITHIN);
        assert!(ask().is_ok(), "{}", sh_out("iptables-save; nft list table inet podkeel"));
        for conf in confs.iter().rev() {
            plugins.ok("DEL", &who("a"), conf);
        }
        // What tuning changes it says, and nothing else.
        let tuned = conf(json!({"type": "tuning", "mac": "02:00:00:00:00:08", "mtu": 1400}));
        let mut wanted = handed.clone();
        wanted["interfaces"][0]["mac"] = json!("02:00:00:00:00:08");
        wanted["interfaces"][0]["mtu"] = json!(1400);
        assert_eq!(plugins.ok("ADD", &who("a"), &tuned), wanted);
        plugins.ok("DEL", &who("a"), &tuned);
        let lo = super::call::Who { ifname: "lo".into(), ..who("a") };
        let loopback = conf(json!({"type": "loopback"}));
        assert_eq!(plugins.ok("ADD", &lo, &loopback), handed);
        plugins.ok("DEL", &lo, &loopback);
        // In another version it is written anew: what can't be said there is left out.
        let bare = conf(json!({"type": "portmap"}));
        assert_eq!(plugins.ok("ADD", &who("a"), &bare), handed);
        let old = plugins.ok("ADD", &who("a"), &with(bare, json!({"cniVersion": "0.3.1"})));
        assert_eq!(old["ips"], json!([{"version": "4", "address": "10.79.0.2/24"}]), "{old}");
        assert_eq!(old["routes"], json!([{"dst": "10.1.0.0/16"}, {"dst": "10.3.0.0/16"}]), "{old}");
        // What has no such form at all stays an error.
        for bad in [
            json!({"ips": 7}),
            json!({"ips": [{"address": "x"}]}),
            json!({"routes": [{"dst": "x"}]}),
        ] {
            let conf = with(confs[0].clone(), json!({"prevResult": with(prev.clone(), bad)}));
            let (code, msg) = plugins.fails("ADD", &who("a"), &conf);
            assert!(code == 6 && msg.contains("prevResult"), "{code}: {msg}");
        }
    });
}
