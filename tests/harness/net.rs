//! Neighbours, servers, clients and the prober, between plain namespaces.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::common::prober::{Prober, Target};
use super::common::traffic::{NEVER, SOON, curl, tcp, tcp_server, udp, udp_server};
use super::common::{Kind, Ns, in_netns, neighbour, sh, sh_out, world};

#[test]
fn answers_name_the_server_and_the_asker() {
    world(Kind::User, || {
        let other = neighbour("other", 0);
        let host = Ns::host();
        for (mine, theirs) in [
            (IpAddr::V4(other.host_v4), IpAddr::V4(other.v4)),
            (IpAddr::V6(other.host_v6), IpAddr::V6(other.v6)),
        ] {
            let web = tcp_server(&host, "web", mine, 0);
            let dns = udp_server(&host, "dns", mine, 0);
            for answer in [tcp(&other.ns, web.addr, SOON), udp(&other.ns, dns.addr, SOON)] {
                let answer = answer.expect("an answer");
                assert_eq!(answer.peer.ip(), theirs);
                assert_eq!(answer.at.ip(), mine);
            }
            let answer = curl(&other.ns, web.addr);
            assert_eq!((answer.server.as_str(), answer.peer.ip()), ("web", theirs));
            assert_eq!(web.seen().len(), 2);
            assert_eq!(dns.seen().len(), 1);
            // And the other way round, by a server on a wildcard address.
            let any: IpAddr = match mine {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let back = tcp_server(&other.ns, "back", any, 7000 + u16::from(mine.is_ipv6()));
            let to = SocketAddr::new(theirs, back.addr.port());
            let answer = tcp(&host, to, SOON).expect("an answer");
            assert_eq!((answer.server.as_str(), answer.peer.ip()), ("back", mine));
        }
    });
}

#[test]
fn what_is_closed_does_not_answer() {
    world(Kind::User, || {
        let other = neighbour("other", 0);
        let host = Ns::host();
        let web = tcp_server(&host, "web", other.host_v4, 0);
        let dns = udp_server(&host, "dns", other.host_v6, 0);
        let closed = |addr: SocketAddr| SocketAddr::new(addr.ip(), 9);
        let kind = |r: std::io::Result<_>| {
            r.map(|a: super::common::traffic::Answer| a.peer).expect_err("closed").kind()
        };
        assert_eq!(kind(tcp(&other.ns, closed(web.addr), SOON)), ErrorKind::ConnectionRefused);
        assert_eq!(kind(udp(&other.ns, closed(dns.addr), SOON)), ErrorKind::ConnectionRefused);
        sh(
            "nft add table inet t && nft add chain inet t in '{type filter hook input priority 0; policy drop;}'",
        );
        assert_eq!(kind(tcp(&other.ns, web.addr, NEVER)), ErrorKind::TimedOut);
        assert_eq!(kind(udp(&other.ns, dns.addr, NEVER)), ErrorKind::WouldBlock);
        assert!(web.seen().is_empty() && dns.seen().is_empty());
    });
}

#[test]
fn two_neighbours_see_each_other_through_the_host() {
    world(Kind::User, || {
        let (a, b) = (neighbour("a", 0), neighbour("b", 1));
        sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        for (mine, theirs) in [(IpAddr::V4(a.v4), IpAddr::V4(b.v4)), (a.v6.into(), b.v6.into())] {
            let server = tcp_server(&b.ns, "b", theirs, 0);
            assert_eq!(tcp(&a.ns, server.addr, SOON).expect("routed").peer.ip(), mine);
        }
        assert!(sh_out("ip route show default").contains("via 198.18.0.2 dev up0"));
        // A masqueraded asker is told from a true one.
        sh(
            "nft add table ip n && nft add chain ip n p '{type nat hook postrouting priority 100;}' && \
            nft add rule ip n p oifname up1 masquerade",
        );
        let server = tcp_server(&b.ns, "b", b.v4, 0);
        assert_eq!(tcp(&a.ns, server.addr, SOON).expect("routed").peer.ip(), b.host_v4);
    });
}

#[test]
fn the_prober_finds_a_hole_that_is_open_for_a_moment() {
    world(Kind::User, || {
        let other = neighbour("other", 0);
        let host = Ns::host();
        let servers =
            [tcp_server(&host, "t", other.host_v4, 0), udp_server(&host, "u", other.host_v6, 0)];
        let targets = [Target::Tcp(servers[0].addr), Target::Udp(servers[1].addr)];
        // Neighbour discovery stays open: see Prober.
        let close = "nft add rule inet t in meta l4proto '{ tcp, udp }' drop";
        sh("nft add table inet t && \
            nft add chain inet t in '{type filter hook input priority 0; policy accept;}'");
        sh(close);
        let prober = Prober::start(&other.ns, &targets);
        prober.wait(20);
        assert!(servers.iter().all(|s| s.seen().is_empty()), "closed, so far");
        sh(&format!("nft flush chain inet t in && sleep 0.1 && {close}"));
        prober.wait(4);
        let tries = prober.tries();
        let through = prober.stop();
        assert!(servers.iter().all(|s| !s.seen().is_empty()), "{tries} tries");
        for name in ["t", "u"] {
            assert!(through.iter().any(|a| a.server == name), "{tries} tries");
        }
        let prober = Prober::start(&other.ns, &targets);
        prober.wait(20);
        assert_eq!(prober.stop(), []);
    });
}

#[test]
fn a_visit_does_not_move_the_visitor() {
    world(Kind::User, || {
        let other = neighbour("other", 0);
        let before = std::fs::read_link("/proc/thread-self/ns/net").expect("link");
        let inside =
            in_netns(&other.ns, || std::fs::read_link("/proc/thread-self/ns/net").expect("link"));
        assert_ne!(before, inside);
        assert_eq!(before, std::fs::read_link("/proc/thread-self/ns/net").expect("link"));
        let text = super::fails(|| in_netns(&Ns::at("none", "/dev/null"), || ()));
        assert!(text.contains("cannot enter none"), "{text}");
    });
}
