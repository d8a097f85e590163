//! Whose is it? Nothing that lives is taken away, and nothing of somebody else's.

mod common;

use std::process::{Command, Output};

use common::dump::{assert_same_world, dump};
use common::{Kind, Ns, dirs, ns_add, ns_del, output, output_with, sh, sh_out, told, world};

fn run(words: &str) -> Output {
    output(Command::new(env!("CARGO_BIN_EXE_netsetup")).args(words.split_whitespace()))
}

/// netsetup with these words, which must succeed.
fn ok(words: &str) -> String {
    let output = run(words);
    assert!(output.status.success(), "{}", told(words, &output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// netsetup with these words, which must fail with this exit code. Returns what it said.
fn refused(words: &str, code: i32) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(code), "{}", told(words, &output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn hook(id: &str, status: &str, bundle: &str) {
    let state = format!(
        "{{\"ociVersion\": \"1.0.2\", \"id\": \"{id}\", \"status\": \"{status}\", \"bundle\": \"{bundle}\"}}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsetup"));
    let output = output_with(command.arg("hook"), state.as_bytes());
    assert!(output.status.success(), "{}", told("hook", &output));
}

const LEASES: &[&str] = &["file *leases*", "file *networks*"];

#[test]
fn an_id_that_lives_elsewhere_is_taken() {
    world(Kind::User, || {
        ns_add("a");
        ns_add("b");
        ok("add bridge --netns /run/netns/a --id web");
        let said = refused("add bridge --netns /run/netns/b --id web", 4);
        assert!(said.contains("container web has it already"), "{said}");
        ok("check bridge --id web");
        // A container that is gone is no reason to refuse its name.
        ns_del("a");
        ok("add bridge --netns /run/netns/b --id web");
        ok("check bridge --id web");
    });
}

#[test]
fn poststop_takes_what_its_own_bundle_had() {
    world(Kind::User, || {
        ns_add("a");
        ok("add bridge --netns /run/netns/a --id web");
        hook("web", "stopped", "/some/bundle");
        ok("check bridge --id web");
    });
}

#[test]
fn gc_and_del_keep_to_their_own_records() {
    world(Kind::User, || {
        let pod = ns_add("a");
        ok("add bridge --netns /run/netns/a -p 8080:80");
        let before = dump(std::slice::from_ref(&pod));
        let other = common::scratch().join("other-run");
        let other = format!("--run-dir {}", other.display());
        ok(&format!("{other} gc"));
        ok(&format!("{other} del bridge --id a"));
        assert_same_world(&before, &dump(&[pod]), &["file *other-run*"]);
        ok("check bridge --id a");
    });
}

#[test]
fn another_network_namespace_of_the_host_has_its_own() {
    world(Kind::User, || {
        ns_add("a");
        let host = ns_add("h2");
        ok("add bridge --netns /run/netns/a --id web");
        let netsetup = env!("CARGO_BIN_EXE_netsetup");
        for words in ["del bridge --id web", "check bridge --id web"] {
            let output = host.sh_any(&format!("{netsetup} {words}"));
            assert_eq!(output.status.code(), Some(4), "{}", told(words, &output));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("another network namespace of the host"), "{said}");
        }
        host.sh(&format!("{netsetup} gc"));
        ok("check bridge --id web");
        ok("del bridge --id web");
    });
}

#[test]
fn a_record_of_another_version_is_kept() {
    world(Kind::User, || {
        ns_add("a");
        ok("add bridge --netns /run/netns/a --id web");
        let record = dirs().run.join("net/bridge/web/eth0.json");
        let text = std::fs::read_to_string(&record).expect("the record");
        let newer = text.replacen("\"complete\"", "\"hibernating\"", 1);
        assert_ne!(text, newer);
        std::fs::write(&record, newer).expect("the record");
        let said = ok("gc");
        assert!(said.contains("another version of podkeel") && !said.contains("removed"), "{said}");
        refused("del bridge --id web", 7);
        refused("check bridge --id web", 7);
        std::fs::write(&record, text).expect("the record");
        ok("check bridge --id web");
    });
}

#[test]
fn a_torn_or_empty_record_blocks_nobody() {
    world(Kind::User, || {
        let pod = ns_add("a");
        let before = dump(std::slice::from_ref(&pod));
        for (keep, recover) in
            [(0, "gc"), (40, "gc"), (0, "del bridge --id a"), (40, "del bridge --id a")]
        {
            ok("add bridge --netns /run/netns/a -p 8080:80");
            let record = dirs().run.join("net/bridge/a/eth0.json");
            let text = std::fs::read(&record).expect("the record");
            std::fs::write(&record, &text[..keep]).expect("the record");
            ok(recover);
            ok("gc");
            let allowed =
                [LEASES, &["*sysctl net.ipv4.ip_forward*", "*sysctl net.ipv4.conf*"]].concat();
            assert_same_world(&before, &dump(std::slice::from_ref(&pod)), &allowed);
        }
        ok("add bridge --netns /run/netns/a");
        ok("del bridge --netns /run/netns/a");
    });
}

#[test]
fn long_ids_are_told_apart() {
    world(Kind::User, || {
        ns_add("a");
        let id = "c".repeat(100);
        ok(&format!("add bridge --netns /run/netns/a --id {id} -p 8080:80"));
        for other in [format!("{id}x"), id[1..].to_owned()] {
            ok(&format!("del bridge --id {other}"));
        }
        ok(&format!("del bridge --id {id} --ifname eth1"));
        ok(&format!("check bridge --id {id}"));
    });
}

#[test]
fn an_admins_table_of_our_name_stays() {
    world(Kind::User, || {
        sh("nft add table inet podkeel '{ comment \"mine\"; }' && nft add chain inet podkeel x");
        ns_add("a");
        let said = refused("add bridge --netns /run/netns/a", 4);
        assert!(said.contains("table inet podkeel") && said.contains("mine"), "{said}");
        ok("gc");
        assert!(sh_out("nft list ruleset").contains("chain x"));
    });
}

#[test]
fn a_directory_that_others_may_write_holds_no_records() {
    world(Kind::User, || {
        ns_add("a");
        let dir = common::scratch().join("open");
        std::fs::create_dir(&dir).expect("a directory");
        sh(&format!("chmod 777 {}", dir.display()));
        for words in ["add bridge --netns /run/netns/a", "del bridge --id a", "gc"] {
            let said = refused(&format!("--run-dir {} {words}", dir.display()), 6);
            assert!(said.contains("others may write to it"), "{said}");
        }
    });
}

/// Answers about many elements overflowed the socket, and del failed for good.
#[test]
fn a_thousand_ports_come_and_go() {
    world(Kind::User, || {
        let pod = ns_add("a");
        sh("sysctl -qw net.ipv4.ip_forward=1");
        let before = dump(std::slice::from_ref(&pod));
        for last in [20_299, 20_999] {
            ok(&format!("add bridge --netns /run/netns/a -p 20000-{last}:20000-{last}"));
            ok("check bridge --id a");
            ok("del bridge --id a");
            assert_same_world(&before, &dump(std::slice::from_ref(&pod)), LEASES);
        }
    });
}

/// A network inside another's subnet, on the same bridge, is a claim of its own.
#[test]
fn a_subnet_within_another_is_refused_and_harms_nobody() {
    world(Kind::User, || {
        for (name, subnet, gateway) in
            [("wide", "10.60.0.0/16", "10.60.0.1"), ("narrow", "10.60.1.0/24", "10.60.1.1")]
        {
            let list = format!(
                r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [{{"type": "bridge",
                    "bridge": "both", "isGateway": false, "ipMasq": true, "ipam": {{"type": "host-local",
                    "ranges": [[{{"subnet": "{subnet}", "gateway": "{gateway}"}}]]}}}}]}}"#
            );
            std::fs::write(dirs().conf.join(format!("{name}.conflist")), list).expect("a list");
        }
        ns_add("a");
        ns_add("b");
        ok("add wide --netns /run/netns/a");
        let said = refused("add narrow --netns /run/netns/b", 4);
        assert!(said.contains("overlaps the subnet of another network"), "{said}");
        ok("del narrow --id b");
        ok("check wide --id a");
    });
}

