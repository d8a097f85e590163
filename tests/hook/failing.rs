//! A hook that fails leaves the host as it was: also under crun, which calls no poststop
//! then.

use super::bed::{Bundle, DUAL, ENGINES, assert_as_before, netsetup, network, settled};
use super::common::dump::dump;
use super::common::traffic::tcp_server;
use super::common::{Kind, Ns, neighbour, ns_add, world};

#[test]
#[ignore = "needs root"]
fn a_failing_hook_leaves_the_host_as_it_was() {
    for engine in ENGINES {
        world(Kind::Root, || {
            network("dual", DUAL);
            let far = neighbour("far", 0);
            tcp_server(&Ns::host(), "own", far.host_v4, 8081);
            ns_add("taker");
            netsetup("add bridge --netns /run/netns/taker -p 8080:80");
            let all = [far.ns, Ns::named("taker")];
            settled(&all);
            let before = dump(&all);
            for (flags, annotation, value, why) in [
                ("", "publish", "nonsense", "cannot read annotation dev.podkeel.publish"),
                ("", "netwerk", "bridge", "there is no such annotation"),
                ("", "sysctl.kernel.hostname", "x", "only net.* can be set"),
                ("", "sysctl.net.none", "1", "there is no such sysctl"),
                ("", "publish", "8080:80", "taken by bridge/taker/eth0"),
                ("--network dual", "publish", "8080:80", "taken by bridge/taker/eth0"),
                ("", "publish", "8081:80", "on the host listens there"),
                ("", "ip", "10.89.0.2", "10.89.0.2"),
                ("", "network", "nowhere", "nowhere"),
                ("", "network", "bridge,nowhere", "nowhere"),
                ("", "network", "bridge,bridge", "bridge is named twice"),
            ] {
                let stages = &["prestart", "createRuntime", "poststop"];
                let bundle = Bundle::new(engine, "web").stages(stages).flags(flags);
                let said = bundle.annotation(annotation, value).fails();
                assert!(said.contains(why), "{engine} {annotation}={value}: {said}");
                // Forwarding is turned on for good, even when the rest is taken back.
                assert_as_before(&before, &dump(&all), &format!("{engine} {annotation}={value}"));
            }
            netsetup("check bridge --netns /run/netns/taker");
        });
    }
}

/// Of two networks the second can't be: the first, which was whole, goes again.
#[test]
#[ignore = "needs root"]
fn a_second_network_that_fails_takes_the_first_with_it() {
    for engine in ENGINES {
        world(Kind::Root, || {
            network("dual", DUAL);
            super::common::sh(
                "ip link add old type veth peer name older && ip link set old addrgenmode none && \
                 ip addr add 10.90.3.1/24 dev old && ip link set old up",
            );
            let before = dump(&[]);
            let bundle = Bundle::new(engine, "web").flags("--network bridge --network dual");
            let said = bundle.flags("-p 8080:80 --sysctl net.core.somaxconn=77").fails();
            assert!(said.contains("the host has a route to 10.90.3.0/24 over old"), "{said}");
            assert_as_before(&before, &dump(&[]), engine);
        });
    }
}
