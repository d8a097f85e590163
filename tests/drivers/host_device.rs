//! host-device: a link goes into the pod and comes home, whatever becomes of the pod.

use serde_json::{Value, json};

use super::bed::{
    Life, add, host, left, netsetup, network, plugin, reaches, refused, run, settled,
};
use super::call::{ours, who, with};
use super::common::dump::{assert_same_world, dump};
use super::common::flatten::{items, text};
use super::common::{Kind, ns_del, sh, sh_any, sh_json, sh_out, world};

/// A link with an alias of somebody's, up, and its other end in `far`.
const CABLE: &str = "ip link add card0 type veth peer name card1 netns far && \
    ip link set card0 up && ip link set card0 alias 'port 7' && ip -n far link set card1 up && \
    ip -n far addr add 10.5.0.1/24 dev card1 && ip -n far addr add fd05::1/64 dev card1 nodad";

#[test]
fn from_explain_to_del() {
    world(Kind::User, || {
        Life {
            setup: CABLE,
            plugins: vec![plugin("host-device", json!({"device": "card0"}))],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                build own host pin of the pod's namespace at RUN/pins/ID
                build borrow pod link card0 of the host as eth0
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build own pod route default via 10.5.0.1 dev eth0
                open ensure pod neighbours of eth0 told of it",
            ..Life::default()
        }
        .run();
    });
}

/// Its address stays as it was changed, as all that is changed by hand.
#[test]
fn it_comes_home_with_another_address() {
    world(Kind::User, || {
        lend();
        sh("ip -n pod link set eth0 address 02:00:00:00:00:99");
        let said = refused("check net --netns /run/netns/pod", 3);
        assert!(said.contains("its MAC address isn't"), "{said}");
        netsetup("del net --netns /run/netns/pod");
        is_home();
    });
}

/// Nothing of it is as it was but that it is there: it stays, and so does what keeps it.
#[test]
#[ignore = "needs root"]
fn one_that_is_not_known_again_is_not_lost() {
    world(Kind::Root, || {
        lend();
        sh(
            "ip -n pod link add veth7 type veth peer name veth8 && ip -n pod link set eth0 down && \
            ip -n pod link set eth0 name eth9 alias mine address 02:00:00:00:00:99",
        );
        for attempt in ["with its pod", "from the pin"] {
            let said = refused("del net --id pod", 5);
            assert!(said.contains("cannot bring link card0 of the host home"), "{attempt}: {said}");
            assert!(
                said.contains("it may be one of ") && said.contains("eth9"),
                "{attempt}: {said}"
            );
            sh_any("ip netns del pod");
        }
        let said = refused("del net --id pod", 5);
        let hint = said.split_once("if it is: ").expect("a hint").1;
        let command = hint.split_once(';').expect("a command").0.replace("NAME", "eth9");
        sh(&command);
        netsetup("del net --id pod");
        is_home();
    });
}

/// Nothing in the pod can be it: then there is nothing to bring home.
#[test]
fn one_that_is_gone_is_no_error() {
    world(Kind::User, || {
        lend();
        sh("ip -n pod link del eth0");
        for _ in 0..2 {
            netsetup("del net --netns /run/netns/pod");
        }
        assert!(!super::common::dirs().run.exists(), "no record, no pin");
    });
}

#[test]
fn it_comes_home_without_its_pin() {
    world(Kind::User, || {
        lend();
        sh(&format!("umount {}/pins/*", super::common::dirs().run.display()));
        netsetup("del net --netns /run/netns/pod");
        is_home();
    });
}

/// Lends `card0` to `pod`.
fn lend() {
    host();
    sh(CABLE);
    network("net", &plugin("host-device", json!({"device": "card0"})));
    add("net --netns /run/netns/pod");
}

#[track_caller]
fn is_home() {
    let is = &sh_json("ip -j link show card0")[0];
    let is_up = items(&is["flags"]).contains(&json!("UP"));
    assert_eq!(json!([is["ifalias"], is_up]), json!(["port 7", true]));
    assert_eq!(
        sh_out(&format!("ls {}/pins 2>/dev/null | wc -l", super::common::dirs().run.display())),
        "0"
    );
}

#[test]
fn packets_go_over_it() {
    world(Kind::User, || {
        let [pod, _] = host();
        sh(CABLE);
        network("net", &plugin("host-device", json!({"device": "card0"})));
        add("net --netns /run/netns/pod");
        assert!(reaches(&pod, "10.5.0.1") && reaches(&pod, "fd05::1"));
    });
}

/// A namespace that dies takes virtual links with it; the pin keeps it for us.
#[test]
#[ignore = "needs root"]
fn it_comes_home_when_the_pod_died_first() {
    world(Kind::Root, || {
        for by in ["del net --id pod", "gc"] {
            let [_, far] = host();
            sh(CABLE);
            network("net", &plugin("host-device", json!({"device": "card0"})));
            add("net --netns /run/netns/pod");
            netsetup("del net --id pod");
            ns_del("pod");
            let before = settled(std::slice::from_ref(&far));
            super::bed::pod("pod");
            add("net --netns /run/netns/pod");
            ns_del("pod");
            assert!(run("gc --dry-run").status.success());
            assert_eq!(sh_out("ip -br link | grep -c card0 || true"), "0");
            netsetup(by);
            assert_eq!(left(&before, std::slice::from_ref(&far)), [""; 0], "after {by}");
            ns_del("far");
            sh(
                "ip link del card0 2>/dev/null; while ip link show up0 >/dev/null 2>&1; do sleep 0.1; done",
            );
        }
    });
}

