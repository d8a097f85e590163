//! How often netsetup asks the kernel: a number that grows unseen grows for good.

use super::bed::{DUAL, NETSETUP, network};
use super::common::trace::{Program, count};
use super::common::{Kind, ns_add, world};

/// Messages sent, messages received at most, namespaces entered: three times for a visit, of which
/// the first asks whether one may come back.
///
/// Received: one for each message sent, the kernel's last word on a dump, and one more
/// for every 16 KB or so of an answer, which depends on how much the world has; while a
/// link is deleted also what is announced of others.
type Calls = [usize; 3];

/// netsetup's words, and what they may cost today. `a`, `b` and `c` are pods; what an
/// earlier line made is there in the later ones.
const COSTS: &[(&str, Calls)] = &[
    ("add bridge --netns /run/netns/a", [25, 38, 8]),
    ("add bridge --netns /run/netns/b", [19, 33, 8]),
    ("add bridge --netns /run/netns/c -p 8080:80", [21, 36, 8]),
    ("check bridge --netns /run/netns/c", [22, 44, 6]),
    ("del bridge --netns /run/netns/c", [7, 20, 0]),
    ("del bridge --netns /run/netns/c", [17, 22, 0]),
    ("del bridge --netns /run/netns/b", [7, 20, 0]),
    ("del bridge --netns /run/netns/a", [33, 62, 0]),
    ("add dual --netns /run/netns/a", [31, 46, 8]),
    ("add dual --netns /run/netns/b", [25, 42, 8]),
    ("add dual --netns /run/netns/c -p 8080:80", [28, 46, 8]),
    ("del dual --netns /run/netns/c", [7, 22, 0]),
    ("del dual --netns /run/netns/b", [7, 20, 0]),
    ("del dual --netns /run/netns/a", [40, 74, 0]),
];

fn calls(words: &str) -> Calls {
    let (calls, outcome) = count(Program::new(NETSETUP).args(words.split_whitespace()));
    assert!(outcome.status.success(), "{words}: {outcome:?}");
    let of = |names: &[&str]| calls.iter().filter(|c| names.contains(&c.name.as_str())).count();
    [of(&["sendto", "sendmsg"]), of(&["recvfrom", "recvmsg"]), of(&["setns"])]
}

#[test]
fn the_number_of_calls_is_known() {
    world(Kind::User, || {
        network("dual", DUAL);
        for name in ["a", "b", "c"] {
            ns_add(name);
        }
        let mut wrong = Vec::new();
        for (words, [sent, received, entered]) in COSTS {
            let [s, r, e] = calls(words);
            println!("{words}: sent {s}, received {r}, entered {e}");
            if s != *sent || e != *entered || r > *received {
                wrong.push(format!(
                    "{words}: {:?}, not {:?}",
                    [s, r, e],
                    [sent, received, entered]
                ));
            }
        }
        assert!(wrong.is_empty(), "better or worse, say so here:\n  {}", wrong.join("\n  "));
    });
}
