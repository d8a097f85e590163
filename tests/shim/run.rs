//! `shim run`: every flag; what is refused and what fails on the way leaves nothing.

use std::fs::read_link;

use super::bed::{Before, any, before, end, fails, inspect, ok, pid_of, spawn, state, until};
use super::common::gone::{gone_links, group_of};
use super::common::{Kind, Ns, dirs, ns_add, sh, sh_out, told, world};

const TWO: &str = r#"{"cniVersion":"1.0.0","name":"two","plugins":[{"type":"bridge",
    "bridge":"br-two","isGateway":true,"ipam":{"type":"host-local","subnet":"10.77.0.0/24"}}]}"#;

/// Which namespace of a kind a process is in.
fn ns(pid: impl std::fmt::Display, kind: &str) -> String {
    let link = read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
    link.to_string_lossy().into_owned()
}

#[test]
fn a_base_has_namespaces_of_its_own_and_ip_netns_knows_it() {
    world(Kind::User, || {
        let before = before(true);
        assert_eq!(ok("shim run -d --name base"), "base");
        let pid = pid_of("base");
        for kind in ["net", "ipc", "uts", "pid", "mnt"] {
            assert_ne!(ns(pid, kind), ns("self", kind), "{kind}");
        }
        assert_eq!(ns(pid, "user"), ns("self", "user"));
        assert!(sh_out("ip netns list").starts_with("base"));
        let addresses = sh_out("ip netns exec base ip -br addr show eth0");
        let known = inspect("base")["networks"][0]["addresses"][0].clone();
        assert!(addresses.contains(known.as_str().expect("an address")), "{addresses} {known}");
        sh_out("ip netns exec base ping -c1 -W2 10.89.0.1");
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("cmdline");
        assert_eq!((line.as_str(), state("base").as_str()), ("pause\0", "running"));
        assert_eq!(ok("shim rm -f base"), "base");
        before.is_now("rm -f");
    });
}

#[test]
fn networks_by_name_several_none_and_the_hosts() {
    world(Kind::User, || {
        let before = before(true);
        std::fs::write(dirs().conf.join("two.conflist"), TWO).expect("a network list");
        ok("shim run -d --name base --net bridge --net two -p 8080:80");
        let base = Ns::named("base");
        let links = base.sh_out("ip -br -4 addr");
        assert!(links.contains("10.89.0.") && links.contains("10.77.0.2/24"), "{links}");
        let routes = base.sh_out("ip route show default");
        assert_eq!(routes.lines().count(), 1, "one default route, of the first: {routes}");
        assert!(routes.starts_with("default via 10.89.0.1 dev eth0"), "{routes}");
        let all = inspect("base");
        assert_eq!(all["networks"][1]["network"], "two");
        assert_eq!(all["networks"][1]["ifname"], "eth1");
        ok("shim rm -f base");

        ok("shim run -d --name base --net none");
        assert!(Ns::named("base").sh_out("ip -br link").starts_with("lo"));
        assert!(Ns::named("base").sh_out("ip -br addr show lo").contains("127.0.0.1"), "lo is up");
        assert_eq!(Ns::named("base").sh_out("ip -br link").lines().count(), 1);
        ok("shim rm -f base");

        ok("shim run -d --name base --net host");
        assert_eq!(ns(pid_of("base"), "net"), ns("self", "net"));
        assert!(!std::path::Path::new("/run/netns/base").exists());
        ok("shim rm -f base");
        std::fs::remove_file(dirs().conf.join("two.conflist")).expect("the list");
        // host-local leaves its directory, too.
        std::fs::remove_dir_all(dirs().leases.join("two")).expect("the leases of two");
        before.is_now("all of them");
    });
}

/// The kernel takes its time once for each request to delete links, however many they are: so
/// those of all of a pod's networks go by one, as one group.
#[test]
fn two_networks_go_as_one() {
    world(Kind::User, || {
        let before = before(true);
        std::fs::write(dirs().conf.join("two.conflist"), TWO).expect("a network list");
        for rm in ["shim rm -f base", "shim stop base && shim rm base"] {
            ok("shim run -d --name base --net bridge --net two -p 8080:80");
            let gone = gone_links(2, || _ = ok(rm));
            let groups: Vec<_> = gone.iter().filter_map(|line| group_of(line)).collect();
            assert!(
                groups.len() == 2 && groups[0] == groups[1] && groups[0] != "default",
                "{rm}: {gone:#?}"
            );
        }
        std::fs::remove_file(dirs().conf.join("two.conflist")).expect("the list");
        std::fs::remove_dir_all(dirs().leases.join("two")).expect("the leases of two");
        before.is_now("rm");
    });
}

#[test]
fn kinds_that_are_the_hosts_and_those_that_are_not() {
    world(Kind::User, || {
        let before = before(false);
        for host in ["ipc", "pid", "uts"] {
            ok(&format!("shim run -d --name base --net none --{host} host"));
            let pid = pid_of("base");
            for kind in ["net", "ipc", "uts", "pid"] {
                assert_eq!(ns(pid, kind) == ns("self", kind), kind == host, "{kind} with {host}");
            }
            ok("shim stop -t 2 base");
            assert_eq!(state("base"), "stopped");
            ok("shim rm base");
            before.is_now(host);
        }
        ok("shim run -d --name base --net none --ipc private --pid private --uts private");
        ok("shim rm -f base");
        before.is_now("private");
    });
}

