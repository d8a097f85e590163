//! netsetup map: who is wired to whom, for every kind of link.

use serde_json::{Value, json};

use super::bed::{add, host, needs, netsetup, network, pod};
use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, dirs, sh, world};

/// The picture without what is random in it.
fn picture() -> String {
    let random = |word: &str| {
        let hex = |s: &str, n| s.len() == n && s.bytes().all(|b| b.is_ascii_hexdigit());
        match word {
            _ if word.strip_prefix("pk").is_some_and(|rest| hex(rest, 12)) => "VETH".to_owned(),
            _ if word.split(':').count() == 6 && word.split(':').all(|part| hex(part, 2)) => {
                "MAC".to_owned()
            }
            _ if word.starts_with("net:[") => "net:[N]".to_owned(),
            _ => word.to_owned(),
        }
    };
    let text = netsetup("map");
    let line = |line: &str| line.split(' ').map(random).collect::<Vec<_>>().join(" ");
    text.lines().map(|l| line(l) + "\n").collect()
}

/// A network of this name with addresses of 10.`n`.0.0/24, and pod `name` on it.
fn attach(name: &str, n: u8, mut plugin: Value) {
    plugin["ipam"] =
        json!({"type": "host-local", "ranges": [[{"subnet": format!("10.{n}.0.0/24")}]]});
    network(name, &plugin);
    pod(name);
    add(&format!("{name} --netns /run/netns/{name}"));
}

const HERE: &str = "\
host
├─ bridge pkvx42  10.25.0.1/24  up  mtu 1450
│  └─ veth VETH (up) ── eth0 10.25.0.2/24
│        container tunnel  network tunnel
│        netns /run/netns/tunnel net:[N]  mac MAC
├─ link up0  198.18.0.1/24 2001:db8:18::1/64  up  mtu 1500
│  └─ macvlan mode private (up) ── eth0 10.22.0.2/24
│        container mac  network mac
│        netns /run/netns/mac net:[N]  mac MAC
├─ vxlan vxlan42 id 42 local 198.18.0.1 dstport 4789    up  mtu 1450
│  ├─ to 198.18.0.2  10.26.0.0/24 fd26::/64
│  └─ to 198.18.0.3  10.27.0.0/24
├─ host-device cable0 (up) ── eth0 10.21.0.2/24
│     container lent  network lent
│     netns /run/netns/lent net:[N]  mac MAC
├─ macvlan mode bridge on net0 of the pod (up) ── eth0
│     container pod  network nested
│     netns /run/netns/pod net:[N]  mac MAC
├─ no link but lo
│     container quiet  network none
│     netns /run/netns/quiet net:[N]
├─ veth VETH (up) ── eth0 10.23.0.2/24
│     container point  network point
│     netns /run/netns/point net:[N]  mac MAC
│     route 10.23.0.1/32 dev eth0
│     route 10.23.0.0/24 via 10.23.0.1 dev eth0
│     masquerade of 10.23.0.2
└─ tap (up) ── eth0 10.24.0.2/24
      container program  network program
      netns /run/netns/program net:[N]  mac MAC
";

#[test]
fn it_draws_every_kind_of_link() {
    world(Kind::User, || {
        needs("macvlan");
        needs("vxlan");
        let [inside, _] = host();
        sh("ip link add cable0 type veth peer name cable1");
        attach("lent", 21, json!({"type": "host-device", "device": "cable0"}));
        attach("mac", 22, json!({"type": "macvlan", "master": "up0", "mode": "private"}));
        attach("point", 23, json!({"type": "ptp", "ipMasq": true}));
        attach("program", 24, json!({"type": "tap"}));
        let remotes = json!([{"host": "198.18.0.1", "subnets": ["10.25.0.0/24"]},
            {"host": "198.18.0.2", "subnets": ["10.26.0.0/24", "fd26::/64"]},
            {"host": "198.18.0.3", "subnets": ["10.27.0.0/24"]}]);
        attach("tunnel", 25, json!({"type": "vxlan", "id": 42, "remotes": remotes}));
        pod("quiet");
        add("none --netns /run/netns/quiet");
        // A link of the pod's own, on another one.
        inside.sh("ip link add net0 type veth peer name net1");
        network("nested", &json!({"type": "macvlan", "master": "net0", "linkInContainer": true}));
        add("nested --netns /run/netns/pod");
        let before = dump(&[]);
        assert_eq!(picture(), HERE);
        assert_same_world(&before, &dump(&[]), &[]);
        is_the_same_for_programs();
        sh("ip -n mac link set eth0 down; ip -n program link del eth0; ip link del vxlan42; \
            ip netns del lent");
        let text = picture();
        for line in [
            "macvlan mode private (down) ── eth0 10.22.0.2/24",
            "tap (missing) ── eth0 10.24.0.2/24",
            "vxlan vxlan42 id 42 local 198.18.0.1 dstport 4789    missing",
            "host-device cable0 (unknown) ── eth0 10.21.0.2/24",
        ] {
            assert!(text.contains(line), "{line} isn't in\n{text}");
        }
    });
}

