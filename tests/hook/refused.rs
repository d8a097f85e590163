//! What is refused before anything is changed.

use serde_json::json;

use super::bed::{Bundle, ENGINES, assert_as_before, netsetup, settled};
use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, Ns, ns_add, world};

/// A container without a network namespace of its own: what it would get, the host would.
#[test]
#[ignore = "needs root"]
fn a_container_in_the_hosts_namespace() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let before = dump(&[]);
            let host = json!({"type": "network", "path": "/proc/1/ns/net"});
            for entry in [None, Some(host)] {
                let bundle = Bundle::new(engine, "web").netns(entry).flags("-p 8080:80");
                let said = bundle.fails();
                assert!(said.contains("it is the host's own network namespace"), "{said}");
                assert_same_world(&before, &dump(&[]), &[]);
            }
        });
    }
}

/// A namespace that another container's attachment is in already.
#[test]
#[ignore = "needs root"]
fn a_namespace_that_another_attachment_holds() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let shared = ns_add("shared");
            let entry = json!({"type": "network", "path": "/run/netns/shared"});
            let first = Bundle::new(engine, "first").netns(Some(entry.clone()));
            let all = [shared];
            let untouched = dump(&all);
            first.start();
            settled(&all);
            let before = dump(&all);
            let second = Bundle::new(engine, "second").netns(Some(entry)).flags("-p 8080:80");
            let said = second.fails();
            let why = "attachment bridge/first/eth0 holds eth0 there already";
            assert!(said.contains(why), "{said}");
            assert_same_world(&before, &dump(&all), &[]);
            netsetup("check bridge --id first");
            first.stop();
            assert_as_before(&untouched, &dump(&all), engine);
        });
    }
}

/// An interface of that name that isn't ours at all.
#[test]
#[ignore = "needs root"]
fn a_namespace_that_has_such_an_interface() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let shared = ns_add("shared");
            shared.sh("ip link add eth0 type bridge");
            let all = [shared];
            let before = dump(&all);
            let entry = json!({"type": "network", "path": "/run/netns/shared"});
            let said = Bundle::new(engine, "web").netns(Some(entry)).fails();
            assert!(said.contains("it has a link eth0 already (bridge)"), "{said}");
            assert_same_world(&before, &dump(&all), &[]);
            Ns::named("shared").sh("ip link show eth0");
        });
    }
}