#[test]
fn sysctls_of_the_pod() {
    world(Kind::User, || {
        let before = before(false);
        let forward = sh_out("sysctl -n net.ipv4.ip_forward");
        ok("shim run -d --name base --net none --sysctl net.ipv4.ip_forward=1 \
            --sysctl net.ipv4.tcp_keepalive_time=321 --sysctl 'net.ipv4.ip_local_port_range=5000 6000' \
            --sysctl kernel.msgmax=4711 --sysctl fs.mqueue.msg_max=17");
        let read = |keys: &str| ok(&format!("shim join $in -- sysctl -n {keys}"));
        assert_eq!(read("net.ipv4.ip_forward net.ipv4.tcp_keepalive_time"), "1\n321");
        assert_eq!(read("net.ipv4.ip_local_port_range"), "5000\t6000");
        assert_eq!(read("kernel.msgmax fs.mqueue.msg_max"), "4711\n17");
        assert_eq!(sh_out("sysctl -n net.ipv4.ip_forward"), forward);
        // A base that was started anew has them still.
        ok("shim stop -t 1 base && shim start base");
        assert_eq!(read("kernel.msgmax net.ipv4.tcp_keepalive_time"), "4711\n321");
        ok("shim rm -f base");
        before.is_now("rm -f");
        for (line, words) in [
            ("--sysctl kernel.panic=1", "no namespace of a pod holds it"),
            ("--sysctl vm.swappiness=1", "no namespace of a pod holds it"),
            ("--sysctl kernel.hostname=x", "no namespace of a pod holds it"),
            ("--sysctl net.ipv4.ip_forward", "sysctl"),
            ("--ipc host --sysctl kernel.msgmax=1", "would be the host's"),
        ] {
            fails(&format!("shim run -d --name base --net none {line}"), 125, words);
        }
        fails(
            "shim run -d --name base --net host --sysctl net.ipv4.ip_forward=1",
            125,
            "the host's",
        );
        before.is_now("what was refused");
    });
}

#[test]
fn host_name_and_size_of_dev_shm() {
    world(Kind::User, || {
        let before = before(false);
        let own = sh_out("hostname");
        ok("shim run -d --name base --net none --hostname pod-1.example --shm-size 3m");
        assert_eq!(ok("shim join $in -- hostname"), "pod-1.example");
        assert_eq!(sh_out("hostname"), own);
        let size = ok("shim join $in -- df -B1 --output=size,target /dev/shm");
        assert!(size.contains("3145728 /dev/shm"), "{size}");
        let more = any("shim join $in -- dd if=/dev/zero of=/dev/shm/x bs=1M count=4");
        assert!(String::from_utf8_lossy(&more.stderr).contains("No space left"), "{more:?}");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn without_a_pause_the_pinned_namespaces_are_the_pod() {
    world(Kind::User, || {
        let before = before(true);
        let at_start = super::bed::processes().len();
        assert_eq!(ok("shim run --no-pause --name base --hostname pinned"), "base");
        // The one that tells the neighbours ends by itself.
        until("no process at all", || super::bed::processes().len() == at_start);
        assert_eq!(state("base"), "pinned");
        let words = "shim join --net=container:base --ipc=container:base --uts=container:base";
        assert_eq!(ok(&format!("{words} -- hostname")), "pinned");
        ok(&format!("{words} -- sh -c 'echo one >/dev/shm/x'"));
        assert_eq!(ok(&format!("{words} -- cat /dev/shm/x")), "one");
        ok(&format!("{words} -- ping -c1 -W2 10.89.0.1"));
        fails("shim join --pid=container:base -- true", 125, "without a pause has none of its own");
        fails("shim start base", 2, "its state is pinned");
        fails("shim wait base", 2, "no process");
        ok("shim stop base && shim rm base");
        before.is_now("rm");
    });
}

#[test]
fn in_the_foreground_until_a_signal_ends_it() {
    world(Kind::User, || {
        let before = before(true);
        for signal in ["TERM", "INT", "HUP", "QUIT"] {
            let mut child = spawn("shim run --name base -p 8080:80");
            until("a base", || any("shim ps -q").stdout == b"base\n" && state("base") == "running");
            ok("shim join $in -d --name app -- sleep 1000");
            sh(&format!("kill -{signal} {}", child.id()));
            let status = end(&mut child);
            assert_eq!(status.code(), Some(0), "{signal}: {status:?}");
            ok("shim rm -f app");
            before.is_now(signal);
        }
        let mut child = spawn("nohup shim run --name base --net none");
        until("a base", || any("shim ps -q").stdout == b"base\n" && state("base") == "running");
        sh(&format!("kill -HUP {}; sleep 0.2", child.id()));
        assert_eq!(state("base"), "running", "nohup keeps it");
        sh(&format!("kill -TERM {}", child.id()));
        assert_eq!(end(&mut child).code(), Some(0));
        before.is_now("nohup");
    });
}

#[test]
fn a_name_that_is_taken() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let with = Before::now();
        fails("shim run -d --name base --net none", 125, "there is one of that name");
        fails("shim join $in -d --name base -- true", 125, "there is one of that name");
        with.is_now("a second one");
        ok("shim stop -t 1 base");
        fails("shim run -d --name base --net none", 125, "there is one of that name");
        ok("shim rm base");
        before.is_now("rm");
        // Somebody else's namespace of that name.
        ns_add("base");
        let theirs = Before::now();
        fails("shim run -d --name base --net none", 125, "base");
        theirs.is_now("a run beside ip's");
        sh("ip netns del base");
        before.is_now("ip netns del");
        let names = ok("shim run -d --net none; shim run -d --net none");
        assert!(names.lines().all(|n| n.starts_with("pod-") && n.len() == 10), "{names}");
        ok(&format!("shim rm -f {}", names.replace('\n', " ")));
        before.is_now("names of its own choice");
    });
}

