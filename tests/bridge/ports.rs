//! Published ports: from everywhere that they should be reached, and from nowhere else.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use super::bed::{Family, Pod, at, bed, families, pod, refused};
use super::common::traffic::{Answer, NEVER, SOON, Server, curl, tcp, tcp_server, udp, udp_server};
use super::common::{Kind, Neighbour, Ns, sh, world};

/// Everything that pod a publishes here.
const PORTS: &str = "-p 8080:80 -p 8080:53/udp -p 9000-9002:9000-9002 -p 198.18.0.1:7000:80 \
     -p 198.18.0.1:7000:53/udp -p [2001:db8:18::1]:7000:80 -p [2001:db8:18::1]:7000:53/udp \
     -p 0.0.0.0:7004:80 -p [::]:7006:80";

/// A host with published ports, and two pods.
struct Scene {
    neighbours: [Neighbour; 2],
    a: Pod,
    b: Pod,
    /// What must never be reached.
    closed: Vec<Server>,
}

/// Servers in both pods, the open ones in a.
fn scene(bridge_nf: bool) -> Scene {
    let neighbours = bed(bridge_nf);
    let (a, b) = (pod("a", "dual", PORTS), pod("b", "dual", ""));
    let mut closed = Vec::new();
    for family in families(&neighbours) {
        let own = a.ips[family.at];
        for port in [80, 9000, 9001, 9002] {
            tcp_server(&a.ns, "a", own, port);
        }
        udp_server(&a.ns, "a", own, 53);
        closed.push(tcp_server(&a.ns, "a", own, 8080));
        closed.push(tcp_server(&a.ns, "a", own, 81));
        closed.push(tcp_server(&b.ns, "b", b.ips[family.at], 80));
        closed.push(udp_server(&b.ns, "b", b.ips[family.at], 53));
    }
    Scene { neighbours, a, b, closed }
}

/// Asks from `ns` by both protocols; the pod's answer must have come from `seen`.
fn reached(ns: &Ns, host: IpAddr, port: u16, seen: IpAddr) {
    let who = format!("from {} to {}", ns.name, at(host, port));
    let check = |answer: std::io::Result<Answer>, proto: &str| {
        let answer = answer.unwrap_or_else(|e| panic!("{proto} {who}: {e}"));
        assert_eq!((answer.server.as_str(), answer.peer.ip()), ("a", seen), "{proto} {who}");
    };
    check(tcp(ns, at(host, port), SOON), "tcp");
    check(udp(ns, at(host, port), SOON), "udp");
}

/// Nobody answers, by either protocol.
fn closed(ns: &Ns, to: SocketAddr) {
    for (proto, answer) in [("tcp", tcp(ns, to, NEVER)), ("udp", udp(ns, to, NEVER))] {
        let error = match answer {
            Err(error) => error,
            Ok(answer) => panic!("{proto} from {} to {to}: {answer:?}", ns.name),
        };
        // The kernel's limit for ICMP over all of the machine may swallow one.
        let refused = error.kind() == ErrorKind::ConnectionRefused
            || (proto == "udp" && error.kind() == ErrorKind::WouldBlock);
        assert!(refused, "{proto} from {} to {to}: {error}", ns.name);
    }
}

/// One family's published ports from every side.
fn from_everywhere(scene: &Scene, family: &Family) {
    let Scene { neighbours, a, b, .. } = scene;
    let host = Ns::host();
    for n in [0, 1] {
        // A neighbour is seen as what he is, whichever of the host's addresses he asks.
        for to in family.up {
            reached(&neighbours[n].ns, to, 8080, family.far[n]);
        }
        let answer = curl(&neighbours[n].ns, at(family.up[n], 8080));
        assert_eq!((answer.server.as_str(), answer.peer.ip()), ("a", family.far[n]));
        // The host is seen as the address it was asked at.
        reached(&host, family.up[n], 8080, family.up[n]);
        // A pod of this network must be answered by way of the host.
        for pod in [&a.ns, &b.ns] {
            reached(pod, family.up[n], 8080, family.bridge);
        }
    }
    reached(&host, family.bridge, 8080, family.bridge);
    for pod in [&a.ns, &b.ns] {
        reached(pod, family.bridge, 8080, family.bridge);
    }
    for port in 9000..9003 {
        let answer = tcp(&neighbours[0].ns, at(family.up[0], port), SOON).expect("a range");
        assert_eq!(answer.at, at(a.ips[family.at], port));
    }
}

