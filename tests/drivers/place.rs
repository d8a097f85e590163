//! The networks without an interface: none and host.

use super::bed::{add, netsetup, pod, refused};
use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, sh, sh_out, world};

#[test]
fn none_is_lo_alone() {
    world(Kind::User, || {
        let pod = pod("pod");
        pod.sh("ip link set lo down");
        let before = dump(std::slice::from_ref(&pod));
        let result = add("none --netns /run/netns/pod");
        assert!(result["interfaces"].is_null() && result["ips"].is_null(), "{result}");
        assert_eq!(pod.sh_out("ip -br link | awk '{print $1, $2}'"), "lo UNKNOWN");
        pod.sh("ping -c 1 -W 1 127.0.0.1");
        netsetup("check none --netns /run/netns/pod");
        netsetup("del none --netns /run/netns/pod");
        assert_same_world(&before, &dump(&[pod]), &["mount *", "file *"]);
    });
}

#[test]
fn host_is_the_hosts_own_namespace_and_no_other() {
    world(Kind::User, || {
        pod("pod");
        let before = dump(&[]);
        let said = refused("add host --netns /run/netns/pod", 2);
        assert!(said.contains("network host is the host's own, and this isn't"), "{said}");
        let text = netsetup("explain host --netns /proc/self/ns/net --id me");
        assert_eq!(text.lines().nth(1), Some("PHASE  HOLD  WHERE  WHAT"), "{text}");
        assert!(text.lines().nth(2).is_none_or(|line| line.starts_with("own: ")), "{text}");
        add("host --netns /proc/self/ns/net --id me");
        netsetup("check host --netns /proc/self/ns/net --id me");
        let said = refused("add bridge --netns /proc/self/ns/net --id me", 2);
        assert!(said.contains("it is the host's own network namespace"), "{said}");
        netsetup("del host --id me");
        assert_same_world(&before, &dump(&[]), &[]);
    });
}

/// A hook is called for a container without a namespace of its own, too.
#[test]
#[ignore = "needs root"]
fn a_hook_with_network_host_changes_nothing() {
    world(Kind::Root, || {
        let before = dump(&[]);
        let hook = |status: &str, pid: &str| {
            let state = format!(
                "{{\"ociVersion\":\"1.0.2\",\"id\":\"c\",\"status\":\"{status}\",{pid}\"bundle\":\"/b\",\
                 \"annotations\":{{\"dev.podkeel.network\":\"host\"}}}}"
            );
            sh(&format!("printf '%s' '{state}' | {} hook", super::bed::NETSETUP));
        };
        let pid = sh_out("sleep 100 >/dev/null 2>&1 & echo $!");
        hook("creating", &format!("\"pid\":{pid},"));
        hook("stopped", "");
        sh(&format!("kill {pid}"));
        assert_same_world(&before, &dump(&[]), &[]);
    });
}
