//! An init with a witness under it, and what becomes of both.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the slowest step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Names of pause, and the Debian package's program of the same name.
pub(crate) const THEIRS: [(&str, &str); 3] = [
    ("tini", "/usr/bin/tini"),
    ("dumb-init", "/usr/bin/dumb-init"),
    ("catatonit", "/usr/bin/catatonit"),
];

/// pause under a name, as shim carries it.
pub(crate) fn ours(name: &str) -> String {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inits");
        fs::create_dir_all(&folder).expect("a folder");
        for name in
            ["pause", "tini", "tini-static", "docker-init", "podman-init", "dumb-init", "catatonit"]
        {
            let link = folder.join(name);
            let _ = fs::remove_file(&link);
            symlink(env!("PODKEEL_PAUSE"), link).expect("a link");
        }
        folder
    });
    folder.join(name).display().to_string()
}

/// The witness: `helper.rs`.
pub(crate) fn witness() -> &'static str {
    static WITNESS: OnceLock<String> = OnceLock::new();
    WITNESS.get_or_init(|| super::common::helper("init").display().to_string())
}

/// Where the init runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// As an ordinary process that leads its process group.
    Plain,
    /// As PID 1 of a PID namespace.
    First,
    /// As the leader of a session on a terminal of its own.
    Terminal,
}

/// An init at work. Dropping it ends it.
pub(crate) struct Run {
    child: Option<Child>,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    words: String,
    /// Whether the init may never learn that its command has ended.
    stays: bool,
    /// The init's process id out here.
    pub(crate) init: Pid,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: String,
    pub(crate) output: String,
}

fn status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => format!("{status:?}"),
    }
}

fn collect(mut from: impl Read + Send + 'static, to: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let to = Arc::clone(to);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    })
}

impl Run {
    /// Starts an init (its path, its flags) over a command.
    pub(crate) fn start(place: Place, words: &[&str]) -> Self {
        Self::with(place, words, &[])
    }

    /// The same, with variables.
    pub(crate) fn with(place: Place, words: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::called(&[], place, words, variables)
    }

    /// The same, by a caller that hands something else on than the default action of every
    /// signal and an empty mask: verbs of the witness. What the test's own caller has
    /// ignored or blocked makes no difference.
    pub(crate) fn called(
        caller: &[&str],
        place: Place,
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let words = [&["reset"], caller, &["exec"], words].concat();
        let mut command = match place {
            Place::Plain | Place::Terminal => Command::new(witness()),
            Place::First => Command::new("unshare"),
        };
        match place {
            Place::Plain => {}
            Place::First => {
                let own = "--user --map-root-user --pid --fork --kill-child --";
                command.args(own.split(' ')).arg(witness());
            }
            Place::Terminal => {
                command.args(["terminal", witness()]).stdin(Stdio::piped());
            }
        }
        command.args(&words);
        if place != Place::Terminal {
            command.stdin(Stdio::null());
        }
        command.envs(variables.iter().copied()).process_group(0);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let errors = collect(child.stderr.take().unwrap(), &output);
        let readers = vec![collect(child.stdout.take().unwrap(), &output), errors];
        let own = Pid::from_raw(child.id() as i32);
        let mut run = Self {
            child: Some(child),
            output,
            readers,
            words: format!("{place:?} {words:?}"),
            stays: caller.contains(&"17"),
            init: own,
        };
        if place != Place::Plain {
            run.init = run.until("the init", || {
                // One that has ended already has no number any more.
                let status = fs::read_to_string(format!("/proc/{own}/status")).unwrap_or_default();
                let over = field(&status, "State").starts_with('Z').then_some(own);
                children(own).first().copied().or(over)
            });
        }
        run
    }

    /// Waits until the output has this.
    pub(crate) fn saw(&self, text: &str) -> &Self {
        self.until(text, || self.output.lock().unwrap().contains(text).then_some(()));
        self
    }

    /// Waits until the output has this so many times.
    pub(crate) fn saw_times(&self, text: &str, times: usize) {
        self.until(text, || (self.written().matches(text).count() == times).then_some(()));
    }

    /// Waits until the init has so many children.
    pub(crate) fn until_children(&self, count: usize) {
        self.until("children", || (children(self.init).len() == count).then_some(()));
    }

    /// Waits until a child of the command is a zombie.
    pub(crate) fn until_zombie(&self) {
        self.until("a zombie", || {
            let command = self.witness()?;
            let list = fs::read_to_string(format!("/proc/{command}/task/{command}/children"));
            (list.ok()?.split_whitespace().count() > children(command).len()).then_some(())
        });
    }

