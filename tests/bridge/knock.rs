//! A neighbour who keeps knocking while pods come and go, at every step of it, gets
//! through to what is published and to nothing else.

use std::process::Command;

use super::bed::{NETSETUP, bed, families};
use super::common::prober::{Prober, Target};
use super::common::traffic::{Server, tcp_server, udp_server};
use super::common::{Kind, Ns, ns_add, output, sh, told, world};

/// Runs netsetup with a wait of 25 ms before every netlink message and every write:
/// longer than a knock takes, so that each state in between is knocked at.
fn slowly(words: &str) -> usize {
    let trace = super::common::scratch().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=sendto,write", "-o"]).arg(&trace);
    command.args(["-e", "inject=sendto,write:delay_enter=25000", NETSETUP]);
    let output = output(command.args(words.split_whitespace()));
    assert!(output.status.success(), "{}", told(words, &output));
    let text = std::fs::read_to_string(trace).expect("strace's output");
    text.lines().filter(|line| line.contains("sendto(") || line.contains("write(")).count()
}

#[test]
fn nobody_gets_through_to_what_is_not_published() {
    for bridge_nf in [false, true] {
        world(Kind::User, || {
            let neighbours = bed(bridge_nf);
            let [a, b] = ["a", "b"].map(ns_add);
            let mut closed: Vec<Server> = Vec::new();
            let mut targets = Vec::new();
            // Each pod's own, on all of its addresses of both families; one port is open.
            let any = std::net::Ipv6Addr::UNSPECIFIED;
            for (ns, name) in [(&a, "a"), (&b, "b")] {
                for port in [81, 8080, 8081] {
                    closed.push(tcp_server(ns, name, any, port));
                    closed.push(udp_server(ns, name, any, port));
                }
            }
            closed.push(tcp_server(&b, "b", any, 80));
            tcp_server(&a, "a", any, 80);
            for family in families(&neighbours) {
                // The host's own, on loopback.
                for port in [8080, 8081] {
                    closed.push(tcp_server(&Ns::host(), "own", family.loopback, port));
                }
                for port in [80, 81, 8080, 8081, 7000] {
                    for up in family.up {
                        let to = super::bed::at(up, port);
                        targets.extend([Target::Tcp(to), Target::Udp(to)]);
                    }
                }
            }
            let prober = Prober::start(&neighbours[0].ns, &targets);
            prober.wait(targets.len());
            let mut steps = 0;
            for _ in 0..2 {
                steps += slowly("add dual --netns /run/netns/b");
                let flags = "-p 8080:80 -p 198.18.1.1:7000:80";
                steps += slowly(&format!("add dual --netns /run/netns/a {flags}"));
                prober.wait(targets.len());
                steps += slowly("del dual --netns /run/netns/a");
                steps += slowly("del dual --netns /run/netns/b");
            }
            prober.wait(targets.len());
            let (tries, answers) = (prober.tries(), prober.stop());
            assert!(!answers.is_empty(), "the published port was never reached");
            for answer in &answers {
                assert_eq!((answer.server.as_str(), answer.at.port()), ("a", 80), "{answer:?}");
            }
            for server in &closed {
                assert_eq!(server.seen(), [], "{}", server.addr);
            }
            println!(
                "{steps} steps, {tries} knocks, {} got in, all by the open port",
                answers.len()
            );
            sh("[ $(cat /proc/sys/net/ipv4/conf/all/route_localnet) = 0 ]");
        });
    }
}
