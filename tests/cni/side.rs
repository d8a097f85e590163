//! Both ways over: a node that changes from the reference to ours or back, with pods alive.

use serde_json::{Value, json};

use super::call::{bridge, files, leases, ours, reference, who, with};
use super::common::{Kind, ns_add, sh_out, world};

#[test]
fn a_change_over_in_both_directions() {
    world(Kind::User, || {
        let (ours, theirs) = (ours(), reference());
        let conf = bridge("1.0.0");
        for (before, after) in [(&theirs, &ours), (&ours, &theirs)] {
            for name in ["a", "b", "c"] {
                ns_add(name);
            }
            let told = |name: &str, result: &Value| {
                (who(name), with(conf.clone(), json!({"prevResult": result})))
            };
            let old = ["a", "b"].map(|name| before.ok("ADD", &who(name), &conf));
            // A new pod on the same bridge, with an address of its own, reaches an old one.
            let new = after.ok("ADD", &who("c"), &conf);
            let ips: Vec<&Value> =
                old.iter().chain([&new]).map(|r| &r["ips"][0]["address"]).collect();
            assert!(ips[0] != ips[1] && ips[1] != ips[2] && ips[0] != ips[2], "{ips:?}");
            let ip = ips[0].as_str().unwrap().split('/').next().unwrap();
            sh_out(&format!("ip netns exec c ping -c 1 -W 2 {ip}"));
            for (name, result) in ["a", "b"].iter().zip(&old) {
                let (who, conf) = told(name, result);
                after.ok("CHECK", &who, &conf);
                after.ok("DEL", &who, &conf);
                assert!(!sh_out(&format!("ip -n {name} -br link")).contains("eth0"));
            }
            after.ok("DEL", &who("c"), &conf);
            let left = files(&leases("net"));
            assert!(
                left.iter().all(|(name, _)| name == "lock" || name.starts_with("last_")),
                "{left:?}"
            );
            for name in ["a", "b", "c"] {
                super::common::ns_del(name);
            }
        }
    });
}
