//! Several at once.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::common::{Kind, sh, sh_any, sh_out, world};
use super::{NETSETUP, TAKEN, files, mounted, mounts, ns, ns_any};

/// Starts `netsetup ns` with these words.
fn start(words: &[&str]) -> Child {
    let mut command = Command::new(NETSETUP);
    command.arg("ns").args(words).stdin(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("netsetup")
}

/// How many ended with each of these codes; any other is a fault.
fn count<const N: usize>(children: Vec<Child>, codes: [i32; N]) -> [usize; N] {
    let mut counts = [0; N];
    for mut child in children {
        let code = child.wait().expect("wait").code();
        let at = codes.iter().position(|c| Some(*c) == code);
        counts[at.unwrap_or_else(|| panic!("exit code {code:?}"))] += 1;
    }
    counts
}

#[test]
fn one_gets_the_name() {
    world(Kind::User, || {
        for round in 0..40 {
            if round % 2 == 1 {
                // Over what a killed one has left, too.
                ns(&["add", "web"]);
                sh("umount /run/netns/web");
            }
            let adds = (0..12).map(|_| start(&["add", "web"])).collect();
            assert_eq!(count(adds, [0, TAKEN]), [1, 11], "round {round}");
            assert_eq!((files(), mounted()), (vec!["web".to_owned()], 1), "round {round}");
            sh("ip netns exec web true");
            let deletes = (0..6).map(|_| start(&["delete", "web"])).collect();
            let [gone, absent] = count(deletes, [0, super::MISSING]);
            assert!(gone >= 1, "{gone} took it away, {absent} came too late");
            assert_eq!((files(), mounted()), (vec![], 0), "round {round}");
        }
    });
}

#[test]
fn the_first_of_all_share_one_directory() {
    world(Kind::User, || {
        for round in 0..10 {
            sh_any("umount /run/netns");
            sh("rmdir /run/netns");
            let adds = (0..8).map(|n| start(&["add", &format!("n{n}")])).collect();
            assert_eq!(count(adds, [0]), [8], "round {round}");
            // One mount of the directory, and one of each name.
            assert_eq!(mounts().len(), 9, "round {round}: {:?}", mounts());
            assert_eq!(sh_out("ip netns list | wc -l"), "8");
            let deletes = (0..8).map(|n| start(&["delete", &format!("n{n}")])).collect();
            assert_eq!(count(deletes, [0]), [8], "round {round}");
        }
    });
}

#[test]
fn beside_ip() {
    world(Kind::User, || {
        ns(&["add", "stays"]);
        let inode = || sh_out("stat -L -c %i /run/netns/stays");
        let before = inode();
        let end = Instant::now() + Duration::from_secs(4);
        let ours = |name: &'static str| {
            move || {
                let mut done = 0;
                while Instant::now() < end {
                    let codes = [["add", name], ["delete", name]].map(|w| ns_any(&w).status.code());
                    done += usize::from(codes == [Some(0), Some(0)]);
                    let known = |code: &Option<i32>| matches!(code, Some(0 | 4 | 5));
                    assert!(codes.iter().all(known), "{codes:?}");
                }
                done
            }
        };
        let its = || {
            while Instant::now() < end {
                sh_any("ip netns add b; ip netns del b");
            }
        };
        let done = std::thread::scope(|scope| {
            scope.spawn(its);
            let counts = [scope.spawn(ours("a")), scope.spawn(ours("b")), scope.spawn(ours("b"))];
            counts.map(|thread| thread.join().expect("no panic"))
        });
        println!("added and deleted: {done:?}");
        assert!(done[0] > 10, "its own name is nobody else's business: {done:?}");
        ns_any(&["delete", "b"]);
        assert_eq!(inode(), before, "the one that nobody touched");
        assert_eq!((files(), mounted()), (vec!["stays".to_owned()], 1));
        assert_eq!(mounts().len(), 2, "{:?}", mounts());
    });
}
