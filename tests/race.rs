//! Several netsetups at once, on one host: each does what it says, and in the end the
//! world is as it was. An attachment that is said to be there is whole (`check`).
//!
//! What is compared, and how, says `common::dump`; no exception is made. The directory
//! of a network's leases stays by design and is there beforehand.

#[allow(unused, reason = "shared by all integration tests; each uses a part")]
mod common;

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::dump::{Dump, assert_same_world, dump};
use common::trace::{self, Program};
use common::{Kind, Ns, ns_add, output, sh, told, world};

const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");

/// "Somebody else has it", and "no such attachment".
const TAKEN: i32 = 4;
const MISSING: i32 = 5;

/// Pods on a host that forwards already, and the world without any attachment.
struct Host {
    pods: Vec<Ns>,
    before: Dump,
}

impl Host {
    fn new(pods: usize) -> Host {
        sh("sysctl -qw net.ipv4.ip_forward=1");
        let pods: Vec<Ns> = (0..pods).map(|i| ns_add(&format!("p{i}"))).collect();
        // Once around, so that what stays for good is there.
        expect(add(0).run(), &[0]);
        expect(del(0).run(), &[0]);
        let before = dump(&pods);
        Host { pods, before }
    }

    #[track_caller]
    fn is_as_before(&self) {
        assert_same_world(&self.before, &dump(&self.pods), &[]);
    }
}

/// One netsetup.
struct Call(Vec<String>);

fn call(words: &str) -> Call {
    Call(words.split(' ').map(str::to_owned).collect())
}

/// Attaches pod `n`, with a port of its own.
fn add(n: usize) -> Call {
    call(&format!("add bridge --netns /run/netns/p{n} -p {}:80", 18000 + n))
}

fn del(n: usize) -> Call {
    call(&format!("del bridge --id p{n}"))
}

fn check(n: usize) -> Call {
    call(&format!("check bridge --id p{n}"))
}

impl Call {
    fn command(&self) -> Command {
        let mut command = Command::new(NETSETUP);
        command.args(&self.0);
        command
    }

    fn run(&self) -> (String, Output) {
        (self.0.join(" "), output(&mut self.command()))
    }

    fn start(&self) -> Running {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(self.0.join(" "), command.spawn().expect("netsetup"))
    }
}

/// A netsetup at work. What it prints fits a pipe.
struct Running(String, Child);

impl Running {
    fn end(self) -> (String, Output) {
        (self.0, self.1.wait_with_output().expect("wait"))
    }
}

/// Starts all of them, then waits for all.
fn at_once(calls: &[Call]) -> Vec<(String, Output)> {
    let running: Vec<Running> = calls.iter().map(Call::start).collect();
    running.into_iter().map(Running::end).collect()
}

fn all_succeed(calls: &[Call]) {
    for ended in at_once(calls) {
        expect(ended, &[0]);
    }
}

/// The exit code, which must be one of these.
#[track_caller]
fn expect((words, output): (String, Output), codes: &[i32]) -> i32 {
    match output.status.code().filter(|c| codes.contains(c)) {
        Some(code) => code,
        None => panic!("should exit {codes:?}: {}", told(&words, &output)),
    }
}

/// Numbers that differ enough, the same in each run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn pause(&mut self, micros: usize) -> Duration {
        Duration::from_micros(self.below(micros) as u64)
    }
}

#[test]
fn eight_pods_come_and_go_at_once() {
    world(Kind::User, || {
        let host = Host::new(8);
        for _ in 0..5 {
            let mut addresses: Vec<String> = Vec::new();
            for (words, output) in at_once(&(0..8).map(add).collect::<Vec<_>>()) {
                let answer: serde_json::Value =
                    serde_json::from_slice(&output.stdout).unwrap_or_default();
                expect((words, output), &[0]);
                addresses.push(answer["ips"][0]["address"].to_string());
            }
            addresses.sort();
            addresses.dedup();
            assert_eq!(addresses.len(), 8, "each has its own: {addresses:?}");
            for n in 0..8 {
                expect(check(n).run(), &[0]);
            }
            all_succeed(&(0..8).map(del).collect::<Vec<_>>());
            host.is_as_before();
        }
    });
}

#[test]
fn of_two_that_add_the_same_one_wins() {
    world(Kind::User, || {
        let host = Host::new(1);
        for _ in 0..30 {
            let ended = at_once(&[add(0), add(0)]);
            let codes: Vec<i32> = ended.into_iter().map(|e| expect(e, &[0, TAKEN])).collect();
            assert_eq!(codes.iter().sum::<i32>(), TAKEN, "one wins: {codes:?}");
            expect(check(0).run(), &[0]);
            expect(del(0).run(), &[0]);
            host.is_as_before();
        }
    });
}

