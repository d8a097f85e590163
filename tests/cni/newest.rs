//! Answers in the newest version of the specification: 1.1.0 has mtus, and more of routes.

use serde_json::{Value, json};

use super::call::{Who, bridge, host_local, ours, who, with};
use super::common::{Kind, dirs, ns_add, sh, sh_json, sh_out, world};

fn conf(kind: &str, more: Value) -> Value {
    with(json!({"cniVersion": "1.1.0", "name": "net", "type": kind}), more)
}

/// Names and mtus of a result's interfaces that are there, by what the kernel says.
#[track_caller]
fn as_the_kernel_has_them(result: &Value, pod: &str) {
    assert_eq!(result["cniVersion"], "1.1.0");
    for interface in result["interfaces"].as_array().expect("interfaces") {
        let name = interface["name"].as_str().expect("a name");
        let at =
            if interface.get("sandbox").is_some() { format!("-n {pod}") } else { String::new() };
        let links = sh_json(&format!("ip {at} -j link show {name}"));
        assert_eq!(interface["mtu"], links[0]["mtu"], "{name}: {result}");
        assert_eq!(interface["mac"], links[0]["address"], "{name}: {result}");
    }
    for ip in result["ips"].as_array().into_iter().flatten() {
        assert_eq!(ip.get("version"), None, "{result}");
    }
}

#[test]
fn answers_of_every_plugin() {
    world(Kind::User, || {
        let (plugins, pod) = (ours(), ns_add("a"));
        let routes = json!([{"dst": "10.9.0.0/16", "mtu": 1300, "advmss": 1200, "priority": 7}]);
        let ipam = with(host_local(&["10.77.0.0/24"]), json!({"routes": routes}));
        let under = || sh("ip link add under up type veth peer name other && ip link set other up");
        for (conf, mtu) in [
            (conf("ptp", json!({"ipMasq": true, "ipam": ipam})), 1500),
            (conf("ptp", json!({"mtu": 1400, "ipam": ipam})), 1400),
            (with(bridge("1.1.0"), json!({"ipam": ipam})), 1500),
            (with(bridge("1.1.0"), json!({"mtu": 1400, "ipam": ipam})), 1400),
            (conf("macvlan", json!({"master": "under", "ipam": ipam})), 1500),
            (conf("host-device", json!({"device": "under", "ipam": ipam})), 1500),
        ] {
            under();
            let result = plugins.ok("ADD", &who("a"), &conf);
            as_the_kernel_has_them(&result, "a");
            let inner = result["interfaces"].as_array().and_then(|all| all.last()).expect("one");
            assert_eq!((&inner["name"], &inner["mtu"]), (&json!("eth0"), &json!(mtu)), "{result}");
            let listed = &result["routes"][0];
            assert_eq!(
                (&listed["mtu"], &listed["advmss"], &listed["priority"]),
                (&json!(1300), &json!(1200), &json!(7))
            );
            let told = with(conf.clone(), json!({"prevResult": result}));
            plugins.ok("CHECK", &who("a"), &told);
            let firewall = with(told.clone(), json!({"type": "firewall"}));
            assert_eq!(plugins.ok("ADD", &who("a"), &firewall), result, "handed through");
            plugins.ok("CHECK", &who("a"), &firewall);
            plugins.ok("DEL", &who("a"), &firewall);
            plugins.ok("DEL", &who("a"), &told);
            assert!(!pod.sh_out("ip -br link").contains("eth0"));
            sh("ip link del under");
        }
        let lo = Who { ifname: "lo".into(), ..who("a") };
        let loopback = conf("loopback", json!({}));
        let result = plugins.ok("ADD", &lo, &loopback);
        // As the reference: what no frame leaves by has none.
        let interface =
            json!({"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/run/netns/a"});
        assert_eq!(
            (&result["cniVersion"], &result["interfaces"]),
            (&json!("1.1.0"), &json!([interface]))
        );
        plugins.ok("CHECK", &lo, &with(loopback.clone(), json!({"prevResult": result})));
        plugins.ok("DEL", &lo, &loopback);
        let fixed = json!({"type": "static", "addresses": [{"address": "10.77.0.9/24", "gateway": "10.77.0.1"}],
                           "routes": routes});
        for (conf, ip) in [
            (conf("host-local", json!({"ipam": ipam})), "10.77.0."),
            (conf("static", json!({"ipam": fixed})), "10.77.0.9/24"),
        ] {
            let result = plugins.ok("ADD", &who("a"), &conf);
            assert_eq!((&result["cniVersion"], result.get("interfaces")), (&json!("1.1.0"), None));
            assert!(result["ips"][0]["address"].as_str().expect("one").starts_with(ip), "{result}");
            assert_eq!(
                (&result["ips"][0]["gateway"], &result["routes"]),
                (&json!("10.77.0.1"), &routes)
            );
            plugins.ok("CHECK", &who("a"), &with(conf.clone(), json!({"prevResult": result})));
            plugins.ok("DEL", &who("a"), &conf);
        }
        assert!(!dirs().run.exists(), "{}", sh_out("find /run -name '*podkeel*'"));
    });
}
