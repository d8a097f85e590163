//! host-local and static by their own names, beside the reference in the same files.

use std::process::Command;

use serde_json::{Value, json};

use super::call::{Who, bridge, files, host_local, lease_root, leases, ours, reference, who, with};
use super::common::{Kind, dirs, ns_add, output_with, scratch, sh, sh_out, told, world};

fn conf(version: &str, ipam: Value) -> Value {
    json!({"cniVersion": version, "name": "net", "type": "host-local", "ipam": ipam})
}

#[test]
fn leases_in_turn_with_the_reference() {
    world(Kind::User, || {
        let conf = conf("1.0.0", host_local(&["10.77.0.0/29", "fd77::/64"]));
        let (ours, theirs) = (ours(), reference());
        // Ours, theirs, ours, ...: until the five addresses for pods are leased.
        for (i, plugins) in [&ours, &theirs, &ours, &theirs, &ours].into_iter().enumerate() {
            let result = plugins.ok("ADD", &who(&format!("c{i}")), &conf);
            assert_eq!(result["ips"][0]["address"], format!("10.77.0.{}/29", i + 2), "{plugins:?}");
            assert_eq!(result["ips"][1]["gateway"], "fd77::1");
            assert_eq!(result["ips"][1].get("interface"), None);
        }
        for plugins in [&ours, &theirs] {
            plugins.fails("ADD", &who("c5"), &conf);
            assert!(!files(&leases("net")).iter().any(|(_, owner)| owner.starts_with("c5")));
        }
        let owners: Vec<_> =
            files(&leases("net")).into_iter().filter(|(ip, _)| ip.starts_with("10.")).collect();
        let owner = |i: usize| (format!("10.77.0.{}", i + 2), format!("c{i}\r\neth0"));
        assert_eq!(owners, (0..5).map(owner).collect::<Vec<_>>());
        // Each gives back what the other leased.
        for (i, plugins) in [&theirs, &ours, &theirs, &ours, &theirs].into_iter().enumerate() {
            plugins.ok(
                "CHECK",
                &who(&format!("c{i}")),
                &with(conf.clone(), json!({"prevResult": {"cniVersion": "1.0.0"}})),
            );
            plugins.ok("DEL", &who(&format!("c{i}")), &conf);
            plugins.ok("DEL", &who(&format!("c{i}")), &conf);
        }
        let left = files(&leases("net"));
        assert!(
            left.iter().all(|(name, _)| name == "lock" || name.starts_with("last_")),
            "{left:?}"
        );
        // An address rests before it comes again.
        assert_eq!(ours.ok("ADD", &who("c6"), &conf)["ips"][0]["address"], "10.77.0.2/29");
        assert_eq!(theirs.ok("ADD", &who("c7"), &conf)["ips"][0]["address"], "10.77.0.3/29");
    });
}

/// The same answers for every key, and the same refusals.
#[test]
fn keys_of_host_local() {
    world(Kind::User, || {
        sh("printf 'nameserver 10.77.0.1\\nsearch a b\\noptions ndots:2\\n' >/run/resolv");
        let dir = json!({"dataDir": lease_root()});
        let ipam = |more: Value| with(with(json!({"type": "host-local"}), dir.clone()), more);
        let one = json!({"subnet": "10.77.0.0/24"});
        let good = [
            ipam(json!({"subnet": "10.77.0.0/24"})),
            ipam(
                json!({"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.9", "rangeEnd": "10.77.0.20", "gateway": "10.77.0.254"}),
            ),
            ipam(json!({"ranges": [[one, {"subnet": "10.78.0.0/24"}], [{"subnet": "fd77::/64"}]]})),
            ipam(json!({"subnet": "10.79.0.0/24", "ranges": [[one]]})),
            ipam(
                json!({"ranges": [[one]], "routes": [{"dst": "10.9.0.0/16", "gw": "10.77.0.9"}, {"dst": "0.0.0.0/0"}]}),
            ),
            ipam(json!({"ranges": [[one]], "resolvConf": "/run/resolv"})),
        ];
        let more = [
            json!({}),
            json!({"runtimeConfig": {"ipRanges": [[{"subnet": "10.80.0.0/24"}]]}}),
            json!({"runtimeConfig": {"ips": ["10.77.0.15"]}}),
            json!({"args": {"cni": {"ips": ["10.77.0.16"]}}}),
        ];
        for ipam in &good {
            for more in &more {
                for version in ["0.2.0", "0.4.0", "1.0.0"] {
                    same(&who("c"), &with(conf(version, ipam.clone()), more.clone()));
                }
            }
        }
        let asked = Who { args: "IP=10.77.0.17".into(), ..who("c") };
        same(&asked, &conf("1.0.0", good[0].clone()));
        same(
            &Who { args: "IgnoreUnknown=true;X=y;IP=10.77.0.18".into(), ..who("c") },
            &conf("1.0.0", good[0].clone()),
        );
        let bad = [
            ipam(json!({})),
            ipam(json!({"subnet": "10.77.0.0/31"})),
            ipam(json!({"subnet": "10.77.0.1/24"})),
            ipam(json!({"subnet": "10.77.0.0/24", "rangeStart": "10.78.0.1"})),
            ipam(
                json!({"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.9", "rangeEnd": "10.77.0.8"}),
            ),
            ipam(json!({"ranges": [[one, {"subnet": "fd77::/64"}]]})),
            ipam(json!({"ranges": [[one], [{"subnet": "10.77.0.0/16"}]]})),
            ipam(json!({"ranges": [[one]], "resolvConf": "/run/none"})),
        ];
        for ipam in bad {
            same_refusal(&who("c"), &conf("1.0.0", ipam));
        }
        for ip in ["10.81.0.1", "10.77.0.1", "10.77.0.0", "10.77.0.255", "x"] {
            let asked = Who { args: format!("IP={ip}"), ..who("c") };
            same_refusal(&asked, &conf("1.0.0", good[0].clone()));
        }
        same_refusal(
            &Who { args: "MAC=02:00:00:00:00:07".into(), ..who("c") },
            &conf("1.0.0", good[0].clone()),
        );
    });
}

