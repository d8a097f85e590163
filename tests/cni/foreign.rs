//! `netsetup add` of lists that name plugins of others: Debian's own, and scripts that
//! write down how they were called.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::by_hand::{self, add, netsetup, refused};
use super::common::dump::{Dump, differences, dump};
use super::common::traffic::{tcp, tcp_server};
use super::common::{Kind, Ns, dirs, neighbour, ns_add, ns_del, scratch, sh, sh_out, world};

const REFERENCE: &str = "/usr/lib/cni";

/// Lays down a list of our bridge and these plugins.
fn list(name: &str, more: &[Value]) {
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]],
                      "routes": [{"dst": "0.0.0.0/0"}]});
    let bridge = json!({"type": "bridge", "bridge": "br-cni", "isGateway": true, "ipam": ipam});
    lay(name, &[&[bridge], more].concat());
}

fn lay(name: &str, plugins: &[Value]) {
    lay_in("1.0.0", name, plugins);
}

fn lay_in(version: &str, name: &str, plugins: &[Value]) {
    let list = json!({"cniVersion": version, "name": name, "plugins": plugins});
    std::fs::write(dirs().conf.join(format!("{name}.conflist")), list.to_string()).expect("a list");
}

/// A directory with a plugin that notes each call, and then does as the script says.
fn script(name: &str, text: &str) -> PathBuf {
    let dir = scratch().join("theirs");
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join(name);
    let calls = scratch().join("calls").display().to_string();
    let note = format!(
        "#!/bin/sh\nin=$(cat)\necho {name} $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME \"$CNI_NETNS\" >>{calls}\n\
         echo \"$in\" >>{calls}.stdin\n{text}\n"
    );
    std::fs::write(&file, note).expect("a script");
    sh(&format!("chmod 755 {}", file.display()));
    dir
}

