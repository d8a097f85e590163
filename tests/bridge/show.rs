//! explain and map: what would be done, and what is there.

use std::time::Instant;

use serde_json::{Value, json};

use super::bed::{add, bed, netsetup, pod, run};
use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, dirs, neighbour, ns_add, sh, sh_json, sh_out, world};

/// A text without what is random in it: names of veth ends, MAC addresses.
fn normal(text: &str) -> String {
    let random = |word: &str| {
        let hex = |s: &str, n| s.len() == n && s.bytes().all(|b| b.is_ascii_hexdigit());
        if word.strip_prefix("pk").is_some_and(|rest| hex(rest, 12)) {
            return "VETH".to_owned();
        }
        if word.starts_with("02:") && word.split(':').all(|part| hex(part, 2)) {
            return "MAC".to_owned();
        }
        word.to_owned()
    };
    let line = |line: &str| line.split(' ').map(random).collect::<Vec<_>>().join(" ");
    text.lines().map(|l| line(l) + "\n").collect()
}

const HOLDS: &str = "\
own: made and removed with the attachment; share: made if missing, removed by the last holder; \
borrow: put back; ensure: turned on and left on
";

const BUILT_IN: &str = "\
network bridge (built in), attachment bridge/a/eth0
PHASE  HOLD    WHERE  WHAT
close  own     host   lease 10.89.0.2 for a/eth0
close  share   host   nftables table inet podkeel
close  share   host   true addresses within 10.89.0.0/16
build  share   host   bridge podkeel0
build  share   host   sysctl net.ipv6.conf.podkeel0.accept_ra=0
build  share   host   link podkeel0 up
build  own     host   veth VETH on podkeel0 with peer eth0 in the pod
build  share   host   address 10.89.0.1/16 dev podkeel0
build  ensure  host   sysctl net.ipv4.ip_forward=1
build  own     pod    sysctl net.ipv6.conf.eth0.disable_ipv6=1
build  own     pod    address 10.89.0.2/16 dev eth0
build  ensure  pod    link lo up
build  own     pod    link eth0 up
build  own     pod    route default via 10.89.0.1 dev eth0
build  borrow  pod    sysctl net.ipv4.tcp_keepalive_time=77
open   own     host   masquerade of 10.89.0.2
open   own     host   port 0.0.0.0:8080/tcp to 10.89.0.2:80
open   ensure  pod    neighbours of eth0 told of it
";

const DUAL: &str = "\
network dual (CONF/dual.conflist), attachment dual/web/net1
PHASE  HOLD    WHERE  WHAT
close  own     host   lease 10.90.0.9 for web/net1
close  own     host   lease fd70:6f64:6b65:1::2 for web/net1
close  share   host   nftables table inet podkeel
close  share   host   true addresses within 10.90.0.0/16
close  share   host   true addresses within fd70:6f64:6b65:1::/64
build  share   host   bridge podkeel-dual
build  share   host   sysctl net.ipv6.conf.podkeel-dual.accept_ra=0
build  share   host   link podkeel-dual up
build  own     host   veth VETH on podkeel-dual with peer net1 in the pod
build  share   host   address 10.90.0.1/16 dev podkeel-dual
build  share   host   address fd70:6f64:6b65:1::1/64 dev podkeel-dual
build  ensure  host   sysctl net.ipv4.ip_forward=1
build  ensure  host   sysctl net.ipv6.conf.all.forwarding=1
build  own     pod    sysctl net.ipv6.conf.net1.accept_ra=0
build  own     pod    address 10.90.0.9/16 dev net1
build  own     pod    address fd70:6f64:6b65:1::2/64 dev net1
build  ensure  pod    link lo up
build  own     pod    link net1 up
build  own     pod    route default via 10.90.0.1 dev net1
build  own     pod    route default via fd70:6f64:6b65:1::1 dev net1
open   own     host   masquerade of 10.90.0.9
open   own     host   masquerade of fd70:6f64:6b65:1::2
open   own     host   port [::]:8080/tcp to [fd70:6f64:6b65:1::2]:80
open   own     host   port 198.18.0.1:8080/udp to 10.90.0.9:53
open   ensure  pod    neighbours of net1 told of it
";