    /// Waits until the process ignores SIGCHLD and sleeps: a pause that holds a pod.
    pub(crate) fn until_ignored(&self) {
        self.until("pause asleep", || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.init)).ok()?;
            let ignored = u64::from_str_radix(field(&status, "SigIgn"), 16).ok()?;
            let asleep = field(&status, "State").starts_with('S');
            (asleep && ignored & 1 << 16 != 0).then_some(())
        });
    }

    /// What was written so far.
    pub(crate) fn written(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// The command's process id out here.
    pub(crate) fn witness(&self) -> Option<Pid> {
        children(self.init).first().copied()
    }

    /// Sends the init a signal, and waits until all of its effects are there.
    pub(crate) fn signal(&self, signal: i32) {
        send(self.init, signal);
        self.settle();
    }

    /// Types.
    pub(crate) fn press(&mut self, keys: &[u8]) {
        let input = self.child.as_mut().and_then(|child| child.stdin.as_mut());
        input.expect("a terminal").write_all(keys).expect("typing");
    }

    /// Waits until the init and its command sleep or are gone, and no signal is pending.
    pub(crate) fn settle(&self) {
        for _ in 0..2 {
            let over = self.witness().is_none() && !self.stays;
            for pid in [Some(self.init), self.witness()].into_iter().flatten() {
                let rests = || {
                    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok();
                    let Some(status) = status else { return Some(()) };
                    let set = |name| u64::from_str_radix(field(&status, name), 16).unwrap_or(0);
                    // What the command has blocked and doesn't wait for stays pending.
                    let kept = if pid == self.init { 0 } else { set("SigBlk") };
                    // Without its command an init is on its way out.
                    let pending = over || (set("SigPnd") | set("ShdPnd")) & !kept != 0;
                    let state = field(&status, "State").chars().next().unwrap_or('X');
                    ("XZtT".contains(state) || state == 'S' && !pending).then_some(())
                };
                self.until("a rest", rests);
            }
        }
    }

    /// The letters of the states of the init and the command, as ps(1) has them.
    pub(crate) fn states(&self) -> String {
        let state = |pid: Option<Pid>| {
            let path = format!("/proc/{}/status", pid.map_or(0, Pid::as_raw));
            let status = fs::read_to_string(path).unwrap_or_default();
            // X: it was reaped while we looked.
            field(&status, "State").chars().next().filter(|c| !"ZX".contains(*c)).unwrap_or('-')
        };
        [state(Some(self.init)), state(self.witness())].iter().collect()
    }

    /// Waits until both are in these states.
    pub(crate) fn settle_at(&self, states: &str) {
        self.until(states, || (self.states() == states).then_some(()));
    }

    /// Continues an init that has stopped along with its command.
    pub(crate) fn kill_stop(&self) {
        if self.states().starts_with('T') {
            self.signal(Signal::SIGCONT as i32);
        }
    }

    /// Whether the init stays when its command is gone: for longer than tini sleeps.
    pub(crate) fn outlasts_its_command(&self) -> bool {
        const LONG: Duration = Duration::from_millis(1500);
        self.until_children(0);
        let deadline = Instant::now() + LONG;
        while !matches!(self.states().as_str(), "--") {
            if Instant::now() > deadline {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Outcome {
        let mut child = self.child.take().expect("it ends once");
        let deadline = Instant::now() + PATIENCE;
        let ended = loop {
            match child.try_wait().expect("wait") {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let Some(ended) = ended else {
            let states = self.states();
            let _ = child.kill();
            panic!("still running after {PATIENCE:?}: {} {states}: {}", self.words, self.written());
        };
        while !self.readers.iter().all(JoinHandle::is_finished) {
            assert!(Instant::now() < deadline, "{}: somebody still writes", self.words);
            std::thread::sleep(Duration::from_millis(1));
        }
        let output = self.written();
        Outcome { status: status(ended), output }
    }

    /// What is known of both, for when something is wrong.
    fn whole(&self) -> String {
        let mut whole = self.written();
        for pid in [Some(self.init), self.witness()].into_iter().flatten() {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            for name in ["Name", "State", "SigPnd", "ShdPnd", "SigBlk", "SigIgn"] {
                whole += &format!("{name} {} ", field(&status, name));
            }
        }
        whole
    }

    fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match look() {
                Some(found) => return found,
                None if Instant::now() > deadline => {
                    panic!("not seen in {PATIENCE:?}: {what}; {}; {}", self.words, self.whole())
                }
                None => std::thread::sleep(Duration::from_micros(300)),
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            for pid in children(self.init).into_iter().chain([self.init]) {
                send(pid, Signal::SIGKILL as i32);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends any signal; to nobody if it is gone.
pub(crate) fn send(pid: Pid, signal: i32) {
    // Real-time signals aren't in nix's enumeration.
    match Signal::try_from(signal) {
        Ok(signal) => match kill(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("kill {pid} {signal}: {error}"),
        },
        Err(_) => {
            let mut kill = Command::new("kill");
            let _ =
                kill.arg(format!("-{signal}")).arg(pid.to_string()).stderr(Stdio::null()).status();
        }
    }
}

/// Children in the order of their birth, zombies left out.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let list = fs::read_to_string(path).unwrap_or_default();
    let alive = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !field(&status, "State").starts_with(['Z', 'X'])
    };
    let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(alive);
    pids.map(Pid::from_raw).collect()
}

/// A field of a file like /proc/PID/status; empty if there is none.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

/// Does something for each item, several at a time; returns what came of each.
pub(crate) fn at_once<T: Send + Sync + Ord + Clone, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> BTreeMap<T, R> {
    let (next, done) = (Mutex::new(items.iter()), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let Some(item) = next.lock().unwrap().next() else { return };
                    let result = work(item);
                    done.lock().unwrap().insert(item.clone(), result);
                }
            });
        }
    });
    done.into_inner().unwrap()
}