fn is_the_same_for_programs() {
    let value: Value = serde_json::from_str(&netsetup("map --format json")).expect("JSON");
    let on_up0 = &value["links"]["up0"]["pods"][0];
    assert_eq!(
        [&on_up0["container"], &on_up0["kind"], &on_up0["settings"], &on_up0["link_state"]],
        ["mac", "macvlan", "mode private", "up"]
    );
    let tunnel = &value["links"]["vxlan42"];
    assert_eq!(tunnel["kind"], "vxlan");
    let remote = json!({"host": "198.18.0.2", "subnets": ["10.26.0.0/24", "fd26::/64"]});
    assert_eq!(tunnel["remotes"][0], remote);
    let pods = value["pods"].as_array().expect("pods").iter();
    let kinds: Vec<_> = pods.map(|pod| pod["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["host-device", "macvlan", "", "veth", "tap"]);
}

const IN_THE_VM: &str = "\
host
├─ bond bond7 mode active-backup    up  mtu 1500
│  ├─ vlan bond7.100 id 100    up  mtu 1500
│  │  └─ ipvlan mode l2 (up) ── eth0 10.31.0.2/24
│  │        container ip  network ip
│  │        netns /run/netns/ip net:[N]  mac MAC
│  ├─ link cable1    up  mtu 1500
│  ├─ link cable2    up  mtu 1500
│  └─ macvlan mode bridge (up) ── eth0 10.32.0.2/24
│        container mac  network mac
│        netns /run/netns/mac net:[N]  mac MAC
├─ link up0  198.18.0.1/24 2001:db8:18::1/64  up  mtu 1500
│  ├─ macvlan mode bridge (up) ── eth0
│  │     container blue  network blue
│  │     netns /run/netns/blue net:[N]  mac MAC  vrf blue
│  └─ vlan id 7 (up) ── eth0 10.33.0.2/24
│        container tag  network tag
│        netns /run/netns/tag net:[N]  mac MAC
└─ dummy (up) ── eth0 10.34.0.2/24
      container nowhere  network nowhere
      netns /run/netns/nowhere net:[N]  mac MAC
";

/// A bond with a vlan on it, both made on demand, and what stands on them.
#[test]
#[ignore = "needs bond, vlan, ipvlan, dummy and vrf: tests/vm runs it on Linux 6.12"]
fn vm_it_draws_kinds_that_come_as_modules() {
    world(Kind::User, || {
        ["bond", "vlan", "ipvlan", "dummy", "vrf"].iter().for_each(|kind| needs(kind));
        host();
        sh("for i in 1 2; do ip link add cable$i type veth peer name port$i; done");
        let bond = json!({"links": ["cable1", "cable2"]});
        attach("ip", 31, json!({"type": "ipvlan", "master": "bond7.100", "bond": bond}));
        attach("mac", 32, json!({"type": "macvlan", "master": "bond7", "bond": bond}));
        attach("tag", 33, json!({"type": "vlan", "master": "up0", "vlanId": 7}));
        attach("nowhere", 34, json!({"type": "dummy"}));
        let list = json!({"cniVersion": "1.0.0", "name": "blue", "plugins": [
            {"type": "macvlan", "master": "up0"},
            {"type": "vrf", "vrfname": "blue", "table": 77}]});
        std::fs::write(dirs().conf.join("blue.conflist"), list.to_string()).expect("a list");
        pod("blue");
        add("blue --netns /run/netns/blue");
        assert_eq!(picture(), IN_THE_VM);
        sh("ip link del bond7");
        let text = picture();
        assert!(text.contains("bond bond7 mode active-backup    missing\n"), "{text}");
        assert!(text.contains("vlan bond7.100 id 100    missing\n"), "{text}");
        assert!(text.contains("ipvlan mode l2 (missing) ── eth0 10.31.0.2/24"), "{text}");
    });
}
