//! Ports that are published on the host's loopback: for programs on the host, and nobody else.

use serde_json::json;

use super::bed::{Pod, add, addresses, at, bed, families, netsetup, network, refused};
use super::common::dump::{assert_same_world, dump};
use super::common::traffic::{NEVER, SOON, tcp, tcp_server, udp, udp_server};
use super::common::{Kind, Ns, ns_add, sh, sh_out, world};

/// A network without a bridge.
fn ptp() {
    let list = json!({"cniVersion": "1.0.0", "name": "pair", "plugins": [
        {"type": "ptp", "ipMasq": true, "ipam": {"type": "host-local", "subnet": "10.91.0.0/24"}},
        {"type": "portmap", "capabilities": {"portMappings": true}}]});
    network("pair", &list.to_string());
}

/// A pod that publishes ports there, with servers behind them.
fn attached(ns: &Ns, network: &str, port: u16) -> Pod {
    let flags = format!("-p 127.0.0.1:{port}:80 -p 127.0.0.1:{port}:53/udp");
    let result = add(&format!("{network} --netns /run/netns/{} {flags}", ns.name));
    let pod = Pod { ns: ns.clone(), ips: addresses(&result) };
    tcp_server(ns, &ns.name, pod.ips[0], 80);
    udp_server(ns, &ns.name, pod.ips[0], 53);
    pod
}

#[test]
fn they_are_reached_from_the_host_alone() {
    for network in ["dual", "pair"] {
        world(Kind::User, || {
            let neighbours = bed(false);
            ptp();
            let [family, _] = families(&neighbours);
            // Turned on once, forwarding stays.
            sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
            let pods = ["a", "b"].map(ns_add);
            let before = dump(&pods);
            for (ns, port) in pods.iter().zip([8080, 8081]) {
                attached(ns, network, port);
            }
            let host = Ns::host();
            for (name, port) in [("a", 8080), ("b", 8081)] {
                let here = at(family.loopback, port);
                for answer in [tcp(&host, here, SOON), udp(&host, here, SOON)] {
                    assert_eq!(answer.expect("the pod").server, name, "{network}");
                }
                let far = &neighbours[0].ns;
                for (from, to) in [(&host, family.up[0]), (far, family.up[0]), (far, family.up[1])]
                {
                    tcp(from, at(to, port), NEVER).expect_err("a port of loopback");
                    udp(from, at(to, port), NEVER).expect_err("a port of loopback");
                }
                netsetup(&format!("check {network} --id {name}"));
            }
            let on = || sh_out("cat /proc/sys/net/ipv4/conf/*/route_localnet").matches('1').count();
            let links = if network == "dual" { 1 } else { 2 };
            assert_eq!(on(), links);
            netsetup(&format!("del {network} --id a"));
            assert_eq!(on(), 1, "b needs it");
            netsetup(&format!("del {network} --id b"));
            assert_same_world(&before, &dump(&pods), &["file /run/rootless/leases*"]);
        });
    }
}

#[test]
fn one_that_cannot_be_is_refused() {
    world(Kind::User, || {
        let neighbours = bed(false);
        let [family, _] = families(&neighbours);
        let pod = ns_add("a");
        let host = Ns::host();
        tcp_server(&host, "own", family.loopback, 8080);
        udp_server(&host, "own", family.any, 8081);
        let before = dump(std::slice::from_ref(&pod));
        for (port, code, why) in [
            ("127.0.0.1:8080:80", 4, "on the host listens there"),
            ("127.0.0.1:8081:80/udp", 4, "on the host listens there"),
            ("[::1]:8082:80", 7, "the kernel can't lead ::1 anywhere else"),
        ] {
            let said = refused(&format!("add dual --netns /run/netns/a -p {port}"), code);
            assert!(said.contains(why), "{port}: {said}");
        }
        let after = dump(std::slice::from_ref(&pod));
        assert_same_world(&before, &after, &["file /run/rootless/leases*"]);
    });
}
