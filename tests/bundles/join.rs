//! What a bundle that joins shares with the pod, and what stays its own.

use serde_json::json;

use super::bed::{Bundle, ENGINES, POD, STAYS, base, inspect, known_to, shim, shim_any, until};
use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, sh_out, world};

/// Both outputs of a join that succeeds.
#[track_caller]
fn said(words: &str) -> (String, String) {
    super::bed::shim_code(words, 0)
}

#[test]
#[ignore = "needs root"]
fn ipc_and_shm_are_the_pods() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let member = format!("join {POD} --");
            shim(&format!("{member} ipcmk -Q"));
            shim(&format!("{member} cp /proc/sys/kernel/ostype /dev/shm/from-outside"));
            // The first line is the table's head.
            let script = "/busybox wc -l </proc/sysvipc/msg; /busybox ls /dev/shm; \
                          echo x >/dev/shm/from-inside";
            let bundle = Bundle::runs("app", script);
            let seen = shim(&format!("join {POD} {}", bundle.words(engine)));
            assert_eq!(seen, "2\nfrom-outside");
            assert_eq!(shim(&format!("{member} cat /dev/shm/from-inside")), "x");
            assert!(!std::path::Path::new("/dev/shm/from-inside").exists(), "the host's");
            // Its own, where it has an ipc namespace of its own.
            let alone = bundle.with(|config| {
                let all = config["linux"]["namespaces"].as_array_mut().unwrap();
                all.retain(|entry| entry["type"] == "mount");
                all.push(json!({"type": "ipc"}));
            });
            for ipc in ["", "--ipc private"] {
                let words = format!("join --net container:base {ipc} {}", alone.words(engine));
                let seen = shim(&words);
                assert_eq!(seen, "1");
            }
            shim("rm -f base");
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_host_name_does_not_rename_the_pod() {
    for engine in ENGINES {
        world(Kind::Root, || {
            shim("run -d --name base --net none --hostname pod");
            let bundle = Bundle::runs("app", "/busybox hostname");
            let bundle = bundle.with(|config| config["hostname"] = json!("mine"));
            let (out, err) = said(&format!("join {POD} {}", bundle.words(engine)));
            let note = "shim: hostname \"mine\" of config.json is left out: \
                        the uts namespace is container:base's\n";
            assert_eq!((out.as_str(), err.as_str()), ("pod\n", note));
            assert_eq!(shim(&format!("join {POD} -- hostname")), "pod");
            // In one of its own it is its name.
            let words = format!("join --uts private --net container:base {}", bundle.words(engine));
            let bundle = bundle.with(|config| {
                let all = config["linux"]["namespaces"].as_array_mut().unwrap();
                all.retain(|entry| entry["type"] != "ipc" && entry["type"] != "pid");
            });
            assert_eq!(said(&words), ("mine\n".into(), String::new()));
            drop(bundle);
            shim("rm -f base");
        });
    }
}

/// The kinds that are named come from the command line, the others from config.json.
#[test]
#[ignore = "needs root"]
fn kinds_that_are_not_chosen_stay_as_config_json_has_them() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let script = "echo pid $$; for kind in net ipc uts; \
                          do /busybox readlink /proc/self/ns/$kind; done";
            let bundle = Bundle::runs("app", script).with(|config| {
                config["linux"]["namespaces"] =
                    json!([{"type": "pid"}, {"type": "mount"}, {"type": "network"}]);
            });
            let own = |kind: &str| sh_out(&format!("readlink /proc/self/ns/{kind}"));
            let pods = |kind: &str| {
                sh_out(&format!("readlink /proc/{}/ns/{kind}", inspect("base")["pid"]))
            };
            let see = |words: &str| -> Vec<String> {
                let seen = shim(&format!("join {words} {}", bundle.words(engine)));
                seen.lines().map(str::to_owned).collect()
            };
            let seen = see("--net container:base");
            assert_eq!(seen, ["pid 1".to_owned(), pods("net"), own("ipc"), own("uts")]);
            let seen = see("--ipc container:base --uts container:base");
            assert_eq!(seen[0], "pid 1");
            assert!(seen[1] != pods("net") && seen[1] != own("net"), "a new one: {seen:?}");
            assert_eq!(seen[2..], [pods("ipc"), pods("uts")]);
            let seen = see("--net host --pid container:base");
            assert_ne!(seen[0], "pid 1", "that is pause");
            assert_eq!(seen[1..], [own("net"), own("ipc"), own("uts")]);
            let seen = see("--net ns:/run/netns/base --uts private");
            assert_eq!(seen[1], pods("net"));
            assert_ne!(seen[3], own("uts"));
            shim("rm -f base");
        });
    }
}

