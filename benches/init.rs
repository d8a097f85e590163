//! What a first process costs: pause beside tini, dumb-init, catatonit and a program of C that
//! makes the calls of the Kubernetes pause, in one run: `cargo bench --bench init`. Needs root,
//! gcc, util-linux and Debian's packages of the three.
//!
//! Inits stand over a sleeping command; pause and the programs of C hold a pod. Each is PID 1 of a
//! PID namespace. What is timed is done in turns, so that other work meets all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts that a median is of.
const STARTS: usize = 300;
/// Processes that a charge is shared by: a cgroup is charged for many pages at once.
const CHARGED: u64 = 64;
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// The calls in which each of them sleeps; catatonit reads from a signalfd.
const ASLEEP: [i64; 3] = [libc::SYS_rt_sigtimedwait, libc::SYS_pause, libc::SYS_read];

/// A first process: its name here, its words, and whether it runs a command.
struct First {
    name: &'static str,
    words: Vec<String>,
    runs: bool,
}

/// What is known of one.
struct Figures {
    bytes: u64,
    resident: u64,
    private: u64,
    charged: u64,
    ready: f64,
    command: Option<f64>,
    storm: Storm,
    wakes: u64,
}

/// What 100,000 orphans cost.
struct Storm {
    seconds: f64,
    switches: u64,
    milliseconds: f64,
}

fn main() {
    let scratch = std::env::temp_dir().join(format!("podkeel-bench-{}", std::process::id()));
    fs::create_dir_all(&scratch).expect("a scratch directory");
    let all = firsts(&scratch);
    let helper = helper(&scratch);
    let ready = in_turns(&all, |first| Some(until_ready(first)));
    let command = in_turns(&all, |first| first.runs.then(|| bin_true(&first.words)));
    let alone = median((0..STARTS).map(|_| bin_true(&[])).collect());
    let wakes = idle(&all);
    let figures: Vec<Figures> = (0..all.len())
        .map(|at| {
            let first = &all[at];
            let (resident, private) = memory(first);
            Figures {
                bytes: fs::metadata(&first.words[0]).expect("the file").len(),
                resident,
                private,
                charged: charged(first, &scratch),
                ready: ready[at].expect("a time"),
                command: command[at],
                storm: storm(first, &helper),
                wakes: wakes[at],
            }
        })
        .collect();
    print(&all, &figures, alone);
    let _ = fs::remove_dir_all(&scratch);
}

/// All that are compared; the programs of C are compiled.
fn firsts(scratch: &Path) -> Vec<First> {
    let ours = env!("CARGO_BIN_EXE_pause").to_owned();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/pause.c");
    let c = |name: &str, flags: &[&str]| {
        let program = scratch.join(name).display().to_string();
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-s", source, "-o", &program]).args(flags);
        assert!(gcc.status().is_ok_and(|status| status.success()), "{gcc:?}");
        program
    };
    let holds = |name, program| First { name, words: vec![program], runs: false };
    let runs = |name, program: &str, flags: &[&str]| {
        let words = [&[program], flags, &["--"]].concat();
        First { name, words: words.into_iter().map(String::from).collect(), runs: true }
    };
    vec![
        holds("pause, holds a pod", ours.clone()),
        holds("C, glibc, static", c("static", &["-static"])),
        holds("C, glibc, dynamic", c("dynamic", &[])),
        runs("pause --", &ours, &[]),
        runs("tini", "/usr/bin/tini", &[]),
        runs("tini-static", "/usr/bin/tini-static", &[]),
        runs("dumb-init", "/usr/bin/dumb-init", &[]),
        runs("catatonit", "/usr/bin/catatonit", &[]),
    ]
}