/// A del that finds no record looks for what wears the mark. What an add makes at that
/// moment wears it, too, and must not be taken for something that was left.
#[test]
fn add_and_del_of_the_same_are_one_after_the_other() {
    world(Kind::User, || {
        let host = Host::new(1);
        let (mut stayed, mut went) = (0, 0);
        let mut numbers = Numbers(7);
        for round in 0..60 {
            let one = add(0).start();
            sleep(numbers.pause(9_000));
            let other = del(0).start();
            expect(one.end(), &[0]);
            expect(other.end(), &[0]);
            match expect(check(0).run(), &[0, MISSING]) {
                0 => {
                    stayed += 1;
                    expect(del(0).run(), &[0]);
                }
                _ => went += 1,
            }
            if round % 5 == 0 {
                host.is_as_before();
            }
        }
        host.is_as_before();
        println!("del came first {stayed} times, add {went} times");
    });
}

#[test]
fn the_last_goes_while_a_new_one_comes() {
    world(Kind::User, || {
        let host = Host::new(2);
        let mut numbers = Numbers(11);
        expect(add(0).run(), &[0]);
        for round in 0..50 {
            let (old, new) = (round % 2, 1 - round % 2);
            let one = del(old).start();
            sleep(numbers.pause(40_000));
            let other = add(new).start();
            expect(one.end(), &[0]);
            expect(other.end(), &[0]);
            expect(check(new).run(), &[0]);
            expect(check(old).run(), &[MISSING]);
        }
        expect(del(0).run(), &[0]);
        host.is_as_before();
    });
}

#[test]
fn one_dies_while_another_comes() {
    world(Kind::User, || {
        let host = Host::new(2);
        let program = || Program::new(NETSETUP).args(&add(0).0);
        let (calls, outcome) = trace::count(program());
        assert!(outcome.status.success(), "{outcome:?}");
        expect(del(0).run(), &[0]);
        let mut numbers = Numbers(13);
        let start = Instant::now();
        let mut points = 0;
        while points < 60 && start.elapsed() < Duration::from_secs(60) {
            let (n, pause) = (1 + numbers.below(calls.len()), numbers.pause(15_000));
            let other = std::thread::scope(|scope| {
                let other = scope.spawn(move || {
                    sleep(pause);
                    add(1).run()
                });
                trace::kill_at(program(), n);
                other.join().expect("the other add")
            });
            expect(other, &[0]);
            expect(check(1).run(), &[0]);
            expect([del(0), call("gc")][points % 2].run(), &[0]);
            expect(check(1).run(), &[0]);
            // An add that was killed behind its end is whole, and gc keeps it.
            expect(del(0).run(), &[0]);
            expect(del(1).run(), &[0]);
            host.is_as_before();
            points += 1;
        }
        println!("killed at {points} of {} calls", calls.len());
        assert!(points >= 10, "only {points} in a minute");
    });
}

#[test]
fn gc_leaves_alone_what_comes_and_goes() {
    world(Kind::User, || {
        let host = Host::new(3);
        expect(add(2).run(), &[0]);
        for _ in 0..30 {
            all_succeed(&[add(0), call("gc")]);
            expect(check(0).run(), &[0]);
            all_succeed(&[del(0), call("gc")]);
            expect(check(0).run(), &[MISSING]);
            expect(check(2).run(), &[0]);
        }
        expect(del(2).run(), &[0]);
        host.is_as_before();
    });
}

/// Every commit of anybody changes the generation that look-and-change relies on.
#[test]
fn beside_a_busy_writer() {
    world(Kind::User, || {
        let host = Host::new(4);
        let done = AtomicBool::new(false);
        let (commits, took) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| commit_until(&done));
            let start = Instant::now();
            for _ in 0..10 {
                all_succeed(&[0, 1, 2, 3].map(add));
                for n in 0..4 {
                    expect(check(n).run(), &[0]);
                }
                all_succeed(&[0, 1, 2, 3].map(del));
            }
            let took = start.elapsed();
            done.store(true, Ordering::Relaxed);
            (writer.join().expect("the writer"), took)
        });
        println!("40 adds and dels in {took:.1?} beside {commits} commits");
        assert!(commits as f64 > 100.0 * took.as_secs_f64(), "that isn't busy");
        host.is_as_before();
    });
}

/// One nft that commits line after line, in a table that isn't ours. Returns how often.
fn commit_until(done: &AtomicBool) -> usize {
    let mut nft = Command::new("nft")
        .arg("-i")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("nft");
    let mut pipe = nft.stdin.take().expect("stdin is piped");
    let mut commits = 0;
    // A pipe of one page: what was written has, but for that, been committed.
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).expect("F_SETPIPE_SZ");
    while !done.load(Ordering::Relaxed) {
        pipe.write_all(b"add table inet busy\ndelete table inet busy\n").expect("nft reads");
        commits += 2;
    }
    drop(pipe);
    assert!(nft.wait().expect("wait").success(), "nft");
    commits
}
