//! What the members of a pod share, and what stays the host's.

use std::path::Path;
use std::sync::OnceLock;

use super::bed::{Before, any, before, end, fails, ok, pid_of, processes, spawn, state, until};
use super::common::{Kind, sh, sh_any, sh_out, world};

/// The helper program, compiled once: on the host, before there is a world.
pub(super) fn helper() -> &'static str {
    static HELPER: OnceLock<String> = OnceLock::new();
    HELPER.get_or_init(|| {
        super::common::helper("shim").into_os_string().into_string().expect("the path is text")
    })
}

#[test]
fn localhost() {
    let helper = helper();
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        ok(&format!("shim join $in -d --name web -- {helper} serve 8000 hello 1"));
        until("the server", || ok("shim logs web") == "ready");
        let ask = "curl -s --max-time 5 telnet://127.0.0.1:8000 </dev/null";
        assert!(!sh_any(ask).status.success(), "the host's localhost is another");
        assert_eq!(ok(&format!("shim join $in -- {ask}")), "hello");
        assert_eq!(ok("shim wait web"), "0");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn system_v_and_posix_ipc() {
    let helper = helper();
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let member = |words: &str| ok(&format!("shim join $in -- {helper} {words}"));
        member("sysv-send 77 by-system-v");
        member("shm-put /page by-shared-memory");
        member("mq-send /queue by-posix");
        // None of it is in the host's namespaces.
        for words in ["sysv-receive 77", "shm-get /page", "mq-receive /queue"] {
            assert!(!sh_any(&format!("{helper} {words}")).status.success(), "{words} on the host");
            // Nor for who joins the network alone.
            let net = any(&format!("shim join --net=container:base -- {helper} {words}"));
            assert!(!net.status.success(), "{words} beside the pod: {net:?}");
        }
        assert!(!Path::new("/dev/shm/page").exists());
        assert_eq!(member("sysv-receive 77"), "by-system-v");
        assert_eq!(member("shm-get /page"), "by-shared-memory");
        assert_eq!(member("mq-receive /queue"), "by-posix");
        // What they leave outlives pause: the namespace is pinned.
        member("shm-put /page once-more");
        member("sysv-send 78 kept");
        ok("shim stop -t 1 base && shim start base");
        assert_eq!(
            (member("shm-get /page"), member("sysv-receive 78")),
            ("once-more".into(), "kept".into())
        );
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn processes_of_the_pod_see_and_signal_each_other() {
    let helper = helper();
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        ok(&format!("shim join $in -d --name app -- {helper} signals"));
        until("the program", || ok("shim logs app") == "ready");
        let seen = ok("shim join $in -- ps -eo pid=,args=");
        assert!(seen.lines().next().is_some_and(|l| l.trim() == "1 pause"), "{seen}");
        let line = seen.lines().find(|l| l.ends_with("helper signals")).expect("the other member");
        let inner = line.trim().split(' ').next().expect("a pid");
        assert_ne!(inner, pid_of("app").to_string(), "its pid in the pod is another");
        for signal in [1, 2, 10, 34, 64] {
            ok(&format!("shim join $in -- kill -{signal} {inner}"));
        }
        until("five signals", || ok("shim logs app") == "ready\n1\n2\n10\n34\n64");
        ok(&format!("shim join $in -- kill -TERM {inner}"));
        assert_eq!(ok("shim wait app"), "0");
        // pause can't be killed from inside, and doesn't end by what it doesn't heed.
        for signal in ["KILL", "STOP", "HUP", "USR1"] {
            any(&format!("shim join $in -- kill -{signal} 1"));
        }
        assert_eq!(state("base"), "running");
        // It may die with the pod before it has ended.
        any("shim join $in -- kill -TERM 1");
        until("the end of pause", || state("base") == "stopped");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn pause_reaps_the_orphans_of_members() {
    let helper = helper();
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        ok(&format!("shim join $in -- {helper} orphans 200"));
        until("no orphan any more", || {
            ok("shim join $in -- ps -eo pid=,ppid=,stat=,args=").lines().count() == 2
        });
        // One that stays belongs to pause.
        ok("shim join $in -- sh -c 'sleep 7711 >/dev/null 2>&1 &'");
        let all = ok("shim join $in -- ps -eo ppid=,args=");
        assert!(all.lines().any(|l| l.trim() == "1 sleep 7711"), "{all}");
        ok("shim stop -t 5 base");
        assert!(!processes().values().any(|line| line == "sleep 7711"), "it died with the pod");
        ok("shim rm base");
        before.is_now("rm");
    });
}

#[test]
fn one_port_for_several_members() {
    let helper = helper();
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        for name in ["a", "b"] {
            ok(&format!("shim join $in -d --name {name} -- {helper} serve 8000 {name} 1000"));
            until("a server", || ok(&format!("shim logs {name}")) == "ready");
        }
        let base = super::common::Ns::named("base");
        let asked: Vec<String> = super::common::in_netns(&base, || {
            let ask = |_| {
                let client = std::net::TcpStream::connect("127.0.0.1:8000").expect("connect");
                std::io::read_to_string(client).expect("an answer")
            };
            (0..64).map(ask).collect()
        });
        let of = |name: &str| asked.iter().filter(|a| a.trim() == name).count();
        assert_eq!(of("a") + of("b"), 64);
        assert!(of("a") > 0 && of("b") > 0, "the kernel shares them out: {asked:?}");
        fails(&format!("shim join --net=container:base -- {helper} nosuch"), 101, "no such verb");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn namespaces_by_path_and_of_processes_and_some_only() {
    world(Kind::User, || {
        let before = before(false);
        sh(
            "ip netns add other && ip -n other link set lo up && ip -n other addr add 10.1.1.1/32 dev lo",
        );
        assert!(ok("shim join --net=ns:/run/netns/other -- ip -br addr").contains("10.1.1.1"));
        let with = Before::now();
        let mut child = spawn("ip netns exec other sleep 1000");
        let own = std::fs::read_link("/proc/self/ns/net").expect("own");
        let theirs = format!("/proc/{}/ns/net", child.id());
        until("it is there", || std::fs::read_link(&theirs).is_ok_and(|ns| ns != own));
        let words = format!("shim join --net=container:pid:{} -- ip -br addr", child.id());
        assert!(ok(&words).contains("10.1.1.1"));
        child.kill().expect("kill");
        end(&mut child);
        fails(&words, 125, "no such process");
        with.is_now("a process's");
        sh("ip netns del other");
        fails("shim join --net=ns:/run/netns/other -- true", 125, "/run/netns/other");
        fails("shim join --net=ns:/proc/self/ns/ipc -- true", 125, "namespace of kind ipc");
        fails("shim join --net=container:nosuch -- true", 125, "there is none of that name");
        fails("shim join --net=bridge -- true", 125, "private, host, container:NAME or ns:PATH");
        // Its own: lo is up, and nothing else there; ps sees itself alone.
        assert!(ok("shim join --net=private -- ip -br addr").starts_with("lo"));
        assert!(ok("shim join --net=none -- ping -c1 -W2 127.0.0.1").contains("1 received"));
        assert_eq!(ok("shim join --pid=private -- sh -c 'ps -e | wc -l; echo $$'"), "4\n1");
        let host = sh_out("hostname");
        assert_eq!(ok("shim join --uts=private -- sh -c 'hostname inner; hostname'"), "inner");
        assert_eq!(sh_out("hostname"), host);
        before.is_now("all");
    });
}
