//! firewall: accepts where the host's iptables drop what is forwarded.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::call::{Plugins, Who, bridge, host_local, ours, reference, who, with};
use super::common::traffic::{tcp, tcp_server};
use super::common::{Kind, dirs, neighbour, ns_add, output_with, scratch, sh, sh_out, told, world};

const SHORT: Duration = Duration::from_millis(500);

/// What a packet filter of docker's kind does.
const DROP: &str = "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP";

fn rules() -> String {
    sh_out("iptables-save -t filter; ip6tables-save -t filter; nft list tables")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(" [").next().unwrap_or_default().to_owned() + "\n")
        .collect()
}

/// podman's default network, as podman 4.3 has it in memory.
fn podman() -> Vec<Value> {
    let plugin = |more: Value| with(json!({"cniVersion": "0.4.0", "name": "podman"}), more);
    let ipam = json!({"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": host_local(&[])["dataDir"], "ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]]});
    vec![
        plugin(
            json!({"type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true,
                      "hairpinMode": true, "ipam": ipam}),
        ),
        plugin(json!({"type": "portmap", "capabilities": {"portMappings": true},
            "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}})),
        plugin(json!({"type": "firewall", "backend": ""})),
        plugin(json!({"type": "tuning"})),
    ]
}

/// How podman's chain ends, with packets: out, in by a published port, and nothing else.
#[test]
fn the_default_chain_of_podman_where_forward_drops() {
    world(Kind::User, || {
        let (far, pod, plugins) = (neighbour("far", 0), ns_add("a"), ours());
        sh(DROP);
        let before = rules();
        let list = podman();
        let result = plugins.chain("ADD", &who("a"), &list, &Value::Null);
        let ip: std::net::IpAddr = result["ips"][0]["address"].as_str().expect("an address")[..]
            .split('/')
            .next()
            .expect("an address")
            .parse()
            .expect("an address");
        let _inside = tcp_server(&pod, "a", ip, 80);
        let _secret = tcp_server(&pod, "secret", ip, 81);
        let _outside = tcp_server(&far.ns, "far", far.v4, 90);
        let by_port = |port: u16| tcp(&far.ns, (far.host_v4, port).into(), SHORT).is_ok();
        assert!(by_port(8080), "{}", rules());
        assert!(tcp(&pod, (far.v4, 90).into(), SHORT).is_ok(), "{}", rules());
        // A neighbour who has a route to the pods reaches no more than is published.
        far.ns.sh(&format!("ip route add 10.88.0.0/16 via {}", far.host_v4));
        assert!(tcp(&far.ns, (ip, 81).into(), SHORT).is_err(), "{}", rules());
        for line in [
            "-A FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD".to_owned(),
            "-A CNI-FORWARD -m comment --comment \"CNI firewall plugin admin overrides\" -j CNI-ADMIN".to_owned(),
            format!("-A CNI-FORWARD -d {ip}/32 -m conntrack --ctstate RELATED,ESTABLISHED"),
            format!("-A CNI-FORWARD -d {ip}/32 -m conntrack --ctstate DNAT"),
            format!("-A CNI-FORWARD -s {ip}/32"),
        ] {
            assert!(rules().contains(&line), "{line}\n{}", rules());
        }
        plugins.chain("CHECK", &who("a"), &list, &result);
        assert_eq!(plugins.chain("ADD", &who("a"), &list[2..3], &result), result, "handed through");
        sh("iptables -D CNI-FORWARD 2");
        let told = with(list[2].clone(), json!({"prevResult": result}));
        let (code, msg) = plugins.fails("CHECK", &who("a"), &told);
        assert!(code == 103 && msg.contains("2 of 3 rules"), "{code}: {msg}");
        plugins.chain("DEL", &who("a"), &list, &result);
        assert_eq!(rules(), before);
        plugins.chain("DEL", &who("a"), &list, &result);
        assert!(!dirs().run.exists(), "{}", sh_out("find /run"));
    });
}

/// Where nothing drops, nothing is made; an IPv6 pod has its rules in ip6tables; two pods
/// share the chains, and what others put there stays.
#[test]
fn chains_are_shared_and_go_with_the_last() {
    world(Kind::User, || {
        let plugins = ours();
        let firewall = |result: &Value| {
            json!({"cniVersion": "1.0.0", "name": "net", "type": "firewall", "backend": "firewalld",
                   "iptablesAdminChainName": "MINE", "prevResult": result})
        };
        let pods = ["a", "b"].map(|name| {
            let pod = ns_add(name);
            let result = plugins.ok("ADD", &who(name), &bridge("1.0.0"));
            (name, firewall(&result), pod)
        });
        let untouched = rules();
        plugins.ok("ADD", &who("a"), &pods[0].1);
        plugins.ok("CHECK", &who("a"), &pods[0].1);
        assert_eq!(rules(), untouched);
        plugins.ok("DEL", &who("a"), &pods[0].1);
        sh(DROP);
        let before = rules();
        for (name, conf, _) in &pods {
            plugins.ok("ADD", &who(name), conf);
        }
        assert!(rules().contains("-A CNI-FORWARD -s fd77::2/128"), "{}", rules());
        assert_eq!(rules().matches("-j MINE").count(), 2, "one a family: {}", rules());
        plugins.ok("DEL", &who("a"), &pods[0].1);
        assert!(!rules().contains("fd77::2/") && rules().contains("fd77::3/128"), "{}", rules());
        // A rule of the administrator's keeps the chain that it is in.
        sh("iptables -A CNI-FORWARD -p tcp --dport 5 -j DROP");
        plugins.ok("DEL", &who("b"), &pods[1].1);
        let left = rules();
        assert!(
            left.contains("--dport 5") && left.contains("-j MINE") && !left.contains("fd77"),
            "{left}"
        );
        sh("iptables -D CNI-FORWARD -p tcp --dport 5 -j DROP");
        plugins.ok("ADD", &who("a"), &pods[0].1);
        // What lost its record is known by its comment.
        sh(&format!("rm -r {}/net/*/a/*firewall*", dirs().run.display()));
        plugins.ok("DEL", &who("a"), &pods[0].1);
        assert!(!rules().contains("-s "), "{}", rules());
        sh(&format!(
            "PODKEEL_RUN_DIR={} {} gc",
            dirs().run.display(),
            env!("CARGO_BIN_EXE_netsetup")
        ));
        assert_eq!(rules(), before);
    });
}

/// `iptables-restore` loads all rules anew: with other handles, and with comments of another form.
#[test]
fn rules_that_somebody_loaded_again() {
    world(Kind::User, || {
        let plugins = ours();
        sh(DROP);
        let conf = |name: &str| {
            ns_add(name);
            let result = plugins.ok("ADD", &who(name), &bridge("1.0.0"));
            let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "firewall",
                              "prevResult": result});
            plugins.ok("ADD", &who(name), &conf);
            conf
        };
        let [a, b] = ["a", "b"].map(conf);
        sh("iptables-save | iptables-restore; ip6tables-save | ip6tables-restore");
        assert_eq!(rules().matches("10.77.0.2/32").count(), 3, "{}", rules());
        for (name, conf) in [("a", &a), ("b", &b)] {
            plugins.ok("CHECK", &who(name), conf);
        }
        plugins.ok("DEL", &who("a"), &a);
        assert!(!rules().contains("10.77.0.2/") && !rules().contains("fd77::2/"), "{}", rules());
        plugins.ok("CHECK", &who("b"), &b);
        plugins.ok("DEL", &who("b"), &b);
        assert!(!rules().contains("10.77.0.") && !rules().contains("fd77::"), "{}", rules());
    });
}

/// The jump that ADD looks for stands before all pods' rules, and a pod's rules are found by
/// their handles: what either reads doesn't grow with the others'.
#[test]
fn no_list_of_all_pods_is_read() {
    world(Kind::User, || {
        let plugins = ours();
        sh(DROP);
        let pod = ns_add("a");
        let conf = |n: usize| {
            let ips = json!([{"interface": 0, "address": format!("10.77.0.{n}/24")}]);
            let interfaces =
                json!([{"name": "eth0", "sandbox": format!("/run/netns/{}", pod.name)}]);
            json!({"cniVersion": "1.0.0", "name": "net", "type": "firewall", "prevResult":
                   {"cniVersion": "1.0.0", "interfaces": interfaces, "ips": ips}})
        };
        let who = |n: usize| Who { container: format!("c{n}"), ..who("a") };
        let answers = |verb: &str, n: usize| {
            let file = scratch().join("calls").display().to_string();
            let program = plugins.dir.join("firewall");
            let mut strace = Command::new("strace");
            strace.args(["-f", "-e", "trace=recvfrom", "-o", &file]).arg(program).envs([
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", &who(n).container),
                ("CNI_NETNS", "/run/netns/a"),
                ("CNI_IFNAME", "eth0"),
                ("CNI_PATH", "/nowhere"),
            ]);
            let output = output_with(&mut strace, conf(n).to_string().as_bytes());
            assert!(output.status.success(), "{}", told(verb, &output));
            let there = rules().contains(&format!("10.77.0.{n}/"));
            assert_eq!(there, verb == "ADD", "{}", rules());
            sh_out(&format!("grep -c recvfrom {file}"))
        };
        plugins.ok("ADD", &who(2), &conf(2));
        let beside_one = ["ADD", "DEL"].map(|verb| answers(verb, 100));
        (3..60).for_each(|n| _ = plugins.ok("ADD", &who(n), &conf(n)));
        assert_eq!(["ADD", "DEL"].map(|verb| answers(verb, 101)), beside_one);
    });
}

/// The reference finds our chains and we its own: one jump, whoever comes first.
#[test]
fn beside_the_reference() {
    world(Kind::User, || {
        let (ours, theirs) = (ours(), reference());
        let add = |plugins: &Plugins, name: &str| {
            ns_add(name);
            let result = ours.ok("ADD", &who(name), &bridge("1.0.0"));
            let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "firewall",
                              "backend": "iptables", "prevResult": result});
            assert_eq!(plugins.ok("ADD", &who(name), &conf), result);
            conf
        };
        sh(DROP);
        for (first, second, a, b) in [(&ours, &theirs, "a", "b"), (&theirs, &ours, "c", "d")] {
            let (one, two) = (add(first, a), add(second, b));
            let jumps = |to: &str| rules().matches(to).count();
            assert_eq!((jumps("-j CNI-FORWARD"), jumps("-j CNI-ADMIN")), (2, 2), "{}", rules());
            first.ok("CHECK", &who(a), &one);
            second.ok("CHECK", &who(b), &two);
            first.ok("DEL", &who(a), &one);
            second.ok("CHECK", &who(b), &two);
            second.ok("DEL", &who(b), &two);
            assert!(!rules().contains("-s 10.") && !rules().contains("-d fd"), "{}", rules());
        }
    });
}

#[test]
fn keys_of_firewall() {
    world(Kind::User, || {
        let plugins = ours();
        ns_add("a");
        let conf = |more: Value| {
            with(json!({"cniVersion": "1.0.0", "name": "net", "type": "firewall"}), more)
        };
        let result = plugins.ok("ADD", &who("a"), &bridge("1.0.0"));
        for (more, code) in [
            (json!({"backend": "pf"}), 7),
            (json!({"ingressPolicy": "same-bridge"}), 2),
            (json!({"ingressPolicy": "x"}), 7),
            (json!({"iptablesAdminChainName": "FORWARD"}), 7),
            (json!({"iptablesAdminChainName": "a b"}), 7),
        ] {
            let (is, msg) = plugins.fails(
                "ADD",
                &who("a"),
                &with(conf(more.clone()), json!({"prevResult": result})),
            );
            assert_eq!(is, code, "{more}: {msg}");
        }
        let (code, msg) = plugins.fails("ADD", &who("a"), &conf(json!({})));
        assert_eq!(code, 7, "{msg}");
    });
}