/// The calls since the last time.
fn calls() -> Vec<String> {
    let file = scratch().join("calls");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let _ = std::fs::remove_file(&file);
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// What the last call got on stdin.
fn last_stdin() -> Value {
    let text = std::fs::read_to_string(scratch().join("calls.stdin")).expect("calls");
    serde_json::from_str(text.lines().last().expect("a call")).expect("JSON")
}

/// Hands the result through.
const THROUGH: &str = r#"test "$CNI_COMMAND" = ADD || exit 0; echo "$in" | jq .prevResult"#;

/// What stays when the last pod is gone, as with the reference plugins.
const STAYS: [&str; 5] = [
    "host link br-cni*",
    "host addr br-cni*",
    "host route * br-cni*",
    "host sysctl *",
    "file */leases*",
];

/// Nothing is left but what stays, and no record.
#[track_caller]
fn as_before(before: &Dump, pods: &[Ns]) {
    let left = differences(before, &dump(pods), &STAYS);
    assert!(left.is_empty(), "{left:#?}");
    assert!(!dirs().run.exists(), "{}", sh_out(&format!("find {}", dirs().run.display())));
}

#[test]
fn debians_plugins_beside_ours() {
    world(Kind::User, || {
        let (far, pod) = (neighbour("far", 0), ns_add("a"));
        list(
            "mixed",
            &[
                json!({"type": "portmap"}),
                json!({"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 8_000_000,
                       "egressRate": 8_000_000, "egressBurst": 8_000_000}),
                json!({"type": "tuning", "sysctl": {"net.core.somaxconn": "77"}}),
            ],
        );
        let words = format!("mixed --netns /run/netns/a --plugin-dir {REFERENCE} -p 8080:80");
        let said = netsetup(&format!("explain {words}"));
        for line in ["bridge     netsetup itself", "bandwidth  /usr/lib/cni/bandwidth"] {
            assert!(said.contains(line), "{said}");
        }
        let before = dump(&[pod.clone(), far.ns.clone()]);
        let result = add(&words);
        let ip = result["ips"][0]["address"].as_str().expect("an address").to_owned();
        assert_eq!(ip, "10.77.0.2/24");
        // bandwidth says what it made, behind what bridge made: the results are handed on.
        let names: Vec<&str> = result["interfaces"]
            .as_array()
            .expect("interfaces")
            .iter()
            .filter_map(|i| i["name"].as_str())
            .collect();
        assert!(names[0] == "br-cni" && names.iter().any(|n| n.starts_with("bwp")), "{names:?}");
        assert_eq!(
            sh_out("tc qdisc show").matches("qdisc tbf").count(),
            2,
            "{}",
            sh_out("tc qdisc show")
        );
        assert_eq!(pod.sh_out("cat /proc/sys/net/core/somaxconn"), "77");
        let _server = tcp_server(&pod, "a", "10.77.0.2".parse::<std::net::IpAddr>().unwrap(), 80);
        let answer = tcp(&far.ns, (far.host_v4, 8080).into(), Duration::from_secs(1));
        assert_eq!(answer.expect("an answer").server, "a");
        let told = netsetup("check mixed --netns /run/netns/a");
        assert_eq!(told.matches(" ok").count(), 4, "{told}");
        let said = refused(&format!("add {words}"), 4);
        assert!(said.contains("it is attached already"), "{said}");
        // What somebody took away is told by the plugin whose it was.
        sh("nft flush chain inet podkeel publish");
        let told = refused("check mixed --netns /run/netns/a", 3);
        assert!(told.contains("portmap") && told.contains("publish"), "{told}");
        // The list is gone by the time of del: the record has it.
        std::fs::remove_file(dirs().conf.join("mixed.conflist")).expect("the list");
        netsetup("del mixed --netns /run/netns/a");
        netsetup("del mixed --netns /run/netns/a");
        as_before(&before, &[pod, far.ns]);
    });
}

#[test]
fn the_order_of_calls_and_what_each_is_told() {
    world(Kind::User, || {
        ns_add("a");
        script("one", THROUGH);
        let dir = script("two", THROUGH);
        list(
            "mixed",
            &[
                json!({"type": "one", "any": "key", "capabilities": {"mac": true}}),
                json!({"type": "two"}),
            ],
        );
        let words = "mixed --netns /run/netns/a";
        let result =
            add(&format!("{words} --plugin-dir {} --mac 02:00:00:00:00:07", dir.display()));
        assert_eq!(calls(), ["one ADD a eth0 /run/netns/a", "two ADD a eth0 /run/netns/a"]);
        let told = last_stdin();
        assert_eq!(
            (&told["type"], &told["name"], &told["cniVersion"]),
            (&json!("two"), &json!("mixed"), &json!("1.0.0"))
        );
        assert_eq!(told["prevResult"], result);
        let stdin = std::fs::read_to_string(scratch().join("calls.stdin")).expect("calls");
        assert!(
            stdin.lines().next().is_some_and(|first| {
                first.contains(r#""any":"key""#)
                    && first.contains(r#""runtimeConfig":{"mac":"02:00:00:00:00:07"}"#)
            }),
            "{stdin}"
        );
        netsetup(&format!("check {words}"));
        assert_eq!(calls(), ["one CHECK a eth0 /run/netns/a", "two CHECK a eth0 /run/netns/a"]);
        netsetup(&format!("del {words}"));
        assert_eq!(calls(), ["two DEL a eth0 /run/netns/a", "one DEL a eth0 /run/netns/a"]);
        assert_eq!(last_stdin()["prevResult"], result, "DEL gets what ADD made");
        assert!(!dirs().run.exists(), "{}", sh_out(&format!("find {}", dirs().run.display())));
        // gc, when the pod is gone: no namespace, the same result.
        add(&format!("{words} --plugin-dir {}", dir.display()));
        ns_del("a");
        sh("while ip -br link show type veth | grep -q ^pk; do sleep 0.01; done");
        calls();
        let said = netsetup("gc");
        assert!(said.contains("mixed/a/eth0:list"), "{said}");
        assert_eq!(calls(), ["two DEL a eth0", "one DEL a eth0"], "{said}");
        assert_eq!(sh_out("ip -br link show type veth | grep -v ^up || true"), "");
    });
}

/// What fails is called with DEL as well as what came before; nothing stays.
#[test]
fn a_plugin_that_fails() {
    world(Kind::User, || {
        let pod = ns_add("a");
        script("one", THROUGH);
        let error =
            r#"{"cniVersion":"1.0.0","code":123,"msg":"the moon is full","details":"wait"}"#;
        let dir =
            script("fails", &format!("test $CNI_COMMAND = DEL || {{ echo '{error}'; exit 1; }}"));
        script("dies", "exec kill -9 $$");
        script("signals", &format!("test $CNI_COMMAND = ADD && kill -TERM $PPID\n{THROUGH}"));
        let dir = dir.display();
        let before = dump(std::slice::from_ref(&pod));
        for (kind, code, why) in [
            (
                "fails",
                1,
                "cannot call plugin fails with ADD for network mixed: the moon is full: wait (CNI error 123)",
            ),
            ("signals", 143, "signal 15 came"),
        ] {
            list("mixed", &[json!({"type": "one"}), json!({"type": kind}), json!({"type": "two"})]);
            script("two", THROUGH);
            let said = refused(&format!("add mixed --netns /run/netns/a --plugin-dir {dir}"), code);
            assert!(said.contains(why), "{said}");
            let [one, two] = ["one", kind].map(|n| format!("{n} ADD a eth0 /run/netns/a"));
            let undone = [kind, "one"].map(|n| format!("{n} DEL a eth0 /run/netns/a"));
            assert_eq!(calls(), [&[one, two], &undone[..]].concat());
            as_before(&before, std::slice::from_ref(&pod));
        }
        // One whose DEL fails, too: what is known of it stays, and the next del tries again.
        list("mixed", &[json!({"type": "dies"})]);
        let said = refused(&format!("add mixed --netns /run/netns/a --plugin-dir {dir}"), 1);
        assert!(said.contains("signal: 9") && said.contains("the way back failed too"), "{said}");
        script("dies", "");
        netsetup("del mixed --netns /run/netns/a");
        as_before(&before, &[pod]);
    });
}

/// netsetup dies while a plugin is at work: those that were called are called with DEL, and
/// get what they would have got.
#[test]
fn killed_between_two_plugins() {
    world(Kind::User, || {
        let (pod, at) = (ns_add("a"), scratch().join("kills"));
        script("one", THROUGH);
        let dir = script(
            "two",
            &format!("test $CNI_COMMAND = $(cat {}) && kill -9 $PPID\n{THROUGH}", at.display()),
        );
        script("three", THROUGH);
        list("mixed", &["one", "two", "three"].map(|kind| json!({"type": kind})));
        let words = format!("mixed --netns /run/netns/a --plugin-dir {}", dir.display());
        let kills = |verb: &str| std::fs::write(&at, verb).expect("a verb");
        kills("none");
        // Once around: what stays is there.
        add(&words);
        netsetup("del mixed --id a");
        let before = dump(std::slice::from_ref(&pod));
        for recover in ["gc", "del mixed --id a", "add"] {
            kills("ADD");
            calls();
            assert_eq!(by_hand::run(&format!("add {words}")).status.signal(), Some(9));
            kills("none");
            assert_eq!(calls(), ["one ADD a eth0 /run/netns/a", "two ADD a eth0 /run/netns/a"]);
            if recover == "add" {
                add(&words);
                netsetup("check mixed --id a");
                netsetup("del mixed --id a");
            } else {
                let said = netsetup(recover);
                assert!(recover != "gc" || said.contains("its add was cut off"), "{said}");
                assert_eq!(calls(), ["two DEL a eth0 /run/netns/a", "one DEL a eth0 /run/netns/a"]);
                let prev = &last_stdin()["prevResult"];
                assert_eq!(
                    prev["ips"][0]["address"].as_str().map(|ip| ip.ends_with("/24")),
                    Some(true),
                    "{prev}"
                );
            }
            as_before(&before, std::slice::from_ref(&pod));
        }
        for recover in ["gc", "del mixed --id a"] {
            add(&words);
            kills("DEL");
            calls();
            assert_eq!(by_hand::run("del mixed --id a").status.signal(), Some(9));
            kills("none");
            assert_eq!(calls(), ["three DEL a eth0 /run/netns/a", "two DEL a eth0 /run/netns/a"]);
            netsetup(recover);
            let again = ["three", "two", "one"].map(|n| format!("{n} DEL a eth0 /run/netns/a"));
            assert_eq!(calls(), again);
            as_before(&before, std::slice::from_ref(&pod));
        }
    });
}

/// A result comes in whatever version; DEL is told of it from 0.4.0 on, and CHECK is there.
#[test]
fn versions() {
    world(Kind::User, || {
        ns_add("a");
        let old =
            r#"{"cniVersion": "0.2.0", "ip4": {"ip": "10.77.0.9/24", "gateway": "10.77.0.1"}}"#;
        let dir = script("old", &format!("test $CNI_COMMAND = ADD && echo '{old}'; exit 0"));
        script("two", THROUGH);
        let plugins = [json!({"type": "old"}), json!({"type": "two"})];
        let words = format!("mixed --netns /run/netns/a --plugin-dir {}", dir.display());
        lay_in("0.3.1", "mixed", &plugins);
        let result = add(&words);
        let ip = json!({"version": "4", "address": "10.77.0.9/24", "gateway": "10.77.0.1"});
        assert_eq!((&result["cniVersion"], &result["ips"][0]), (&json!("0.3.1"), &ip));
        assert_eq!(last_stdin()["prevResult"], result);
        let said = refused("check mixed --id a", 7);
        assert!(said.contains("CHECK came with 0.4.0"), "{said}");
        netsetup("del mixed --id a");
        assert_eq!(last_stdin()["prevResult"], Value::Null);
        lay_in("1.0.0", "mixed", &plugins);
        let result = add(&words);
        let ip = json!({"address": "10.77.0.9/24", "gateway": "10.77.0.1"});
        assert_eq!(result["ips"][0], ip);
        netsetup("del mixed --id a");
        assert_eq!(last_stdin()["prevResult"], result);
        // Success without a result is none.
        script("two", "");
        calls();
        let said = refused(&format!("add {words}"), 1);
        assert!(said.contains("the result of plugin two: it ended with success and printed none"));
        assert_eq!(calls().len(), 4);
    });
}

/// What another has attached is not taken away by an add that can't be.
#[test]
fn an_interface_that_is_there() {
    world(Kind::User, || {
        let pod = ns_add("a");
        let dir = script("one", THROUGH);
        list("mixed", &[json!({"type": "portmap"})]);
        add("mixed --netns /run/netns/a");
        list("mixed", &[json!({"type": "one"})]);
        let words = format!("mixed --netns /run/netns/a --plugin-dir {}", dir.display());
        let said = refused(&format!("add {words}"), 4);
        assert!(said.contains("cannot add mixed/a/eth0: it is attached already"), "{said}");
        netsetup("check mixed --id a");
        // No record says that the new plugin wasn't called.
        netsetup(&format!("del mixed --id a --plugin-dir {}", dir.display()));
        assert_eq!(calls(), ["one DEL a eth0"]);
        pod.sh("ip link add eth0 type veth peer name other");
        let said = refused(&format!("add {words}"), 4);
        assert!(said.contains("it has a link eth0 already"), "{said}");
        assert_eq!(calls(), [""; 0]);
        assert!(pod.sh_out("ip -br link").contains("eth0"));
    });
}

#[test]
fn what_is_refused_before_anything_is_called() {
    world(Kind::User, || {
        ns_add("a");
        let dir = script("one", THROUGH);
        sh(&format!("cp {0}/one {0}/../two", dir.display()));
        let dir = dir.display();
        let refuse = |plugins: &[Value], more: &str, code: i32, why: &str| {
            lay("mixed", plugins);
            let said =
                refused(&format!("add mixed --netns /run/netns/a --plugin-dir {dir} {more}"), code);
            assert!(said.contains(why), "{said}");
            assert_eq!(calls(), [""; 0], "{said}");
        };
        let (one, bridge) = (json!({"type": "one"}), json!({"type": "bridge"}));
        for bad in ["../two", "/bin/true", "..", "a b"] {
            refuse(&[bridge.clone(), json!({"type": bad})], "", 2, "plugins[1].type");
        }
        refuse(&[bridge.clone(), json!({"type": "nope"})], "", 5, "failed to find plugin \"nope\"");
        refuse(&[one.clone(), json!({"type": "portmap", "snat": "x"})], "", 2, "plugins[1].");
        refuse(&[one.clone(), json!({"type": "none"})], "", 2, "takes no plugins of others");
        refuse(
            std::slice::from_ref(&one),
            "-p 8080:80",
            2,
            "none of its plugins has the capability \"portMappings\"",
        );
        refuse(std::slice::from_ref(&one), "--sysctl net.core.somaxconn=1", 2, "tuning plugin");
        lay("mixed", &[one]);
        let said =
            refused(&format!("add mixed --netns /proc/self/ns/net --id a --plugin-dir {dir}"), 2);
        assert!(said.contains("host's own"), "{said}");
        assert!(!dirs().run.exists());
    });
}

/// An address manager of others below our bridge, by CNI_PATH of the environment.
#[test]
fn an_address_manager_of_others() {
    world(Kind::User, || {
        let pod: Ns = ns_add("a");
        let dir = script(
            "theirs",
            r#"test "$CNI_COMMAND" = ADD && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.77.0.50/24"}]}'; exit 0"#,
        );
        lay("mixed", &[json!({"type": "bridge", "bridge": "br-cni", "ipam": {"type": "theirs"}})]);
        let program = by_hand::NETSETUP;
        sh(&format!("CNI_PATH={} {program} add mixed --netns /run/netns/a", dir.display()));
        assert!(pod.sh_out("ip -br addr show eth0").contains("10.77.0.50/24"));
        netsetup("del mixed --netns /run/netns/a");
        assert_eq!(calls(), ["theirs ADD a eth0 /run/netns/a", "theirs DEL a eth0 /run/netns/a"]);
    });
}