#[test]
fn a_namesake_on_the_host_is_no_reason_to_lose_it() {
    world(Kind::User, || {
        host();
        sh(CABLE);
        network("net", &plugin("host-device", json!({"device": "card0"})));
        add("net --netns /run/netns/pod");
        sh("ip link add card0 type bridge");
        let said = refused("del net --netns /run/netns/pod", 4);
        assert!(said.contains("the host has another link card0 by now"), "{said}");
        sh("ip -n pod link show eth0");
        sh("ip link del card0");
        netsetup("del net --netns /run/netns/pod");
        assert_eq!(sh_json("ip -j link show card0")[0]["ifalias"], "port 7");
    });
}

#[test]
#[ignore = "needs root"]
fn it_is_found_by_its_address_and_by_its_place() {
    world(Kind::Root, || {
        let all = host();
        sh(CABLE);
        let mac = text(&sh_json("ip -j link show card0")[0]["address"]);
        let explain = |keys| {
            network("net", &plugin("host-device", keys));
            netsetup("explain net --netns /run/netns/pod")
        };
        let before = dump(&all);
        for keys in [
            json!({"hwaddr": mac}),
            json!({"hwaddr": mac, "pciBusID": "0000:00:00.7"}),
            json!({"device": "card0", "hwaddr": "02:00:00:00:00:01"}),
        ] {
            let text = explain(keys);
            assert!(text.contains("link card0 of the host as eth0"), "{text}");
        }
        let first = sh_out("ls /sys/devices/virtual/net | sort | head -1");
        let text = explain(json!({"kernelpath": "/sys/devices/virtual"}));
        assert!(text.contains(&format!("link {first} of the host as eth0")), "{text}");
        for (keys, says) in [
            (
                json!({"device": "nosuch"}),
                "cannot find the host's device nosuch: there is no such link",
            ),
            (json!({"hwaddr": "02:00:00:00:00:01"}), "device with address 02:00:00:00:00:01"),
            (json!({"kernelpath": "/sys/devices/nosuch"}), "device at /sys/devices/nosuch"),
            (json!({"pciBusID": "0000:00:00.7"}), "device with PCI address 0000:00:00.7"),
        ] {
            network("net", &plugin("host-device", keys));
            let said = refused("explain net --netns /run/netns/pod", 5);
            assert!(said.contains(says), "{said}");
        }
        assert_same_world(&before, &dump(&all), &[]);
    });
}

/// Nor after the pod's end, when the pin alone keeps it.
#[test]
fn nor_when_the_pod_has_died() {
    world(Kind::User, || {
        host();
        sh(CABLE);
        network("net", &plugin("host-device", json!({"device": "card0"})));
        for by in ["del net --id pod", "gc"] {
            add("net --netns /run/netns/pod");
            ns_del("pod");
            sh("ip link add card0 type bridge");
            let output = run(by);
            let said = [output.stderr, output.stdout].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(!output.status.success(), "{by}: {said}");
            assert!(said.contains("the host has another link card0 by now"), "{by}: {said}");
            sh("ip link del card0");
            netsetup(by);
            assert_eq!(sh_json("ip -j link show card0")[0]["ifalias"], "port 7", "{by}");
            super::bed::pod("pod");
        }
    });
}

/// What is set of a link that is lent is put back before it goes home, whatever its name is by
/// then: by one plan, and by a chain of plugins, each of which is called by itself.
#[test]
fn its_settings_come_home_too() {
    world(Kind::User, || {
        host();
        sh(CABLE);
        let tuning = json!({"type": "tuning", "mtu": 1400, "mac": "02:00:00:00:00:77"});
        let plugins = [plugin("host-device", json!({"device": "card0"})), tuning];
        let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": plugins});
        let file = super::common::dirs().conf.join("net.conflist");
        std::fs::write(file, list.to_string()).expect("a conflist");
        let calls =
            plugins.map(|plugin| with(plugin, json!({"cniVersion": "1.0.0", "name": "net"})));
        let of = |link| {
            let is = &sh_json(&format!("ip {link}"))[0];
            json!([is["mtu"], is["address"]])
        };
        let before = of("-j link show card0");
        let tuned = json!([1400, "02:00:00:00:00:77"]);
        let other = "ip -n pod link set eth0 down && ip -n pod link set eth0 name eth9";
        let stranger = "ip -n pod link add eth0 mtu 1400 type veth peer name x";
        for renamed in ["true", other, &format!("{other} && {stranger}")] {
            add("net --netns /run/netns/pod");
            assert_eq!(of("-n pod -j link show eth0"), tuned);
            netsetup("check net --netns /run/netns/pod");
            sh(renamed);
            netsetup("del net --netns /run/netns/pod");
            assert_eq!(of("-j link show card0"), before, "{renamed}");
            sh("ip -n pod link del eth0 2>/dev/null; true");

            let result = ours().chain("ADD", &who("pod"), &calls, &Value::Null);
            assert_eq!(of("-n pod -j link show eth0"), tuned);
            sh(renamed);
            ours().chain("DEL", &who("pod"), &calls, &result);
            assert_eq!(of("-j link show card0"), before, "a chain: {renamed}");
            sh("ip -n pod link del eth0 2>/dev/null; true");
        }
    });
}
