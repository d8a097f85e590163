//! GC: what isn't valid any more goes, whoever forgot it; what is valid stays.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::call::{bridge, files, host_local, leases, ours, who, with};
use super::common::gone::{gone_links, group_of};
use super::common::{Kind, dirs, ns_add, ns_del, sh, sh_out, world};

#[test]
fn what_is_not_valid_goes() {
    world(Kind::User, || {
        let plugins = ours();
        let version = json!({"cniVersion": "1.1.0"});
        let conf = with(with(bridge("1.1.0"), json!({"ipMasq": true})), version.clone());
        let portmap = |port: u16, prev: &Value| {
            json!({"cniVersion": "1.1.0", "name": "net", "type": "portmap", "prevResult": prev, "runtimeConfig":
                   {"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]}})
        };
        for (name, port) in [("a", 8080), ("b", 8081), ("c", 8082)] {
            ns_add(name);
            let result = plugins.ok("ADD", &who(name), &conf);
            plugins.ok("ADD", &who(name), &portmap(port, &result));
        }
        // Another network's are none of its business.
        let other = json!({"name": "other", "bridge": "br-x", "ipam": {"type": "host-local", "subnet": "10.78.0.0/24"}});
        ns_add("d");
        plugins.ok("ADD", &who("d"), &with(conf.clone(), other));
        // A lease of nobody's, and a namespace that is gone.
        std::fs::write(leases("net").join("10.77.0.99"), "lost\r\neth0").expect("a lease");
        ns_del("c");
        let valid = json!({"cni.dev/valid-attachments": [{"containerID": "b", "ifname": "eth0"}]});
        let gc = |conf: &Value| plugins.ok("GC", &who("x"), &with(conf.clone(), valid.clone()));
        gc(&conf);
        gc(&portmap(1, &json!({})));
        let left: Vec<String> = files(&leases("net")).into_iter().map(|(_, owner)| owner).collect();
        let of = |name: &str| left.iter().filter(|owner| owner.starts_with(name)).count();
        assert_eq!([of("a"), of("b"), of("c"), of("lost")], [0, 2, 0, 0], "{left:?}");
        assert!(!sh_out("ip -n a -br link").contains("eth0"));
        assert!(
            sh_out("ip -n b -br link").contains("eth0")
                && sh_out("ip -n d -br link").contains("eth0")
        );
        let ports = sh_out("nft list map inet podkeel ports4");
        assert!(
            ports.contains("8081") && !ports.contains("8080") && !ports.contains("8082"),
            "{ports}"
        );
        let masq = sh_out("nft list set inet podkeel masq4");
        assert_eq!(masq.matches("10.77.0.").count(), 1, "{masq}");
        gc(&conf);
        plugins.ok("DEL", &who("b"), &conf);
    });
}

/// The key's other name, and both at once as libcni sends them; each plugin by its own name.
#[test]
fn gc_of_each_plugin() {
    world(Kind::User, || {
        let plugins = ours();
        sh("iptables -P FORWARD DROP");
        let conf = |more: Value| with(json!({"cniVersion": "1.1.0", "name": "net"}), more);
        let chain = |name: &str, port: u16| {
            let pod = ns_add(name);
            let list = vec![
                with(bridge("1.1.0"), json!({"ipMasq": true})),
                conf(json!({"type": "portmap", "runtimeConfig": {"portMappings": [
                    {"hostPort": port, "containerPort": 80}]}})),
                conf(json!({"type": "firewall"})),
                conf(json!({"type": "tuning", "mtu": 1400})),
                conf(json!({"type": "tuning", "promisc": true})),
            ];
            plugins.chain("ADD", &who(name), &list, &Value::Null);
            (pod, list)
        };
        let ((a, list), (b, _)) = (chain("a", 8080), chain("b", 8081));
        let leased = conf(
            json!({"type": "host-local", "name": "other", "ipam": host_local(&["10.79.0.0/24"])}),
        );
        for name in ["a", "b"] {
            plugins.ok("ADD", &who(name), &leased);
        }
        let one = json!([{"containerID": "b", "ifname": "eth0"}]);
        let short = json!({"cni.dev/attachments": one});
        let both = json!({"cni.dev/valid-attachments": one, "cni.dev/attachments": one});
        let accepts = || sh_out("iptables -S CNI-FORWARD").matches("10.77.0.").count();
        assert_eq!(accepts(), 6);
        plugins.ok("GC", &who("x"), &with(list[2].clone(), short.clone()));
        assert_eq!(accepts(), 3);
        let link = |pod: &super::common::Ns| pod.sh_out("ip link show eth0");
        plugins.ok("GC", &who("x"), &with(list[3].clone(), both.clone()));
        assert!(link(&a).contains("mtu 1500") && !link(&a).contains("PROMISC"), "{}", link(&a));
        assert!(link(&b).contains("mtu 1400") && link(&b).contains("PROMISC"), "{}", link(&b));
        plugins.ok("GC", &who("x"), &with(list[1].clone(), both.clone()));
        let ports = sh_out("nft list map inet podkeel ports4");
        assert!(ports.contains("8081") && !ports.contains("8080"), "{ports}");
        plugins.ok("GC", &who("x"), &with(list[0].clone(), short.clone()));
        assert!(!sh_out("ip -n a -br link").contains("eth0"));
        plugins.ok("GC", &who("x"), &with(leased.clone(), short));
        let owners = |network: &str| {
            let all =
                files(&leases(network)).into_iter().filter(|(name, _)| !name.starts_with("last"));
            all.map(|(_, owner)| owner).collect::<Vec<_>>()
        };
        assert_eq!(owners("other"), ["b\r\neth0"]);
        assert_eq!(owners("net"), ["b\r\neth0"; 2]);
        let none = json!({"cni.dev/attachments": []});
        for conf in list.iter().chain([&leased]) {
            plugins.ok("GC", &who("x"), &with(conf.clone(), none.clone()));
        }
        assert!(!dirs().run.exists(), "{}", sh_out("find /run -name '*podkeel*'"));
    });
}

/// Links of several that go, go as one group; one that has a group of its own stays.
#[test]
fn several_links_go_at_once() {
    world(Kind::User, || {
        let plugins = ours();
        let conf = with(bridge("1.1.0"), json!({"cniVersion": "1.1.0"}));
        for name in ["a", "b", "c"] {
            ns_add(name);
            plugins.ok("ADD", &who(name), &conf);
        }
        sh("ip link add stays group 7 type bridge");
        let none = json!({"cni.dev/valid-attachments": []});
        let gone = gone_links(3, || _ = plugins.ok("GC", &who("x"), &with(conf, none)));
        let groups: BTreeSet<String> = gone.iter().filter_map(|line| group_of(line)).collect();
        assert!(groups.len() == 1 && !groups.contains("default"), "{gone:#?}");
        let left = sh_out("ip -br link");
        assert!(left.contains("stays") && !left.contains("pk"), "{left}");
        let leased = files(&leases("net")).into_iter().any(|(name, _)| name.starts_with("10."));
        assert!(!leased, "no lease is left");
    });
}
