//! tap: a link whose other end is a program.

use serde_json::json;

use super::bed::{Life, NETSETUP, add, host, netsetup, network, plugin, pod, reaches, refused};
use super::common::flatten::text;
use super::common::tap::{Neighbour, open};
use super::common::{Kind, Ns, scratch, sh, sh_json, sh_out, world};

#[test]
fn from_explain_to_del() {
    world(Kind::User, || {
        Life {
            plugins: vec![plugin(
                "tap",
                json!({"owner": 0, "group": 0, "multiQueue": true, "mtu": 1400,
                       "mac": "02:00:00:00:00:07"}),
            )],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                build own pod tap eth0
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build own pod route default via 10.5.0.1 dev eth0",
            ..Life::default()
        }
        .run();
    });
}

/// Numbers that nobody has: `ip` would show a name.
const OWNER: u32 = 61_001;
const GROUP: u32 = 61_002;

/// What `ip` says of the pod's tap, for each of these keys.
fn told<const N: usize>(pod: &Ns, keys: [&str; N]) -> [String; N] {
    let data = &pod.sh_json("ip -d -j link show eth0")[0]["linkinfo"]["info_data"];
    keys.map(|key| text(&data[key]))
}

#[test]
#[ignore = "needs root"]
fn it_is_what_was_asked_for() {
    world(Kind::Root, || {
        let [pod, _] = host();
        pod.sh("ip link add br0 type bridge && ip link set br0 up");
        network(
            "net",
            &json!({"type": "tap", "owner": OWNER, "group": GROUP, "multiQueue": true,
                    "mtu": 1400, "bridge": "br0", "mac": "02:00:00:00:00:07"}),
        );
        let result = add("net --netns /run/netns/pod");
        assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:07");
        let link = &pod.sh_json("ip -d -j link show eth0")[0];
        assert_eq!(
            json!([link["linkinfo"]["info_kind"], link["master"], link["mtu"], link["address"]]),
            json!(["tun", "br0", 1400, "02:00:00:00:00:07"])
        );
        let tun = ["type", "persist", "multi_queue", "user", "group"];
        assert_eq!(told(&pod, tun), ["tap", "true", "true", "61001", "61002"]);
        netsetup("check net --netns /run/netns/pod");
        pod.sh("ip link set eth0 nomaster");
        let said = refused("check net --netns /run/netns/pod", 3);
        assert!(said.contains("it isn't a port of br0"), "{said}");
        netsetup("del net --netns /run/netns/pod");
        assert_eq!(pod.sh_out("ip -br link | wc -l"), "2");
    });
}

