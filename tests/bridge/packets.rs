//! Pods among themselves and on their way out: who is seen as whom.

use std::net::{IpAddr, UdpSocket};

use super::bed::{Pod, at, bed, families, network, pod};
use super::common::traffic::{NEVER, SOON, tcp, tcp_server, udp, udp_server};
use super::common::{Kind, Ns, in_netns, sh, world};

#[test]
fn two_pods_see_each_other_as_they_are() {
    for bridge_nf in [false, true] {
        world(Kind::User, || {
            let neighbours = bed(bridge_nf);
            let (a, b) = (pod("a", "dual", ""), pod("b", "dual", ""));
            for family in families(&neighbours) {
                let [from, to] = [&a, &b].map(|pod| pod.ips[family.at]);
                let web = tcp_server(&b.ns, "b", to, 80);
                let dns = udp_server(&b.ns, "b", to, 53);
                a.ns.sh(&format!("ping -nqc1 -W2 {to}"));
                b.ns.sh(&format!("ping -nqc1 -W2 {from}"));
                let answer = tcp(&a.ns, at(to, 80), SOON).expect("an answer");
                assert_eq!((answer.peer.ip(), answer.at), (from, at(to, 80)));
                let answer = udp(&a.ns, at(to, 53), SOON).expect("an answer");
                assert_eq!(answer.peer.ip(), from);
                // The host, too, as what it is on their network.
                let answer = tcp(&Ns::host(), at(to, 80), SOON).expect("an answer");
                assert_eq!(answer.peer.ip(), family.bridge);
                assert_eq!((web.seen().len(), dns.seen().len()), (2, 1));
            }
        });
    }
}

#[test]
fn a_pod_goes_out_as_its_host() {
    for bridge_nf in [false, true] {
        world(Kind::User, || {
            let neighbours = bed(bridge_nf);
            let a = pod("a", "dual", "");
            for family in families(&neighbours) {
                for n in [0, 1] {
                    let (far, to) = (&neighbours[n].ns, family.far[n]);
                    let web = tcp_server(far, "web", to, 80);
                    let dns = udp_server(far, "dns", to, 53);
                    let answer = tcp(&a.ns, web.addr, SOON).expect("an answer");
                    assert_eq!(answer.peer.ip(), family.up[n]);
                    let answer = udp(&a.ns, dns.addr, SOON).expect("an answer");
                    assert_eq!(answer.peer.ip(), family.up[n]);
                    a.ns.sh(&format!("ping -nqc1 -W2 {to}"));
                }
            }
        });
    }
}

/// What arrives at port 5000 of `b` when `a` sends to `to`, and from whom.
fn hear(a: &Pod, b: &Pod, any: IpAddr, to: IpAddr) -> IpAddr {
    let index = |pod: &Pod| -> u32 {
        let index = pod.ns.sh_json("ip -j link show dev eth0")[0]["ifindex"].take();
        serde_json::from_value(index).expect("an index")
    };
    let scope = index(b);
    let listener = in_netns(&b.ns, || {
        let socket = UdpSocket::bind((any, 5000)).expect("bind");
        match to {
            IpAddr::V4(group) if group.is_multicast() => {
                let own = match b.ips[0] {
                    IpAddr::V4(own) => own,
                    IpAddr::V6(_) => unreachable!("IPv4 comes first"),
                };
                socket.join_multicast_v4(&group, &own).expect("join");
            }
            IpAddr::V6(group) => socket.join_multicast_v6(&group, scope).expect("join"),
            IpAddr::V4(_) => {}
        }
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        socket
    });
    let scope = index(a);
    in_netns(&a.ns, || {
        let own = a.ips[usize::from(to.is_ipv6())];
        let socket = UdpSocket::bind((own, 0)).expect("bind");
        socket.set_broadcast(true).expect("broadcast");
        match to {
            IpAddr::V4(to) => socket.send_to(b"!", (to, 5000)),
            IpAddr::V6(to) => socket.send_to(b"!", std::net::SocketAddrV6::new(to, 5000, 0, scope)),
        }
        .expect("send");
    });
    let (_, peer) = listener.recv_from(&mut [0; 8]).unwrap_or_else(|e| panic!("to {to}: {e}"));
    peer.ip()
}

#[test]
fn what_goes_to_all_of_them_keeps_its_true_address() {
    for bridge_nf in [false, true] {
        world(Kind::User, || {
            let neighbours = bed(bridge_nf);
            let (a, b) = (pod("a", "dual", ""), pod("b", "dual", ""));
            let [v4, v6] = families(&neighbours);
            for (family, to) in [
                (v4, "224.0.0.251"),
                (v4, "239.1.2.3"),
                (v4, "10.90.255.255"),
                (v4, "255.255.255.255"),
                (v6, "ff02::fb"),
                (v6, "ff05::1:3"),
            ] {
                let seen = hear(&a, &b, family.any, to.parse().expect("an address"));
                assert_eq!(seen, a.ips[family.at], "to {to}, bridge-nf {bridge_nf}");
            }
        });
    }
}

#[test]
fn a_network_without_masquerade_shows_its_pods() {
    world(Kind::User, || {
        let neighbours = bed(false);
        let list = super::bed::DUAL.replace("\"ipMasq\": true", "\"ipMasq\": false");
        network("dual", &list);
        let a = pod("a", "dual", "");
        for family in families(&neighbours) {
            let web = tcp_server(&neighbours[0].ns, "web", family.far[0], 80);
            let answer = tcp(&a.ns, web.addr, SOON).expect("an answer");
            assert_eq!(answer.peer.ip(), a.ips[family.at]);
        }
    });
}

/// Docker's doing: what is forwarded is dropped by policy. add succeeds, says which
/// chain it is, and what it says to do about it is what helps.
#[test]
fn a_forward_policy_of_drop_is_named_and_the_hint_helps() {
    world(Kind::User, || {
        let neighbours = bed(false);
        let web = [0, 1].map(|n| {
            let family = families(&neighbours)[n];
            tcp_server(&neighbours[0].ns, "web", family.far[0], 80)
        });
        let warnings = |flags: &str| -> Vec<String> {
            let output = super::bed::run(&format!("add dual --netns /run/netns/a {flags}"));
            assert!(output.status.success(), "{}", super::common::told("add", &output));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            super::bed::netsetup("del dual --netns /run/netns/a");
            said.lines().map(str::to_owned).collect()
        };
        super::common::ns_add("a");
        assert_eq!(warnings(""), [""; 0], "nothing drops yet");
        sh("iptables-nft -A FORWARD -s 192.0.2.1 -j DROP && iptables-nft -P FORWARD ACCEPT");
        assert_eq!(warnings(""), [""; 0], "a rule for somebody else");
        sh("iptables-nft -P FORWARD DROP");
        let said = warnings("");
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("chain FORWARD of table ip filter has policy drop"), "{said:?}");
        sh("ip6tables-nft -P FORWARD DROP");
        let said = warnings("-p 8080:80");
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[1].contains("chain FORWARD of table ip6 filter has policy drop"), "{said:?}");

        super::bed::add("dual --netns /run/netns/a");
        let a = Ns::named("a");
        for server in &web {
            assert!(tcp(&a, server.addr, NEVER).is_err(), "the warning is true");
        }
        for line in &said {
            let hint = line.split('`').nth(1).expect("the command is in backticks");
            sh(hint);
        }
        for server in &web {
            tcp(&a, server.addr, SOON).expect("the hint helps");
        }
    });
}