/// What makes orphans: the helper of pause's tests.
fn helper(scratch: &Path) -> PathBuf {
    let (source, program) = ("tests/pause/helper.rs", scratch.join("helper"));
    let mut rustc = Command::new(env!("PODKEEL_RUSTC"));
    rustc.args(["--edition", "2024", "-O", "-o"]).arg(&program);
    rustc.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source));
    assert!(rustc.status().is_ok_and(|status| status.success()), "{rustc:?}");
    program
}

/// One that runs as PID 1 of a PID namespace, below unshare. Dropping it ends it.
struct Running {
    outer: Child,
    pid: u32,
}

impl Running {
    /// Starts it, over a command of these words if it runs one, and waits until it sleeps.
    fn new(first: &First, command: &[&str]) -> Running {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "--"]).args(&first.words);
        if first.runs {
            unshare.args(command);
        }
        unshare.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let outer = unshare.spawn().expect("unshare of util-linux");
        let mut running = Running { pid: 0, outer };
        until(|| {
            running.pid = children(running.outer.id()).first().copied().unwrap_or(0);
            running.pid > 0 && asleep(running.pid)
        });
        if first.runs {
            until(|| children(running.pid).len() == 1);
        }
        running
    }

    fn asleep(first: &First) -> Running {
        let running = Running::new(first, &["sleep", "1000"]);
        // The command is on its way; what it does wakes nobody, but takes time of others.
        std::thread::sleep(Duration::from_millis(50));
        running
    }

    /// Context switches, and nanoseconds on a CPU.
    fn used(&self) -> (u64, u64) {
        let status = read(self.pid, "status");
        let switches = status.lines().filter(|line| line.contains("_ctxt_switches"));
        let used = read(self.pid, "schedstat");
        (switches.map(number).sum(), number(used.split(' ').next().unwrap_or_default()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.outer.kill();
        let _ = self.outer.wait();
        until(|| !Path::new(&format!("/proc/{}", self.pid)).exists());
    }
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// The number in a line.
fn number(line: &str) -> u64 {
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}

/// Children, zombies among them.
fn children(pid: u32) -> Vec<u32> {
    let list = read(pid, &format!("task/{pid}/children"));
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether it sleeps in the call that it waits in: of one that runs there is no call to read.
fn asleep(pid: u32) -> bool {
    let call = read(pid, "syscall");
    let call = call.split(' ').next().and_then(|number| number.parse().ok());
    call.is_some_and(|call: i64| ASLEEP.contains(&call))
}

#[track_caller]
fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not seen in a minute");
    }
}

/// The median of each, milliseconds.
fn in_turns(all: &[First], time: impl Fn(&First) -> Option<f64>) -> Vec<Option<f64>> {
    let mut times: Vec<Vec<f64>> = all.iter().map(|_| Vec::new()).collect();
    for _ in 0..STARTS {
        for (first, times) in all.iter().zip(&mut times) {
            times.extend(time(first));
        }
    }
    times.into_iter().map(|times| (!times.is_empty()).then(|| median(times))).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// From its start until it sleeps, as an ordinary process.
fn until_ready(first: &First) -> f64 {
    let mut command = Command::new(&first.words[0]);
    command.args(&first.words[1..]);
    if first.runs {
        command.args(["sleep", "1000"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn().expect("it starts");
    until(|| asleep(child.id()));
    let took = began.elapsed();
    for pid in children(child.id()).into_iter().chain([child.id()]) {
        let pid = nix::unistd::Pid::from_raw(pid as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.wait();
    took.as_secs_f64() * 1e3
}

/// /bin/true from start to end, below these words.
fn bin_true(words: &[String]) -> f64 {
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["/bin/true"]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    assert!(command.status().is_ok_and(|status| status.success()), "{words:?}");
    began.elapsed().as_secs_f64() * 1e3
}

/// Context switches while nothing happens, of all at the same time.
fn idle(all: &[First]) -> Vec<u64> {
    let running: Vec<Running> = all.iter().map(Running::asleep).collect();
    let switches = || running.iter().map(|one| one.used().0).collect::<Vec<_>>();
    let before = switches();
    std::thread::sleep(IDLE);
    switches().into_iter().zip(before).map(|(after, before)| after - before).collect()
}

/// Resident and private memory, kB.
fn memory(first: &First) -> (u64, u64) {
    let running = Running::asleep(first);
    let rollup = read(running.pid, "smaps_rollup");
    let sum = |name: &str| rollup.lines().filter(|line| line.starts_with(name)).map(number).sum();
    (sum("Rss:"), sum("Private_"))
}

/// kB that a memory cgroup is charged for one of many, user memory and the kernel's. Commands are
/// in another one.
fn charged(first: &First, scratch: &Path) -> u64 {
    let v1 = Path::new("/sys/fs/cgroup/memory");
    let (root, file) = match v1.is_dir() {
        true => (v1, "memory.usage_in_bytes"),
        false => (Path::new("/sys/fs/cgroup"), "memory.current"),
    };
    let own = scratch.file_name().expect("a name").to_string_lossy().into_owned();
    let folder = root.join(own);
    let _ = fs::create_dir(&folder);
    let (inside, outside) = (folder.join("cgroup.procs"), root.join("cgroup.procs"));
    let command = format!("echo 0 >{}; exec sleep 1000", outside.display());
    let mut all: Vec<Child> = Vec::new();
    for _ in 0..CHARGED {
        let line = format!("echo 0 >{} && exec \"$@\"", inside.display());
        let mut sh = Command::new("sh");
        sh.args(["-c", &line, "sh"]).args(&first.words);
        if first.runs {
            sh.args(["sh", "-c", &command]);
        }
        sh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        all.push(sh.spawn().expect("sh"));
    }
    until(|| all.iter().all(|child| asleep(child.id())));
    std::thread::sleep(Duration::from_millis(500));
    let members = fs::read_to_string(&inside).expect("the cgroup's members");
    assert_eq!(members.lines().count() as u64, CHARGED, "{}", first.name);
    let bytes = number(&fs::read_to_string(folder.join(file)).expect("a charge"));
    for child in &mut all {
        for pid in children(child.id()) {
            let pid = nix::unistd::Pid::from_raw(pid as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    until(|| fs::remove_dir(&folder).is_ok());
    bytes / 1024 / CHARGED
}

/// 100,000 orphans, a thousand at a time.
fn storm(first: &First, helper: &Path) -> Storm {
    let running = Running::asleep(first);
    let staying = usize::from(first.runs);
    let before = running.used();
    let began = Instant::now();
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--pid", "--target", &running.pid.to_string(), "--"]).arg(helper);
    let done = nsenter.args(["storm", "100", "1000"]).status();
    assert!(done.is_ok_and(|status| status.success()), "{nsenter:?}");
    until(|| children(running.pid).len() == staying);
    let seconds = began.elapsed().as_secs_f64();
    let after = running.used();
    Storm { seconds, switches: after.0 - before.0, milliseconds: (after.1 - before.1) as f64 / 1e6 }
}

fn print(all: &[First], figures: &[Figures], alone: f64) {
    println!(
        "                     file  resident private charged    ready /bin/true   100,000 orphans: time  switches   CPU   wakes"
    );
    println!(
        "                    bytes        kB      kB      kB       ms        ms                       s               ms   a minute"
    );
    for (first, one) in all.iter().zip(figures) {
        let command = one.command.map_or("        -".to_owned(), |ms| format!("{ms:9.3}"));
        println!(
            "{:18} {:7} {:9} {:7} {:7} {:8.3} {command} {:24.2} {:9} {:7.1} {:6}",
            first.name,
            one.bytes,
            one.resident,
            one.private,
            one.charged,
            one.ready,
            one.storm.seconds,
            one.storm.switches,
            one.storm.milliseconds,
            one.wakes
        );
    }
    println!("/bin/true alone {alone:.3} ms");
}