#[test]
fn without_owner_it_is_roots() {
    world(Kind::User, || {
        pod("pod");
        network("net", &json!({"type": "tap"}));
        add("net --netns /run/netns/pod");
        let data = &sh_json("ip -n pod -d -j link show eth0")[0]["linkinfo"]["info_data"];
        let data = data.to_string();
        assert!(!data.contains("user") && !data.contains("group"), "{data}");
        netsetup("check net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
    });
}

/// Without SELinux: the kernel's answer to the one write of its kind is made up. Who took the
/// context makes the tap and nothing else, and is not netsetup itself.
#[test]
fn a_context_is_taken_by_a_process_that_ends() {
    world(Kind::User, || {
        let pod = pod("pod");
        let context = "system_u:system_r:container_t:s0";
        network("net", &json!({"type": "tap", "selinuxContext": context}));
        let log = scratch().join("strace");
        sh(&format!(
            "strace -f -o {} -e trace=pwrite64,ioctl,sendto,sendmsg,exit_group \
             -e inject=pwrite64:retval={} {NETSETUP} add net --netns /run/netns/pod",
            log.display(),
            context.len()
        ));
        let log = std::fs::read_to_string(log).expect("strace's log");
        let of = |call: &str| -> Vec<(&str, &str)> {
            let lines = log.lines().filter_map(|line| line.split_once(' '));
            lines.filter(|(_, rest)| rest.trim_start().starts_with(call)).collect()
        };
        let taken = of("pwrite64(");
        let [(who, call)] = taken[..] else { panic!("one write: {log}") };
        assert!(call.contains(context) && call.contains(", 0) = "), "{call}");
        let ioctls = of("ioctl(");
        let tap =
            |word: &str| ioctls.iter().find(|(_, call)| call.contains(word)).map(|(pid, _)| *pid);
        assert_eq!((tap("TUNSETIFF"), tap("TUNSETPERSIST")), (Some(who), Some(who)), "{log}");
        let netlink = [of("sendto("), of("sendmsg(")].concat();
        assert!(!netlink.is_empty() && netlink.iter().all(|(pid, _)| *pid != who), "{log}");
        assert_eq!(told(&pod, ["type"]), ["tap"]);
        netsetup("check net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
        assert_eq!(pod.sh_out("ip -br link | wc -l"), "1");
    });
}

/// A bridge that isn't there, a context that can't be: nothing is left of the tap.
#[test]
fn what_fails_leaves_nothing() {
    world(Kind::User, || {
        pod("pod");
        network("net", &json!({"type": "tap", "bridge": "nosuch"}));
        let said = refused("add net --netns /run/netns/pod", 5);
        assert!(said.contains("cannot find link nosuch"), "{said}");
        assert_eq!(sh_out("ip -n pod -br link | wc -l"), "1");
        network(
            "net",
            &json!({"type": "tap", "selinuxContext": "system_u:system_r:container_t:s0"}),
        );
        if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
            let output = super::bed::run("add net --netns /run/netns/pod");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("cannot take SELinux context \"system_u:"), "{said}");
            assert_eq!(sh_out("ip -n pod -br link | wc -l"), "1");
        }
    });
}

/// A program opens it by its name and gets what the pod sends, and the pod what it sends: one
/// program, or with multiQueue one for each queue.
#[test]
#[ignore = "needs root"]
fn a_program_at_its_other_end_is_reached() {
    for several in [false, true] {
        world(Kind::Root, || reached(several));
    }
}

fn reached(several: bool) {
    let [pod, _] = host();
    let keys = json!({"owner": OWNER, "group": GROUP, "multiQueue": several});
    network("net", &plugin("tap", keys));
    add("net --netns /run/netns/pod");
    let errno = |multi_queue| open(&pod, "eth0", multi_queue).map_err(|e| e.raw_os_error());
    assert_eq!(errno(!several).err(), Some(Some(libc::EINVAL)), "the tap is of the other kind");
    let mut queues = vec![errno(several).expect("the first queue")];
    match several {
        true => queues.push(errno(true).expect("the second queue")),
        false => assert_eq!(errno(false).err(), Some(Some(libc::EBUSY)), "it has one queue"),
    }
    let wanted = if several { ["true", "2"] } else { ["false", "null"] };
    assert_eq!(told(&pod, ["multi_queue", "numqueues"]), wanted);
    let far = Neighbour {
        mac: [2, 0, 0, 0, 0, 9],
        v4: [10, 5, 0, 1].into(),
        v6: "fd05::1".parse().expect("an address"),
    };
    queues.into_iter().for_each(|queue| far.serve(queue));
    assert!(reaches(&pod, "10.5.0.1"), "{}", pod.sh_out("ip neigh; ip addr"));
    assert!(reaches(&pod, "fd05::1"), "{}", pod.sh_out("ip neigh; ip addr"));
    let known = pod.sh_out("ip neigh show dev eth0");
    assert_eq!(known.matches("lladdr 02:00:00:00:00:09").count(), 2, "{known}");
    netsetup("check net --netns /run/netns/pod");
    netsetup("del net --netns /run/netns/pod");
    assert_eq!(pod.sh_out("ip -br link | wc -l"), "1");
}
