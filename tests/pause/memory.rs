//! What pause has in memory while it sleeps, wherever the kernel's chance puts
//! its stack and whatever it is started with.

use super::{CARRIED, PROGRAMS, TERMINATED, WARNING, denied, stderr};
use crate::pod::{Pod, field};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::ops::Range;
use std::process::Command;

/// The arguments and the environment of a start.
struct Start {
    args: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Start {
    /// With `size` bytes of environment, in one variable or in many. Linux allows
    /// at most 128 KiB in one.
    fn with_environment(size: usize, many: bool) -> Self {
        let each = if many { 40 } else { size.max(1) };
        let variable = |n: usize| (format!("V{n:05}"), "x".repeat(each.saturating_sub(8).max(1)));
        Self { args: vec![], environment: (0..size.div_ceil(each)).map(variable).collect() }
    }

    /// Starts pause and checks that its command line can be read.
    fn pause(&self, program: &str) -> Pod {
        let mut command = Command::new(program);
        command.args(&self.args).env_clear().envs(self.environment.iter().cloned());
        let pause = Pod::without_namespace(&mut command);
        let words = [program].into_iter().chain(self.args.iter().map(String::as_str));
        let line: String = words.flat_map(|word| [word, "\0"]).collect();
        assert!(pause.proc("cmdline") == line, "not the command line: {:?}", pause.proc("cmdline"));
        pause
    }
}

/// Ends pause and checks that it leaves as it should.
fn leave(pause: Pod) {
    pause.signal(Signal::SIGTERM as i32);
    let output = pause.end();
    let messages = format!("{WARNING}{TERMINATED}");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), messages.as_str()));
}

/// What the process has in memory: (resident, private), in kB.
fn memory(pod: &Pod) -> (u64, u64) {
    let rollup = pod.proc("smaps_rollup");
    let kilobytes = |name| -> u64 {
        field(&rollup, name).strip_suffix(" kB").expect(name).trim().parse().expect(name)
    };
    (kilobytes("Rss"), kilobytes("Private_Clean") + kilobytes("Private_Dirty"))
}

/// The size of a page, in kB.
fn page(pod: &Pod) -> u64 {
    let smaps = pod.proc("smaps");
    field(&smaps, "KernelPageSize").strip_suffix(" kB").unwrap().trim().parse().unwrap()
}

/// The addresses of the arguments: `arg_start` and `arg_end` of proc_pid_stat(5).
fn arguments(pod: &Pod) -> Range<u64> {
    let stat = pod.proc("stat");
    let (_, from_third) = stat.rsplit_once(") ").expect("the name in brackets");
    let number = |field: usize| from_third.split(' ').nth(field - 3).unwrap().parse().unwrap();
    number(48)..number(49)
}

/// How many pages pause has to keep for its arguments.
fn pages_of_arguments(pod: &Pod) -> u64 {
    let (lies, bytes) = (arguments(pod), page(pod) * 1024);
    assert!(lies.start > 0 && lies.start < lies.end, "not allowed to see them: {lies:?}");
    lies.end.div_ceil(bytes) - lies.start / bytes
}

/// Checks that pause has no page but the one of its file and those of its
/// arguments. The page of the file is shared by all pods; the kernel calls it
/// private as long as there is one only, so another pause has to be there.
fn assert_at_the_floor(pod: &Pod) -> (u64, u64) {
    let (resident, private) = memory(pod);
    let (page, kept) = (page(pod), pages_of_arguments(pod));
    // Less where the machine is so short of memory that it takes a page away.
    let floor = resident <= (1 + kept) * page && private <= kept * page;
    assert!(floor, "{kept} pages of arguments: {}", pod.proc("smaps"));
    (resident, private)
}

#[test]
fn every_start_ends_at_the_floor() {
    let _neighbour = Start::with_environment(0, false).pause(CARRIED);
    for size in [0, 100, 1_000, 6_000, 100_000] {
        let mut seen = BTreeMap::new();
        for turn in 0..300 {
            // Another length each time, so that the strings lie at all places of a
            // page; where the rest lies is chance already.
            let more = if size == 0 { 0 } else { turn * 613 % 4096 * size.min(8192) / 8192 };
            let pause = Start::with_environment(size + more, turn % 2 == 1).pause(CARRIED);
            let (resident, private) = assert_at_the_floor(&pause);
            let page = page(&pause);
            assert!(resident <= 3 * page && private <= 2 * page, "{resident} kB, {private} kB");
            *seen.entry((resident, private)).or_insert(0) += 1;
            leave(pause);
        }
        println!(
            "{size} bytes of environment and more: (resident, private) in kB: starts {seen:?}"
        );
    }
}

#[test]
fn only_the_stack_can_be_written_to() {
    let pause = Start::with_environment(100, false).pause(CARRIED);
    let maps = pause.proc("maps");
    let writable = maps.lines().filter(|line| line.split(' ').nth(1).unwrap().contains('w'));
    assert_eq!(writable.filter(|line| !line.ends_with("[stack]")).count(), 0, "{maps}");
    assert!(maps.contains("[stack]"), "{maps}");
}

#[test]
fn sleeps_at_the_floor_again_after_stop_and_continue() {
    let neighbour = Start::with_environment(0, false).pause(CARRIED);
    let pause = Start::with_environment(1_000, false).pause(CARRIED);
    for _ in 0..10 {
        pause.signal(libc::SIGSTOP);
        pause.await_state("T (stopped)");
        pause.signal(libc::SIGCONT);
        pause.await_state("S (sleeping)");
        assert_at_the_floor(&pause);
    }
    leave(pause);
    leave(neighbour);
}

#[test]
fn keeps_all_arguments_however_long() {
    let _neighbour = Start::with_environment(0, false).pause(CARRIED);
    for program in PROGRAMS {
        for length in [1, 4_000, 5_000, 100_000] {
            let mut start = Start::with_environment(6_000, true);
            start.args = ["a", "b", "c"].map(|letter| letter.repeat(length)).to_vec();
            let pause = start.pause(program);
            if program == CARRIED {
                assert_at_the_floor(&pause);
            }
            leave(pause);
        }
    }
}

/// A long environment is dropped but for what shares a page with the arguments; a
/// short one shares it all.
#[test]
fn shows_a_short_environment_and_no_long_one() {
    let environ = |size| {
        let mut start = Start::with_environment(size, true);
        start.environment.push(("Z".into(), "the last of all".into()));
        let pause = start.pause(CARRIED);
        let environ = pause.proc("environ");
        leave(pause);
        environ
    };
    assert!(environ(100).ends_with("\0Z=the last of all\0"));
    let long = environ(10_000);
    assert!(long.len() > 10_000);
    assert!(!long.contains("Z="), "{long:?}");
    // The tail is on pages of its own, and those read as zeros.
    let zeros = long.len() - long.trim_end_matches('\0').len();
    assert!(zeros > 4_096, "{zeros} zeros at the end: {long:?}");
}

/// Where madvise is refused, all stays in memory: what was saved is measured, too.
#[test]
fn has_more_where_it_may_not_give_back() {
    let calls = libc::SYS_madvise.to_string();
    // Where the frames lie is chance: now and then they share the page of the arguments.
    let more = (0..20).any(|_| {
        let pod = Pod::new(&denied(CARRIED, &calls));
        assert_eq!(pod.proc("cmdline"), format!("{CARRIED}\0"));
        memory(&pod).0 > (1 + pages_of_arguments(&pod)) * page(&pod)
    });
    assert!(more, "20 starts, and none had more than with madvise");
}