#[test]
fn a_bridge_keeps_its_mtu_when_its_last_pod_dies() {
    world(Kind::User, || {
        let list = r#"{"cniVersion": "1.0.0", "name": "small", "plugins": [{"type": "bridge",
            "bridge": "small0", "mtu": 1400, "isGateway": true,
            "ipam": {"type": "host-local", "subnet": "10.61.0.0/24"}}]}"#;
        std::fs::write(dirs().conf.join("small.conflist"), list).expect("a list");
        let mtu = || sh_out("cat /sys/class/net/small0/mtu");
        ns_add("a");
        ok("add small --netns /run/netns/a");
        assert_eq!(mtu(), "1400");
        ns_del("a");
        for _ in 0..200 {
            if !sh_out("ip -o link show master small0").contains("pk") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(mtu(), "1400");
        let pod: Ns = ns_add("b");
        ok("add small --netns /run/netns/b");
        assert_eq!(pod.sh_out("cat /sys/class/net/eth0/mtu 2>/dev/null || ip -o link show eth0 | grep -o 'mtu 1400'"), "mtu 1400");
    });
}

#[test]
fn a_hook_that_comes_again_with_other_wishes_is_refused() {
    world(Kind::User, || {
        ns_add("a");
        let child = Command::new("ip").args(["netns", "exec", "a", "sleep", "100000"]).spawn();
        let pid = child.expect("ip").id();
        let own = std::fs::read_link("/proc/self/ns/net").expect("namespace");
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| ns == own) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let state = format!(
            "{{\"ociVersion\": \"1.0.2\", \"id\": \"web\", \"status\": \"created\", \"bundle\": \"/b\", \"pid\": {pid}}}"
        );
        let hook = |flags: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_netsetup"));
            output_with(command.arg("hook").args(flags), state.as_bytes()).status.code()
        };
        assert_eq!(hook(&["-p", "8080:80"]), Some(0));
        assert_eq!(hook(&["-p", "8080:80"]), Some(0), "the same hook under two stages");
        assert_eq!(hook(&["-p", "9090:80"]), Some(4));
        ok("check bridge --id web");
    });
}

#[test]
fn annotations_can_be_switched_off() {
    world(Kind::User, || {
        let state = "{\"ociVersion\": \"1.0.2\", \"id\": \"web\", \"status\": \"created\", \"bundle\": \"/b\", \
                     \"pid\": 4000000, \"annotations\": {\"dev.podkeel.publish\": \"nonsense\"}}";
        let code = |flags: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_netsetup"));
            output_with(command.arg("hook").args(flags), state.as_bytes()).status.code()
        };
        assert_eq!(code(&[]), Some(2), "a bad annotation");
        assert_eq!(code(&["--no-annotations"]), Some(5), "no such process");
    });
}