/// pause has ended, but what is pinned is there: only its pid namespace isn't.
#[test]
#[ignore = "needs root"]
fn a_pod_without_a_living_pause_is_joined_by_its_pins() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let name = sh_out("ip netns exec base readlink /proc/self/ns/net");
            shim("stop base");
            let bundle =
                Bundle::runs("app", "/busybox readlink /proc/self/ns/net; echo x >/dev/shm/x");
            let bundle = bundle.with(|config| {
                let all = config["linux"]["namespaces"].as_array_mut().unwrap();
                all.retain(|entry| entry["type"] != "pid");
            });
            let pinned = "--net container:base --ipc container:base --uts container:base";
            assert_eq!(shim(&format!("join {pinned} {}", bundle.words(engine))), name);
            assert_eq!(shim("join --ipc container:base -- cat /dev/shm/x"), "x");
            let refused = shim_any(&format!("join {POD} {}", bundle.words(engine)));
            let text = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(125), "{text}");
            assert!(text.contains("its pause has ended"), "{text}");
            shim("rm -f base");
        });
    }
}

/// A member that joined is as good as the base, and so is a bundle's container.
#[test]
#[ignore = "needs root"]
fn others_join_what_has_joined() {
    world(Kind::Root, || {
        let before = dump(&[]);
        base();
        let script = "trap 'exit 0' TERM; while :; do /busybox sleep 0.05; done";
        let (first, second) = (Bundle::runs("first", script), Bundle::runs("second", script));
        shim(&format!("join {POD} -d --name first {}", first.words("runc")));
        let by_first = POD.replace(":base", ":first");
        shim(&format!("join {by_first} -d --name second {}", second.words("crun")));
        let by_second = POD.replace(":base", ":second");
        let third = Bundle::runs("third", "/busybox ps; echo y >/dev/shm/y");
        let seen = shim(&format!("join {by_second} {}", third.words("runc")));
        assert!(seen.lines().any(|line| line.trim().starts_with("1 ") && line.contains("pause")));
        assert_eq!(shim(&format!("join {by_second} -- cat /dev/shm/y")), "y");
        // One that isn't named is found by its number.
        let pid = inspect("second")["pid"].to_string();
        let words = format!("join --net container:pid:{pid} --pid container:pid:{pid}");
        let third = third.with(|config| {
            let all = config["linux"]["namespaces"].as_array_mut().unwrap();
            all.retain(|entry| entry["type"] != "ipc" && entry["type"] != "uts");
        });
        let seen = shim(&format!("{words} {}", third.words("crun")));
        assert!(seen.contains("pause"), "{seen}");
        let base_id = inspect("base")["id"].clone();
        assert_eq!([&inspect("first")["pod"], &inspect("second")["pod"]], [&base_id, &base_id]);
        shim("stop base");
        assert!(until(|| shim("ps -q -f state=running").is_empty()));
        assert_eq!(shim("wait first second"), "0\n0");
        shim("rm -f base");
        assert_eq!(known_to("runc") + &known_to("crun"), "");
        assert_same_world(&before, &dump(&[]), STAYS);
    });
}
