//! From a bundle to a network and back, with both runtimes and at every stage.

use super::bed::{
    Bundle, DUAL, ENGINES, assert_as_before, hook, netsetup, network, sleeper, until,
};
use super::common::dump::dump;
use super::common::flatten::items;
use super::common::traffic::{SOON, tcp, tcp_server};
use super::common::{Kind, Neighbour, Ns, neighbour, ns_add, sh, sh_any, sh_json, sh_out, world};

/// The page that a container serves, by way of a published port.
fn page(ns: &Ns, host: &str) -> String {
    ns.sh_out(&format!("curl -sS --max-time 5 --noproxy '*' http://{host}/"))
}

/// Whoever asks at the host's addresses gets the container's page.
fn served(far: &Neighbour, id: &str) {
    // httpd may be a moment behind the runtime's start.
    let up = || sh_any("curl -s --max-time 5 http://198.18.0.1:8080/").status.success();
    assert!(until(up), "nobody answers at 198.18.0.1:8080");
    for host in ["198.18.0.1:8080", "[2001:db8:18::1]:8080"] {
        assert_eq!([page(&far.ns, host), page(&Ns::host(), host)], [id, id], "{host}");
    }
}

#[test]
#[ignore = "needs root"]
fn a_bundle_gets_its_network_and_leaves_nothing() {
    for engine in ENGINES {
        world(Kind::Root, || {
            network("dual", DUAL);
            let far = neighbour("far", 0);
            let before = dump(std::slice::from_ref(&far.ns));
            for stages in [
                &["prestart", "poststop"][..],
                &["createRuntime", "poststop"],
                &["prestart", "createRuntime", "poststop"],
            ] {
                let id = format!("my.web-{}", stages.len());
                let bundle = Bundle::new(engine, &id);
                let bundle = bundle.stages(stages).flags("--network dual -p 8080:80");
                let pod = bundle.start();
                served(&far, &id);
                let links = pod.sh_out("ip -br link | awk '{print $1}' | xargs");
                assert!(links.starts_with("lo eth0@"), "{links}");
                let text = netsetup(&format!("check dual --id {id}"));
                assert!(text.lines().skip(1).all(|line| line.ends_with("  ok")), "{text}");
                let map = netsetup("map");
                let process = format!("process {} ", bundle.pid());
                assert!(map.contains(&process) && map.contains(&id), "{map}");
                bundle.stop();
                assert_eq!(bundle.log(), "", "{engine} {stages:?}");
                let after = dump(std::slice::from_ref(&far.ns));
                assert_as_before(&before, &after, &format!("{engine} {stages:?}"));
            }
        });
    }
}

