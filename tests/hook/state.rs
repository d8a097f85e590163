//! What a runtime writes to a hook's stdin, and what nobody should.

use super::bed::{DUAL, hook, netsetup, network};
use super::common::dump::{assert_same_world, dump};
use super::common::gone::{gone_links, group_of, runs};
use super::common::{Kind, ns_add, sh_any, world};

fn state(id: &str, status: &str, pid: &str) -> String {
    format!(
        "{{\"ociVersion\": \"1.0.2\", \"id\": \"{id}\", \"status\": \"{status}\", \
         \"bundle\": \"/b\"{pid}}}"
    )
}

#[test]
fn a_state_that_makes_no_sense_is_refused() {
    world(Kind::User, || {
        let all = [ns_add("a")];
        let before = dump(&all);
        let huge = format!("{{\"id\": \"{}\"}}", "x".repeat(3 << 20));
        let deep = "[".repeat(100_000);
        let pid = ", \"pid\": 4000000";
        for (stdin, code, why) in [
            (String::new(), 2, "it is empty"),
            (" \n".into(), 2, "it is empty"),
            ("{".into(), 2, "EOF while parsing"),
            ("null".into(), 2, "invalid type: null"),
            ("[]".into(), 2, ""),
            ("{\"id\": 1}".into(), 2, "read the container's state from stdin"),
            (deep, 2, ""),
            (huge, 2, "read the container's state from stdin"),
            (state("a/b", "creating", pid), 2, "use \"a/b\" as container id"),
            (state("..", "creating", pid), 2, "use \"..\" as container id"),
            (state("", "creating", pid), 2, "use \"\" as container id"),
            (state("a", "creating", ""), 2, "its state has no pid"),
            (state("a", "created", ", \"pid\": 0"), 2, "its state has no pid"),
            (state("a", "created", ", \"pid\": -1"), 2, "its state has no pid"),
            (state("a", "running", pid), 2, "its status is running"),
            (state("a", "dancing", pid), 2, "dancing"),
            (state("a", "created", pid), 5, "4000000"),
        ] {
            let shown: String = stdin.chars().take(100).collect();
            let (exit, said) = hook("", stdin.as_bytes());
            assert!(said.starts_with("netsetup: cannot ") && said.contains(why), "{shown}: {said}");
            assert!(said.len() < 2000, "{} bytes said about {shown}", said.len());
            assert_eq!(exit, Some(code), "{shown}: {said}");
            assert_same_world(&before, &dump(&all), &[]);
        }
        let (exit, said) = hook("", b"\xff\xfe{}");
        assert_eq!(exit, Some(2), "{said}");
        assert_eq!(hook("", state("a", "stopped", "").as_bytes()), (Some(0), String::new()));
        assert_same_world(&before, &dump(&all), &[]);
    });
}

/// A terminal or /dev/zero for stdin is no state either; nobody waits for its end.
#[test]
fn an_endless_state_is_refused() {
    world(Kind::User, || {
        let command = format!("timeout 10 {} hook </dev/zero", super::bed::NETSETUP);
        let output = sh_any(&command);
        assert_eq!(output.status.code(), Some(2), "{}", super::common::told(&command, &output));
        assert_eq!(netsetup("map"), "no attachments\n");
    });
}

/// Two networks of one container go at once, as one group of links; and the runtime hears the
/// end while the processes that wait for the kernel are still there.
#[test]
fn two_networks_go_as_one() {
    world(Kind::User, || {
        network("dual", DUAL);
        ns_add("a");
        let mut sleeper = std::process::Command::new("ip")
            .args(["netns", "exec", "a", "sleep", "1000"])
            .spawn()
            .expect("ip of iproute2");
        // It is in the namespace once it is sleep.
        let comm = format!("/proc/{}/comm", sleeper.id());
        while std::fs::read_to_string(&comm).is_ok_and(|name| name != "sleep\n") {
            std::thread::yield_now();
        }
        let flags = "--network dual --network bridge";
        let created = state("a", "created", &format!(", \"pid\": {}", sleeper.id()));
        let mut seen = false;
        for _ in 0..100 {
            assert_eq!(hook(flags, created.as_bytes()), (Some(0), String::new()));
            let gone = gone_links(2, || {
                assert_eq!(
                    hook(flags, state("a", "stopped", "").as_bytes()),
                    (Some(0), String::new())
                );
                seen |= runs(super::bed::NETSETUP);
            });
            let groups: Vec<_> = gone.iter().filter_map(|line| group_of(line)).collect();
            assert!(
                groups.len() == 2 && groups[0] == groups[1] && groups[0] != "default",
                "{gone:#?}"
            );
            if seen {
                break;
            }
        }
        sleeper.kill().and_then(|()| sleeper.wait()).expect("sleep ends");
        assert!(seen, "no process was ever there after the end");
    });
}
