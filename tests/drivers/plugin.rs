//! As CNI plugins, beside Debian's: the same answers, the same links, addresses and
//! routes, and each takes away what the other has made.

use serde_json::{Value, json};

use super::bed::host;
use super::call::{Plugins, Who, host_local, ours, reference, who, with};
use super::common::dump::{assert_same_world, dump};
use super::common::flatten::text;
use super::common::{Kind, Ns, ns_del, sh, sh_json, sh_out, world};

/// A configuration with addresses of both families and a default route.
fn conf(kind: &str, more: Value) -> Value {
    let ipam =
        with(host_local(&["10.7.0.0/24", "fd07::/64"]), json!({"routes": [{"dst": "0.0.0.0/0"}]}));
    with(json!({"cniVersion": "1.0.0", "name": "net", "type": kind, "ipam": ipam}), more)
}

/// What a pod has, without what is given out at random or tells whose it is.
fn inside(pod: &str) -> Value {
    let read = |what: &str| sh_json(&format!("ip -n {pod} -d -j {what}"));
    let link = &read("link show dev eth0")[0];
    let links = ["mtu", "master", "linkinfo", "flags", "link"].map(|key| &link[key]);
    let addrs = read("addr show dev eth0 scope global")[0]["addr_info"].clone();
    let addrs: Vec<Value> = addrs
        .as_array()
        .into_iter()
        .flatten()
        .map(|a| json!([a["local"], a["prefixlen"]]))
        .collect();
    let mut routes = Vec::new();
    for family in ["-4", "-6"] {
        let found = read(&format!("{family} route"));
        let wanted = |r: &&Value| r["dst"] != "fe80::/64";
        routes.extend(
            found
                .as_array()
                .into_iter()
                .flatten()
                .filter(wanted)
                .map(|r| json!([r["dst"], r["gateway"], r["dev"]])),
        );
    }
    json!({"links": links, "addrs": addrs, "routes": routes})
}

/// An ADD and what it made; then a DEL by the same.
fn once(plugins: &Plugins, who: &Who, conf: &Value) -> (Value, Value) {
    sh("rm -rf /var/lib/cni/networks; rm -rf $TMPDIR/leases");
    let mut result = plugins.ok("ADD", who, conf);
    let mac = result["interfaces"][0]["mac"].take();
    let is = text(&sh_json("ip -n pod -j link show dev eth0")[0]["address"]);
    assert_eq!(mac, is);
    let there = inside("pod");
    let checked = with(conf.clone(), json!({"prevResult": with(result.clone(), json!({}))}));
    let mut checked = checked;
    checked["prevResult"]["interfaces"][0]["mac"] = mac;
    // CHECK came with 0.4.0.
    if conf["cniVersion"] != "0.3.1" {
        plugins.ok("CHECK", who, &checked);
    }
    plugins.ok("DEL", who, conf);
    assert_eq!(sh_out("ip -n pod -br link | wc -l"), "1");
    (result, there)
}

/// Ours and the reference's make the same of each of these.
fn alike(setup: &str, confs: &[Value]) {
    let all = host();
    sh(setup);
    let pod = who("pod");
    for conf in confs {
        let before = dump(&all);
        let (theirs, made) = once(&reference(), &pod, conf);
        let (answered, by_us) = once(&ours(), &pod, conf);
        assert_eq!(answered, theirs, "{conf}");
        assert_eq!(by_us, made, "{conf}");
        assert_same_world(
            &before,
            &dump(&all),
            &[
                "file *",
                "host addr card0 fe80*",
                "host route -6 *card0*",
                "host link card0: ifalias (none) -> card0",
                "far addr card1*",
                "far route -6 *card1*",
            ],
        );
    }
}