/// Both give the same answer, or refuse, and leave the same files.
fn same(who: &Who, conf: &Value) {
    let seen = [reference(), ours()].map(|plugins| {
        sh(&format!("rm -rf {}", leases("net").display()));
        let kind = conf["type"].as_str().unwrap();
        let output = plugins.call(kind, "ADD", who, conf);
        let good = output.status.success();
        let text = if good { super::call::answer(&output).to_string() } else { String::new() };
        let mut made = files(&leases("net"));
        made.retain(|(name, _)| name != "lock" && (good || !name.starts_with("last_")));
        // Of what nobody was given ours takes nothing away, and calls that no error.
        assert!(plugins.call(kind, "DEL", who, conf).status.success() || !good);
        (good, text, made)
    });
    assert_eq!(seen[0], seen[1], "{who:?} {conf}");
}

fn same_refusal(who: &Who, conf: &Value) {
    for plugins in [reference(), ours()] {
        sh(&format!("rm -rf {}", leases("net").display()));
        plugins.fails("ADD", who, conf);
        let left = files(&leases("net"));
        assert!(
            left.iter().all(|(name, _)| name == "lock" || name.starts_with("last_")),
            "{conf}: {left:?}"
        );
    }
}

#[test]
fn keys_of_static() {
    world(Kind::User, || {
        let base = |more: Value| {
            let ipam = with(
                json!({"type": "static", "addresses": [
                    {"address": "10.77.0.9/24", "gateway": "10.77.0.1"}, {"address": "fd77::9/64"}]}),
                more,
            );
            json!({"cniVersion": "1.0.0", "name": "net", "type": "static", "ipam": ipam})
        };
        let asked = |args: &str| Who { args: args.into(), ..who("c") };
        let dns =
            json!({"nameservers": ["10.77.0.1"], "domain": "x", "search": ["y"], "options": ["z"]});
        same(&who("c"), &base(json!({})));
        same(
            &who("c"),
            &base(json!({"routes": [{"dst": "0.0.0.0/0", "gw": "10.77.0.1"}], "dns": dns})),
        );
        same(&asked("IP=10.77.0.10/24,fd77::10/64;GATEWAY=10.77.0.2"), &base(json!({})));
        same(&asked("IP=10.77.0.10/24;GATEWAY=10.77.0.2"), &base(json!({"addresses": []})));
        same(
            &who("c"),
            &with(base(json!({})), json!({"runtimeConfig": {"ips": ["10.77.0.11/24"]}})),
        );
        same(
            &who("c"),
            &with(base(json!({})), json!({"args": {"cni": {"ips": ["10.77.0.12/24"]}}})),
        );
        same_refusal(&asked("IP=10.77.0.10"), &base(json!({})));
        same_refusal(&who("c"), &base(json!({"addresses": [{"address": "10.77.0.9"}]})));
    });
}

/// A bridge with static addresses, in one process.
#[test]
fn a_bridge_with_static_addresses() {
    world(Kind::User, || {
        let pod = ns_add("a");
        let ipam = json!({"type": "static", "addresses": [{"address": "10.77.0.9/24"}],
                          "routes": [{"dst": "10.9.0.0/16", "mtu": 1300}]});
        let conf = with(bridge("1.0.0"), json!({"ipam": ipam, "isDefaultGateway": true}));
        let plugins = ours();
        let result = plugins.ok("ADD", &who("a"), &conf);
        assert_eq!(result["ips"][0]["gateway"], "10.77.0.1", "worked out: the subnet's first");
        assert!(pod.sh_out("ip route").contains("default via 10.77.0.1 dev eth0"));
        assert!(
            pod.sh_out("ip route show 10.9.0.0/16")
                .contains("via 10.77.0.1 dev eth0 proto 112 mtu 1300")
        );
        plugins.ok("DEL", &who("a"), &conf);
    });
}