#[test]
#[ignore = "needs root"]
fn without_a_word_it_is_the_built_in_bridge() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let far = neighbour("far", 0);
            let before = dump(std::slice::from_ref(&far.ns));
            let pods = ["a", "b"].map(|id| (Bundle::new(engine, id), id));
            let [a, b] = pods.each_ref().map(|(bundle, _)| bundle.start());
            let b_ip: std::net::IpAddr = "10.89.0.3".parse().expect("an address");
            let server = tcp_server(&b, "b", b_ip, 81);
            let answer = tcp(&a, server.addr, SOON).expect("an answer");
            assert_eq!(answer.peer.ip().to_string(), "10.89.0.2", "its true address");
            let web = tcp_server(&far.ns, "web", far.v4, 80);
            let answer = tcp(&a, web.addr, SOON).expect("an answer");
            assert_eq!(answer.peer.ip(), far.host_v4, "the host's");
            pods.iter().for_each(|(bundle, _)| bundle.stop());
            assert_as_before(&before, &dump(std::slice::from_ref(&far.ns)), engine);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_second_bundle_joins_by_path_and_shares_localhost() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let base = Bundle::new(engine, "base");
            let pod = base.start();
            let path = pod.path.display().to_string();
            let get =
                "/bin/busybox printf 'GET / HTTP/1.0\\r\\n\\r\\n' | /bin/busybox nc 127.0.0.1 80";
            let entry = serde_json::json!({"type": "network", "path": path});
            let second = Bundle::new(engine, "second").runs(get).netns(Some(entry)).stages(&[]);
            let alone = Bundle::new(engine, "alone").runs(get).stages(&[]);
            for bundle in [&second, &alone] {
                bundle.prepare();
            }
            let (_, said) = second.runtime("run second");
            assert!(said.ends_with("base"), "{said}");
            let (_, said) = alone.runtime("run alone");
            assert!(!said.contains("base"), "{said}");
            base.stop();
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_killed_container_is_taken_away_at_delete() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let before = dump(&[]);
            let bundle = Bundle::new(engine, "web").flags("-p 8080:80");
            bundle.start();
            sh(&format!("kill -9 {}", bundle.pid()));
            bundle.expect_stopped();
            bundle.expect("delete web");
            assert_as_before(&before, &dump(&[]), engine);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn what_a_runtime_never_took_away_gc_does() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let before = dump(&[]);
            let (web, other) = (Bundle::new(engine, "web"), Bundle::new(engine, "other"));
            let (web, other) = (web.flags("-p 8080:80"), other.flags("-p 8081:80"));
            web.start();
            other.start();
            // The runtime's memory of it goes with its files: no poststop will come.
            sh(&format!("kill -9 {}; rm -rf /run/{engine}/web", web.pid()));
            let orphan = || netsetup("gc --dry-run").contains("would remove");
            assert!(until(orphan), "{}", netsetup("gc --dry-run"));
            let text = netsetup("gc --dry-run");
            let line =
                |what: &str| text.lines().find(|l| l.contains(what)).unwrap_or(&text).to_owned();
            assert!(line("attachment bridge/web/eth0").contains("namespace is gone"), "{text}");
            assert!(line("attachment bridge/other/eth0").starts_with("kept"), "{text}");
            let text = netsetup("gc");
            assert!(text.contains("removed") && text.contains("bridge/web/eth0"), "{text}");
            let ports = sh_json("ip -j link show master podkeel0");
            assert_eq!(items(&ports).len(), 1, "{ports}");
            netsetup("check bridge --id other");
            other.stop();
            assert_as_before(&before, &dump(&[]), engine);
        });
    }
}

#[test]
fn poststop_without_a_pid_takes_all_networks_and_twice_is_harmless() {
    world(Kind::User, || {
        let plain = DUAL.replace("podkeel-dual", "plain0").replace("\"dual\"", "\"plain\"");
        network(
            "plain",
            &plain
                .replace("\"dst\": \"0.0.0.0/0\"", "\"dst\": \"192.0.2.0/24\"")
                .replace("::/0", "2001:db8:7::/48"),
        );
        ns_add("x");
        ns_add("y");
        let before = dump(&[]);
        let pid = sleeper("x");
        let created = format!(
            "{{\"ociVersion\": \"1.0.2\", \"id\": \"x.1\", \"status\": \"created\", \
             \"bundle\": \"/b\", \"pid\": {pid}}}"
        );
        let flags = "--network bridge --network plain -p 8080:80";
        assert_eq!(hook(flags, created.as_bytes()), (Some(0), String::new()));
        // What another runtime has under the same id is not this bundle's.
        let other = "{\"ociVersion\": \"1.0.2\", \"id\": \"x.1\", \"status\": \"stopped\", \
                     \"bundle\": \"/other\"}";
        assert_eq!(hook("", other.as_bytes()), (Some(0), String::new()));
        assert_eq!(sh_out("ip netns exec x ip -br link | wc -l"), "3");
        netsetup("add bridge --netns /run/netns/y --id x");
        for (status, pid) in [("stopped", ""), ("stopped", ", \"pid\": 0"), ("stopped", "")] {
            let state = format!(
                "{{\"ociVersion\": \"1.0.2\", \"id\": \"x.1\", \"status\": \"{status}\", \
                 \"bundle\": \"/b\"{pid}}}"
            );
            // Its flags are those of the other stages: they don't matter here.
            assert_eq!(hook("-p 8080:80", state.as_bytes()), (Some(0), String::new()));
            assert_eq!(sh_out("ip netns exec x ip -br link | wc -l"), "1");
        }
        netsetup("check bridge --id x");
        netsetup("del bridge --id x");
        assert_as_before(&before, &dump(&[]), "after all");
    });
}