#[test]
fn explain_tells_the_plan_and_changes_nothing() {
    world(Kind::User, || {
        super::bed::network("dual", super::bed::DUAL);
        let all = [ns_add("a"), neighbour("far", 0).ns];
        let before = dump(&all);
        let built_in = "explain bridge --netns /run/netns/a -p 8080:80 --sysctl net.ipv4.tcp_keepalive_time=77";
        let dual = "explain dual --netns /run/netns/a --id web --ifname net1 --ip 10.90.0.9 \
                    -p [::]:8080:80 -p 198.18.0.1:8080:53/udp";
        let conf = dirs().conf.display().to_string();
        for (words, expected) in [(built_in, BUILT_IN), (dual, DUAL)] {
            let text = normal(&netsetup(words)).replace(&conf, "CONF");
            assert_eq!(text, format!("{expected}{HOLDS}"));
            assert_same_world(&before, &dump(&all), &[]);
            // The same steps in the same order for programs.
            let value: Value =
                serde_json::from_str(&netsetup(&format!("{words} --format json"))).expect("JSON");
            let steps = value["steps"].as_array().expect("steps").iter();
            let lines: Vec<String> = steps
                .map(|s| {
                    let hold = &s["step"]["hold"];
                    let hold = hold.as_str().map_or("borrow", |hold| hold);
                    let (phase, at) = (s["step"]["phase"].as_str(), s["step"]["at"].as_str());
                    let (phase, at) = (phase.expect("a phase"), at.expect("a place"));
                    let text = s["text"].as_str().expect("a text");
                    format!("{phase:<7}{hold:<8}{at:<7}{text}\n")
                })
                .collect();
            let table: String = expected.split_inclusive('\n').skip(2).collect();
            assert_eq!(normal(&lines.concat()), table);
            assert_same_world(&before, &dump(&all), &[]);
        }
        // What add makes of it is what was told.
        let shown = normal(&netsetup(
            &built_in.replace("explain", "add").replace("/a ", "/a --format table "),
        ));
        for line in BUILT_IN.lines().skip(2) {
            assert!(shown.contains(&line[15..]), "{line} isn't in\n{shown}");
        }
    });
}

#[test]
fn what_cannot_be_added_is_not_explained_either() {
    world(Kind::User, || {
        ns_add("a");
        super::bed::network("dual", super::bed::DUAL);
        sh("ip link add old type veth peer name older && ip addr add 10.90.3.1/24 dev old && \
            ip link set old addrgenmode none && ip link set old up");
        let all = [super::common::Ns::named("a")];
        let before = dump(&all);
        for (words, code, why) in [
            ("dual --netns /run/netns/a", 4, "the host has a route to 10.90.3.0/24 over old"),
            ("nowhere --netns /run/netns/a", 5, "nowhere"),
            ("bridge --netns /run/netns/none", 5, "/run/netns/none"),
            ("bridge --netns /etc/passwd", 2, "/etc/passwd"),
            ("bridge --netns /proc/self/ns/net", 2, "the host's own network namespace"),
            ("bridge --pid 4000000", 5, "4000000"),
            ("bridge --netns /run/netns/a --ip 10.1.1.1", 2, "10.1.1.1"),
            ("bridge --netns /run/netns/a --ip 10.89.0.1", 4, "10.89.0.1"),
            ("bridge --netns /run/netns/a -p [::1]:80:80", 2, "IPv6"),
            ("bridge --netns /run/netns/a --ifname lo", 4, "it has a link lo already"),
            ("bridge --netns /run/netns/a --sysctl net.none=1", 5, "there is no such sysctl"),
        ] {
            for verb in ["explain", "add"] {
                let output = run(&format!("{verb} {words}"));
                let said = super::common::told(&format!("{verb} {words}"), &output);
                assert!(said.contains(why), "{said}");
                assert_eq!(output.status.code(), Some(code), "{said}");
                assert!(output.stdout.is_empty(), "{said}");
                assert_same_world(&before, &dump(&all), &[]);
            }
        }
    });
}

