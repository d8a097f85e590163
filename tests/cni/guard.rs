//! macspoofchk: a pod's frames have its own link-layer address, or go nowhere.

use serde_json::json;

use super::call::{bridge, ours, who, with};
use super::common::flatten::text;
use super::common::{Kind, Ns, dirs, ns_add, sh, sh_any, sh_out, world};

#[test]
fn a_pod_sends_from_its_own_address_only() {
    world(Kind::User, || {
        let plugins = ours();
        let pods = ["a", "b", "c"].map(ns_add);
        let guarded = with(bridge("1.0.0"), json!({"macspoofchk": true}));
        let confs = [guarded.clone(), guarded, bridge("1.0.0")];
        let mut ips = Vec::new();
        for (name, conf) in ["a", "b", "c"].iter().zip(&confs) {
            let result = plugins.ok("ADD", &who(name), conf);
            let told = with(conf.clone(), json!({"prevResult": result}));
            plugins.ok("CHECK", &who(name), &told);
            let ip = result["ips"][0]["address"].as_str().expect("an address").to_owned();
            ips.push(ip.split('/').next().expect("an address").to_owned());
        }
        let mac = |pod: &Ns| text(&pod.sh_json("ip -j link show eth0")[0]["address"]);
        let rename = |pod: &Ns, mac: &str| pod.sh(&format!("ip link set eth0 address {mac}"));
        let reaches = |pod: &Ns, ip: &str| {
            sh_any(&format!("ip netns exec {} ping -c 1 -W 1 {ip}", pod.name)).status.success()
        };
        let [a, b, c] = &pods;
        let all = |pod: &Ns| ips.iter().all(|ip| reaches(pod, ip));
        assert!(all(a) && all(b) && all(c), "{}", sh_out("nft list table bridge podkeel"));
        assert!(reaches(a, "10.77.0.1"));
        // Another address, and even a neighbour's: neither the bridge nor a pod hears of it.
        let own = mac(a);
        for other in ["02:00:00:00:00:66".to_owned(), mac(b)] {
            rename(a, &other);
            for ip in ["10.77.0.1", &ips[1], &ips[2]] {
                assert!(
                    !reaches(a, ip),
                    "{other} {ip}: {}",
                    sh_out("nft list table bridge podkeel")
                );
            }
            rename(a, &own);
            assert!(reaches(a, &ips[1]), "its own is let through again");
        }
        // A pod whose network doesn't ask for it may, as before.
        rename(c, "02:00:00:00:00:67");
        assert!(reaches(c, &ips[1]));
        let told = |i: usize| confs[i].clone();
        plugins.ok("DEL", &who("a"), &told(0));
        assert!(reaches(b, "10.77.0.1"));
        let list = sh_out("nft list table bridge podkeel");
        assert_eq!(
            list.matches("podkeel").count(),
            4,
            "table, comment, and b's two elements: {list}"
        );
        // What lost its record is known by its comment.
        sh(&format!("rm -r {}/net/*/b/*", dirs().run.display()));
        plugins.ok("DEL", &who("b"), &told(1));
        plugins.ok("DEL", &who("c"), &told(2));
        sh(&format!("{} gc", env!("CARGO_BIN_EXE_netsetup")));
        assert_eq!(sh_out("nft list tables"), "");
    });
}