#[test]
#[ignore = "needs root"]
fn macvlan_is_the_references() {
    world(Kind::Root, || {
        alike(
            "true",
            &[
                conf("macvlan", json!({})),
                conf("macvlan", json!({"master": "up0", "mode": "private", "mtu": 1400})),
                conf("macvlan", json!({"master": "up0", "mode": "vepa"})),
                conf("macvlan", json!({"cniVersion": "0.3.1", "master": "up0"})),
                conf("macvlan", json!({"cniVersion": "0.4.0", "master": "up0"})),
                with(conf("macvlan", json!({"master": "up0"})), json!({"ipam": {}})),
            ],
        );
    });
}

#[test]
#[ignore = "needs root"]
fn host_device_is_the_references() {
    world(Kind::Root, || {
        alike(
            "ip link add card0 type veth peer name card1 netns far && ip -n far link set card1 up",
            &[
                conf("host-device", json!({"device": "card0"})),
                with(conf("host-device", json!({"device": "card0"})), json!({"ipam": {}})),
            ],
        );
    });
}

/// A node changes over, or back, with pods alive.
#[test]
#[ignore = "needs root"]
fn each_takes_away_what_the_other_made() {
    world(Kind::Root, || {
        let all = host();
        sh("ip link add card0 type veth peer name card1 netns far");
        let (pod, before) = (who("pod"), dump(&all));
        for conf in [conf("macvlan", json!({})), conf("host-device", json!({"device": "card0"}))] {
            for (one, other) in [(ours(), reference()), (reference(), ours())] {
                if conf["type"] == "host-device"
                    && one.dir.ends_with("cni")
                    && other.dir.starts_with("/usr")
                {
                    // The reference finds a link's old name in its alias, where ours has
                    // its mark: it says so, and ours takes it home.
                    one.ok("ADD", &pod, &conf);
                    other.fails("DEL", &pod, &conf);
                    one.ok("DEL", &pod, &conf);
                    continue;
                }
                one.ok("ADD", &pod, &conf);
                other.ok("DEL", &pod, &conf);
                ours().ok("DEL", &pod, &conf);
                assert_eq!(sh_out("ip -n pod -br link | wc -l"), "1", "{conf}");
            }
        }
        assert_same_world(&before, &dump(&all), &["file *"]);
    });
}

/// DEL without CNI_NETNS, after the pod's namespace has gone: the link comes home.
#[test]
#[ignore = "needs root"]
fn a_lent_link_comes_home_without_its_pod() {
    world(Kind::Root, || {
        host();
        sh("ip link add card0 type veth peer name card1");
        let conf = conf("host-device", json!({"device": "card0"}));
        ours().ok("ADD", &who("pod"), &conf);
        ns_del("pod");
        let gone = Who { netns: String::new(), ..who("pod") };
        ours().ok("DEL", &gone, &conf);
        ours().ok("DEL", &gone, &conf);
        assert_eq!(sh_out("ip -br link show card0 | awk '{print $1}'"), "card0@card1");
        assert_eq!(sh_out("ls /run/podkeel 2>/dev/null | wc -l"), "0");
    });
}

/// tap and dummy aren't among Debian's; ours are answered in the same form.
#[test]
#[ignore = "needs root"]
fn tap_answers_as_the_others_do() {
    world(Kind::Root, || {
        let [pod, _]: [Ns; 2] = host();
        let conf = conf("tap", json!({"mac": "02:00:00:00:00:01", "owner": 0}));
        let args = Who { args: "IgnoreUnknown=1;MAC=02:00:00:00:00:02".into(), ..who("pod") };
        let mut by_args = conf.clone();
        by_args.as_object_mut().expect("keys").remove("mac");
        let result = ours().ok("ADD", &args, &by_args);
        assert_eq!(
            result["interfaces"],
            json!([{"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/pod"}])
        );
        assert_eq!(
            result["ips"][1],
            json!({"interface": 0, "address": "fd07::2/64", "gateway": "fd07::1"})
        );
        ours().ok("DEL", &args, &by_args);
        assert_eq!(ours().ok("ADD", &who("pod"), &conf)["interfaces"][0]["mac"], conf["mac"]);
        ours().ok("DEL", &who("pod"), &conf);
        assert_eq!(pod.sh_out("ip -br link | wc -l"), "1");
    });
}