#[test]
fn bad_words_leave_nothing() {
    world(Kind::User, || {
        let before = before(false);
        let long = "x".repeat(129);
        let name = format!("--name {long}");
        for (words, code) in [
            ("--nosuch", 2),
            ("--ipc", 2),
            ("extra", 2),
            ("--name ''", 125),
            ("--name a/b", 125),
            ("--name ..", 125),
            ("--name -x", 2),
            ("--name .hidden", 125),
            (name.as_str(), 125),
            ("--name base --net nosuch", 125),
            ("--name base --net /no/such/file", 125),
            ("--name base --net none --net bridge", 125),
            ("--name base --net bridge --net bridge", 125),
            ("--name base --net host --net host", 125),
            ("--name base --net container:other", 125),
            ("--name base --net ns:/proc/self/ns/net", 125),
            ("--name base --net ''", 2),
            ("--name base --ipc nosuch", 125),
            ("--name base --pid container:x", 125),
            ("--name base --uts none", 125),
            ("--name base --uts host --hostname x", 125),
            ("--name base --hostname 'a b'", 125),
            ("--name base --hostname ''", 125),
            ("--name base --shm-size 1,mode=777", 125),
            ("--name base --net none --shm-size x", 125),
            ("--name base --net none -p 80:80", 125),
            ("--name base --net host -p 80:80", 125),
            ("--name base -p nonsense", 125),
            ("--name base -p 0:0", 125),
            ("--name base -p 80:80 -p 80:81", 125),
        ] {
            let line = format!("shim run -d {words}");
            let output = any(&line);
            assert_eq!(output.status.code(), Some(code), "{}", told(&line, &output));
            assert!(
                !output.stderr.is_empty() && output.stdout.is_empty(),
                "{}",
                told(&line, &output)
            );
        }
        before.is_now("bad words");
    });
}

#[test]
fn what_fails_on_the_way_is_taken_back() {
    world(Kind::User, || {
        let _ = before(true);
        std::fs::write(dirs().conf.join("two.conflist"), TWO).expect("a network list");
        ok("shim run -d --name first -p 8080:80");
        let with = Before::now();
        for (words, why) in [
            ("-p 8080:80", "8080"),
            ("--net bridge --net two -p 8081:81 -p 8080:80", "8080"),
            ("--sysctl net.ipv4.ip_local_port_range=9", "ip_local_port_range"),
            ("--sysctl net.ipv4.nosuch=9", "nosuch"),
            ("--sysctl kernel.msgmax=-1", "msgmax"),
            ("--no-pause --sysctl kernel.msgmax=-1", "msgmax"),
            ("--shm-size 9q", "9q"),
        ] {
            fails(&format!("shim run -d --name base {words}"), 125, why);
            with.is_now(words);
        }
        // The name is free for the next.
        ok("shim run -d --name base && shim rm -f base");
        with.is_now("one that works");
    });
}

#[test]
fn a_command_runs_under_pause_which_is_process_1() {
    world(Kind::User, || {
        let before = before(true);
        let script = "tr '\\\\0' ' ' </proc/1/cmdline; exit 7";
        let run = format!("shim run --name job --hostname job -- sh -c \"{script}\"; echo code $?");
        let said = ok(&run);
        assert!(said.starts_with("pause -- sh -c "), "process 1: {said}");
        assert!(said.ends_with("code 7"), "the command's own: {said}");
        before.is_now("its end");
        fails("shim run --net none -- /no/such/command", 127, "cannot execute /no/such/command");
        fails("shim run --no-pause -- true", 2, "--no-pause");
        before.is_now("what could not be run");

        // Detached: its output is the log, a signal gets to it, and pause has flags, too.
        let term = "trap 'echo told; exit 9' TERM; echo up; while :; do sleep 0.1; done";
        ok(&format!("shim run -d --name job -- --grace 5s -- sh -c \"{term}\""));
        until("it is up", || ok("shim logs job") == "up");
        ok("shim stop job");
        assert_eq!(ok("shim logs job"), "up\ntold");
        ok("shim rm job");
        before.is_now("rm");
    });
}
