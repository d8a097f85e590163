//! A host that has its IPv6 default route from a router's advertisements.

use super::bed::{DUAL, add, netsetup, network};
use super::common::router::advertise;
use super::common::traffic::{SOON, tcp, tcp_server};
use super::common::{Kind, Neighbour, Ns, neighbour, ns_add, sh, sh_out, world};

/// A host whose only IPv6 default route is learnt from its neighbour.
fn learnt() -> Neighbour {
    let far = neighbour("far", 0);
    sh("ip -6 route del default && echo 1 >/proc/sys/net/ipv6/conf/up0/accept_ra");
    advertise(&far.ns, "eth0", 1800);
    assert!(until(|| route().contains("proto ra")), "{}", sh_out("ip -6 route"));
    far
}

fn route() -> String {
    sh_out("ip -6 route show default")
}

fn until(check: impl Fn() -> bool) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        check()
    })
}

/// The kernel's own behaviour, without which the next test proves nothing.
#[test]
fn a_host_that_forwards_loses_what_it_learnt() {
    world(Kind::User, || {
        learnt();
        sh("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
        assert!(until(|| route().is_empty()), "{}", route());
    });
}

#[test]
fn a_learnt_default_route_outlives_the_first_pod() {
    world(Kind::User, || {
        network("dual", DUAL);
        let far = learnt();
        let before = route();
        ns_add("a");
        let plan = netsetup("explain dual --netns /run/netns/a");
        let line = |what: &str| plan.lines().position(|l| l.contains(what)).expect("a step");
        let (accept, forward) =
            (line("net.ipv6.conf.up0.accept_ra=2"), line("net.ipv6.conf.all.forwarding=1"));
        assert!(accept < forward, "{plan}");

        add("dual --netns /run/netns/a");
        let words = |text: &str| text.split(" expires").next().unwrap_or_default().to_owned();
        assert_eq!(words(&route()), words(&before));
        assert_eq!(sh_out("cat /proc/sys/net/ipv6/conf/all/forwarding"), "1");
        let web = tcp_server(&far.ns, "web", far.v6, 80);
        tcp(&Ns::named("a"), web.addr, SOON).expect("the pod's way out");

        // Later advertisements count, too: a lifetime of none takes the route away.
        advertise(&far.ns, "eth0", 0);
        assert!(until(|| route().is_empty()), "{}", route());
        advertise(&far.ns, "eth0", 1800);
        assert!(until(|| route().contains("proto ra")), "{}", route());
        netsetup("del dual --netns /run/netns/a");
        assert!(route().contains("proto ra"), "{}", route());
    });
}

/// Of a pod's advertisements a host takes no notice.
#[test]
fn a_pod_cannot_give_the_host_a_route() {
    world(Kind::User, || {
        network("dual", DUAL);
        let far = learnt();
        ns_add("a");
        add("dual --netns /run/netns/a");
        let pod = Ns::named("a");
        for _ in 0..3 {
            advertise(&pod, "eth0", 1800);
        }
        // One from the uplink after it is taken: the kernel has seen the others by then.
        advertise(&far.ns, "eth0", 0);
        assert!(until(|| route().is_empty()), "{}", route());
    });
}