const MAP: &str = "\
host
├─ bridge podkeel-dual  10.90.0.1/16 fd70:6f64:6b65:1::1/64  up  mtu 1500
│  └─ veth VETH (up) ── eth0 10.90.0.2/16 fd70:6f64:6b65:1::2/64
│        container a  network dual
│        netns /run/netns/a net:[A]  mac MAC
│        route default via 10.90.0.1 dev eth0
│        route default via fd70:6f64:6b65:1::1 dev eth0
│        masquerade of 10.90.0.2
│        masquerade of fd70:6f64:6b65:1::2
│        port 0.0.0.0:8080/tcp to 10.90.0.2:80
│        port [::]:8080/tcp to [fd70:6f64:6b65:1::2]:80
└─ bridge podkeel0  10.89.0.1/16  up  mtu 1500
   ├─ veth VETH (up) ── eth0 10.89.0.2/16
   │     container b  network bridge
   │     netns /run/netns/b net:[B]  mac MAC
   │     route default via 10.89.0.1 dev eth0
   │     masquerade of 10.89.0.2
   └─ veth VETH (down) ── eth0 10.89.0.3/16
         container c  network bridge
         netns /run/netns/c net:[C]  mac 02:00:00:00:00:07
         route default via 10.89.0.1 dev eth0
         masquerade of 10.89.0.3
";

#[test]
fn the_map_shows_what_is_there() {
    world(Kind::User, || {
        assert_eq!(netsetup("map"), "no attachments\n");
        assert_eq!(netsetup("map --format json"), "{\n  \"links\": {},\n  \"pods\": []\n}\n");
        bed(false);
        pod("a", "dual", "-p 8080:80");
        pod("b", "bridge", "");
        pod("c", "bridge", "--mac 02:00:00:00:00:07");
        let value: Value = serde_json::from_str(&netsetup("map --format json")).expect("JSON");
        let c = &value["links"]["podkeel0"]["pods"][1];
        assert_eq!((&c["container"], &c["mac"]), (&json!("c"), &json!("02:00:00:00:00:07")));
        let veth = c["outer"].as_str().expect("a name");
        assert_eq!(sh_json(&format!("ip -j link show {veth}"))[0]["master"], "podkeel0");
        sh(&format!("ip link set {veth} down"));
        let inode = |name: &str| sh_out(&format!("stat -Lc %i /run/netns/{name}"));
        let before = dump(&[]);
        let mut text = netsetup("map");
        assert_same_world(&before, &dump(&[]), &[]);
        for name in ["a", "b", "c"] {
            text = text.replace(&inode(name), &name.to_uppercase());
        }
        let with_mac = MAP.replace("02:00:00:00:00:07", "MAC");
        assert_eq!(normal(&text), with_mac);
        let value: Value = serde_json::from_str(&netsetup("map --format json")).expect("JSON");
        let pods = &value["links"]["podkeel0"]["pods"];
        assert_eq!([&pods[0]["link_state"], &pods[1]["link_state"]], ["up", "down"]);
        let rules = &value["links"]["podkeel-dual"]["pods"][0]["rules"];
        assert_eq!(rules.as_array().expect("rules").len(), 4);
        assert_eq!(
            value["links"]["podkeel-dual"]["pods"][0]["netns_inode"].to_string(),
            inode("a")
        );
        // A bridge that is gone is drawn as gone.
        sh("ip link del podkeel0");
        let text = netsetup("map");
        assert!(text.contains("bridge podkeel0    missing\n"), "{text}");
        sh(&format!("ip link del {veth}"));
        assert!(netsetup("map").contains(&format!("veth {veth} (missing)")));
    });
}

/// A process that is known is named, and said to have ended when it has.
#[test]
fn the_map_names_the_pods_process() {
    world(Kind::User, || {
        let mut child = std::process::Command::new("unshare")
            .args(["-n", "sleep", "1000"])
            .spawn()
            .expect("unshare");
        let pid = child.id();
        let start = Instant::now();
        while sh_out(&format!("cat /proc/{pid}/comm")) != "sleep" {
            assert!(start.elapsed().as_secs() < 5, "unshare hangs");
        }
        add(&format!("bridge --pid {pid} --id web"));
        let text = netsetup("map");
        assert!(
            text.contains(&format!("container web  network bridge  process {pid} sleep\n")),
            "{text}"
        );
        child.kill().and_then(|()| child.wait()).expect("its end");
        let text = netsetup("map");
        assert!(text.contains(&format!("process {pid} ended\n")), "{text}");
        netsetup("del bridge --id web");
    });
}