/// One family's ports of one address, and of one family.
fn bound(scene: &Scene, family: &Family) {
    let Scene { neighbours, a, b, .. } = scene;
    let askers = [&neighbours[0].ns, &neighbours[1].ns, &Ns::host(), &a.ns, &b.ns];
    let seen = [family.far[0], family.far[1], family.up[0], family.bridge, family.bridge];
    for (ns, seen) in askers.into_iter().zip(seen) {
        reached(ns, family.up[0], 7000, seen);
        closed(ns, at(family.up[1], 7000));
        closed(ns, at(family.bridge, 7000));
        let (own, other) = if family.at == 0 { (7004, 7006) } else { (7006, 7004) };
        assert_eq!(tcp(ns, at(family.up[1], own), SOON).expect("this family").peer.ip(), {
            if seen == family.up[0] { family.up[1] } else { seen }
        });
        closed(ns, at(family.up[1], other));
        for port in [80, 81, 53, 8081, 8999, 9003] {
            closed(ns, at(family.up[0], port));
        }
    }
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_nothing_else_is() {
    for bridge_nf in [false, true] {
        world(Kind::User, || {
            let scene = scene(bridge_nf);
            for family in families(&scene.neighbours) {
                from_everywhere(&scene, &family);
                bound(&scene, &family);
            }
            for server in &scene.closed {
                assert_eq!(server.seen(), [], "{}", server.addr);
            }
        });
    }
}

/// A service of the host's own on loopback and a published port of the same number.
#[test]
fn loopback_stays_the_hosts_own() {
    for bridge_nf in [false, true] {
        world(Kind::User, || {
            let scene = scene(bridge_nf);
            for family in families(&scene.neighbours) {
                closed(&Ns::host(), at(family.loopback, 8080));
                tcp_server(&Ns::host(), "own", family.loopback, 8080);
                udp_server(&Ns::host(), "own", family.loopback, 8080);
                let here = at(family.loopback, 8080);
                for answer in [tcp(&Ns::host(), here, SOON), udp(&Ns::host(), here, SOON)] {
                    let answer = answer.expect("the host's own");
                    assert_eq!(answer.server, "own");
                    assert_eq!(answer.peer.ip(), family.loopback);
                }
                reached(&Ns::host(), family.up[0], 8080, family.up[0]);
                // A pod's loopback is its own, too.
                closed(&scene.b.ns, here);
            }
            sh("[ $(cat /proc/sys/net/ipv4/conf/all/route_localnet) = 0 ]");
        });
    }
}

/// A service of the host's that is reached from outside isn't cut off, whichever of the
/// host's addresses it is at; one on loopback alone stays what it was.
#[test]
fn a_port_that_the_host_serves_is_refused_unless_it_is_loopbacks() {
    world(Kind::User, || {
        let neighbours = bed(false);
        let pod = super::common::ns_add("a");
        for family in families(&neighbours) {
            tcp_server(&Ns::host(), "own", family.loopback, 8080);
            udp_server(&Ns::host(), "own", family.loopback, 8080);
            tcp_server(&Ns::host(), "own", family.up[0], 8081);
            udp_server(&Ns::host(), "own", family.up[1], 8082);
        }
        let before = super::common::dump::dump(std::slice::from_ref(&pod));
        for port in ["8081:80", "198.18.0.1:8081:80", "[::]:8081:80", "8082:80/udp"] {
            let said = refused(&format!("add dual --netns /run/netns/a -p {port}"), 4);
            let this = format!("process {} (bridge", std::process::id());
            assert!(said.contains(&this) && said.contains("on the host listens there"), "{said}");
        }
        let after = super::common::dump::dump(std::slice::from_ref(&pod));
        super::common::dump::assert_same_world(&before, &after, &["file /run/rootless/leases*"]);
        let ports = "-p 8080:80 -p 8080:53/udp -p 198.18.1.1:8081:80 -p 8082:80";
        super::bed::add(&format!("dual --netns /run/netns/a {ports}"));
        for family in families(&neighbours) {
            let here = at(family.loopback, 8080);
            assert_eq!(tcp(&Ns::host(), here, SOON).expect("the host's own").server, "own");
            assert_eq!(udp(&Ns::host(), here, SOON).expect("the host's own").server, "own");
        }
    });
}

/// The names of owners, and that the loser leaves nothing.
#[test]
fn a_taken_port_names_its_owner() {
    world(Kind::User, || {
        bed(false);
        pod("a", "dual", "-p 8080:80 -p 198.18.0.1:7000:80");
        let b = super::common::ns_add("b");
        let before = super::common::dump::dump(std::slice::from_ref(&b));
        for port in
            ["8080:81", "198.18.0.1:8080:80", "7000:80", "198.18.0.1:7000:80", "0.0.0.0:7000:1"]
        {
            let said = refused(&format!("add dual --netns /run/netns/b -p {port}"), 4);
            assert!(said.contains("taken by dual/a/eth0"), "{port}: {said}");
            let after = super::common::dump::dump(std::slice::from_ref(&b));
            super::common::dump::assert_same_world(&before, &after, &[]);
        }
        super::bed::add("dual --netns /run/netns/b -p 8080:80/udp -p 198.18.1.1:7000:80");
    });
}
