//! DEL of what is left: with a configuration that makes no sense, and after a reboot.

use serde_json::{Value, json};

use super::call::{Plugins, bridge, files, leases, ours, who, with};
use super::common::gone::runs;
use super::common::{Kind, dirs, ns_add, ns_del, sh, sh_out, world};

fn chain() -> Vec<Value> {
    let plugin = |more: Value| with(json!({"cniVersion": "1.0.0", "name": "net"}), more);
    vec![
        with(bridge("1.0.0"), json!({"ipMasq": true})),
        plugin(json!({"type": "portmap", "runtimeConfig": {"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}})),
        plugin(json!({"type": "firewall"})),
        plugin(json!({"type": "tuning", "mtu": 1400, "sysctl": {"net.core.somaxconn": "77"}})),
    ]
}

#[track_caller]
fn nothing_left() {
    assert!(!dirs().run.exists(), "{}", sh_out(&format!("find {}", dirs().run.display())));
    let left = files(&leases("net"));
    assert!(left.iter().all(|(name, _)| name.starts_with("last_") || name == "lock"), "{left:?}");
    assert!(!sh_out("nft list tables").contains("podkeel"), "{}", sh_out("nft list ruleset"));
    assert!(!sh_out("iptables-save").contains("podkeel"), "{}", sh_out("iptables-save"));
    assert!(!sh_out("ip -br link").contains("pk"), "{}", sh_out("ip -br link"));
}

fn add(plugins: &Plugins, list: &[Value]) -> Value {
    plugins.chain("ADD", &who("a"), list, &Value::Null)
}

/// Somebody has changed the network's file to what nobody can read, with pods alive.
#[test]
fn a_configuration_that_makes_no_sense() {
    world(Kind::User, || {
        let (plugins, pod) = (ours(), ns_add("a"));
        sh("iptables -P FORWARD DROP");
        let list = chain();
        let spoilt = [
            json!({"isGateway": "x", "ipam": {"type": "nobodys", "any": 7}}),
            json!({"snat": 7, "runtimeConfig": {"portMappings": "x"}}),
            json!({"backend": 7, "prevResult": 7}),
            json!({"mtu": "x", "sysctl": 7}),
        ];
        let before = pod.sh_out("cat /proc/sys/net/core/somaxconn");
        add(&plugins, &list);
        for (conf, spoilt) in list.iter().zip(spoilt).rev() {
            let conf = with(conf.clone(), spoilt);
            let kind = conf["type"].as_str().expect("a type");
            let output = plugins.call(kind, "DEL", &who("a"), &conf);
            // An address manager of others that isn't there is said to be missing, when all is gone.
            assert!(output.status.success() || kind == "bridge", "{kind}: {output:?}");
        }
        assert_eq!(pod.sh_out("cat /proc/sys/net/core/somaxconn"), before);
        assert!(!pod.sh_out("ip -br link").contains("eth0"));
        nothing_left();
    });
}

/// A reboot leaves records and leases, if /run is kept, and nothing of the kernel's. DEL gives
/// the addresses back; ADD of the same container needs none before it.
#[test]
fn after_a_reboot() {
    world(Kind::User, || {
        let plugins = ours();
        sh("iptables -P FORWARD DROP");
        let list = chain();
        for del_first in [true, false] {
            ns_add("a");
            let result = add(&plugins, &list);
            let run = dirs().run.display().to_string();
            let boot = sh_out("cat /proc/sys/kernel/random/boot_id");
            ns_del("a");
            sh(&format!(
                "ip link del br-cni; nft flush ruleset; iptables -P FORWARD DROP; rm -r {run}/held; \
                 find {run} -name '*.json' -exec sed -i s/{boot}/01234567-89ab-cdef-0123-456789abcdef/ {{}} +"
            ));
            assert!(!sh_out(&format!("cat $(find {run} -name '*.json')")).contains(&boot));
            if del_first {
                plugins.chain("DEL", &who("a"), &list, &result);
                nothing_left();
            }
            let pod = ns_add("a");
            let again = add(&plugins, &list);
            plugins.chain("CHECK", &who("a"), &list, &again);
            assert_eq!(pod.sh_out("cat /proc/sys/net/core/somaxconn"), "77");
            plugins.chain("DEL", &who("a"), &list, &again);
            nothing_left();
            ns_del("a");
            sh("ip link del br-cni");
        }
    });
}

/// Who waits for the kernel after DEL has nobody wait for him: the caller has heard the end of
/// both outputs while such a process is still there.
#[test]
fn the_end_is_heard_before_the_last_process_ends() {
    world(Kind::User, || {
        let plugins = ours();
        let list = chain();
        ns_add("a");
        let program = plugins.dir.join("bridge").display().to_string();
        let mut seen = false;
        // The wait is short: one that is over by the time of the look says nothing.
        for _ in 0..100 {
            let result = add(&plugins, &list);
            for conf in list.iter().rev() {
                plugins.ok("DEL", &who("a"), &with(conf.clone(), json!({"prevResult": result})));
                seen |= runs(&program);
            }
            if seen {
                return;
            }
        }
        panic!("no process was ever there after the end");
    });
}