/// With most of a /16 leased, by whomever, neither ADD nor DEL reads the others' leases, in the
/// process of a bridge of ours or by host-local's own name.
#[test]
fn fifty_thousand_leases() {
    world(Kind::User, || {
        ns_add("a");
        let plugins = ours();
        let ipam = host_local(&["10.77.0.0/16"]);
        let both = [
            with(bridge("1.0.0"), json!({"ipam": ipam})),
            conf("1.0.0", host_local(&["10.77.0.0/16"])),
        ];
        let calls = |verb: &str, conf: &Value| {
            let file = scratch().join("calls").display().to_string();
            let program = plugins.dir.join(conf["type"].as_str().expect("a type"));
            let mut strace = Command::new("strace");
            strace.args(["-f", "-o", &file]).arg(program).envs([
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", "a"),
                ("CNI_NETNS", "/run/netns/a"),
                ("CNI_IFNAME", "eth0"),
                ("CNI_PATH", "/nowhere"),
            ]);
            let output = output_with(&mut strace, conf.to_string().as_bytes());
            assert!(output.status.success(), "{}", told(verb, &output));
            // Into how many pieces a list of names is cut is the C library's to say.
            sh_out(&format!("grep -vc getdents64 {file}")).parse::<usize>().expect("a number")
        };
        let count = |conf: &Value| {
            let add = calls("ADD", conf);
            plugins.fails("ADD", &who("a"), conf);
            [add, calls("DEL", conf)]
        };
        both.iter().for_each(|conf| _ = count(conf));
        let few = [&both[0], &both[1]].map(count);
        let dir = leases("net");
        for i in 0u32..50_000 {
            let ip = std::net::Ipv4Addr::from(0x0a4d_0002 + i);
            std::fs::write(dir.join(ip.to_string()), format!("c{i}\r\neth0")).expect("a lease");
        }
        let many = [&both[0], &both[1]].map(count);
        // One look at the names of all: the next ones in turn are taken.
        let more = few
            .iter()
            .flatten()
            .zip(many.iter().flatten())
            .map(|(few, many)| many.saturating_sub(*few));
        assert!(more.into_iter().all(|more| more < 1000), "{few:?}, then {many:?}");
        assert!(!dirs().run.exists(), "{}", sh_out("find /run -name '*podkeel*'"));
    });
}

/// What somebody else leased or gave back is seen, whatever was noted.
#[test]
fn notes_are_believed_where_leases_say_the_same() {
    world(Kind::User, || {
        let conf = conf("1.0.0", host_local(&["10.77.0.0/24"]));
        let (ours, theirs) = (ours(), reference());
        let held = || {
            let all = files(&leases("net")).into_iter();
            all.filter(|(_, owner)| owner.starts_with("a\r")).count()
        };
        for (first, then) in [(&ours, &theirs), (&theirs, &ours)] {
            first.ok("ADD", &who("a"), &conf);
            for plugins in [first, then] {
                plugins.fails("ADD", &who("a"), &conf);
            }
            then.ok("DEL", &who("a"), &conf);
            assert_eq!(held(), 0);
            // Another has its address by now.
            then.ok("ADD", &Who { args: "IP=10.77.0.2".into(), ..who("b") }, &conf);
            first.ok("DEL", &who("a"), &conf);
            assert!(files(&leases("net")).contains(&("10.77.0.2".into(), "b\r\neth0".into())));
            then.ok("DEL", &who("b"), &conf);
        }
        // One of each set, of which the other's isn't in the configuration any more.
        theirs.ok("ADD", &who("a"), &conf);
        let other = with(conf.clone(), json!({"ipam": host_local(&["10.78.0.0/24"])}));
        ours.ok("ADD", &who("a"), &other);
        assert_eq!(held(), 2);
        ours.ok("DEL", &who("a"), &conf);
        assert_eq!(held(), 0, "{:?}", files(&leases("net")));
        // A note that is left over goes by gc.
        ours.ok("ADD", &who("a"), &conf);
        theirs.ok("DEL", &who("a"), &conf);
        assert!(dirs().run.join("leased").exists());
        let run = dirs().run.display().to_string();
        sh(&format!("PODKEEL_RUN_DIR={run} {} gc", env!("CARGO_BIN_EXE_netsetup")));
        assert!(!dirs().run.exists(), "{}", sh_out("find /run -name '*podkeel*'"));
    });
}
