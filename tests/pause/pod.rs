//! A process under test, alone or as PID 1 of namespaces of its own. Whatever
//! happens to the test, dropping it ends the process.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the slowest step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program under test, running.
pub(crate) struct Pod {
    /// Our own child: the program, or the unshare(1) that waits for it.
    child: Option<Child>,
    /// The program's process id out here.
    pid: Pid,
}

impl Pod {
    /// Starts a command as PID 1 of a new PID namespace, in a new user namespace
    /// whose root it is. The command has to stay: for one that doesn't, see [`run_alone`].
    pub(crate) fn start(command: &[&str]) -> Self {
        let child = spawn(&mut unshare(command));
        let path = format!("/proc/{0}/task/{0}/children", child.id());
        let pid = await_some(&format!("a child of {command:?}"), || {
            read(&path).trim().parse().ok().map(Pid::from_raw)
        });
        Self { child: Some(child), pid }
    }

    /// Starts a command that ends up being pause as PID 1, and waits until it
    /// sleeps.
    pub(crate) fn new(command: &[&str]) -> Self {
        let pod = Self::start(command);
        pod.await_ready();
        pod
    }

    /// Starts pause as an ordinary process, and waits until it sleeps.
    pub(crate) fn without_namespace(command: &mut Command) -> Self {
        let child = spawn(command);
        let pid = Pid::from_raw(child.id() as i32);
        let pod = Self { child: Some(child), pid };
        pod.await_ready();
        pod
    }

    /// Waits until pause has ignored SIGCHLD and sleeps after that: the only place
    /// where it does is the wait for INT and TERM.
    pub(crate) fn await_ready(&self) {
        await_some("pause asleep", || {
            let status = self.status();
            let ignored = u64::from_str_radix(field(&status, "SigIgn"), 16).ok()?;
            let child_ignored = ignored & 1 << (libc::SIGCHLD - 1) != 0;
            let asleep = field(&status, "State") == "S (sleeping)";
            (field(&status, "Name") == "pause" && child_ignored && asleep).then_some(())
        });
    }

    /// Waits for a state as /proc/PID/status spells it.
    pub(crate) fn await_state(&self, state: &str) {
        await_some(state, || (field(&self.status(), "State") == state).then_some(()));
    }

    /// Waits until the process has become that program and sleeps.
    pub(crate) fn await_asleep_as(&self, name: &str) {
        await_some(name, || {
            let status = self.status();
            let asleep = field(&status, "State") == "S (sleeping)";
            (field(&status, "Name") == name && asleep).then_some(())
        });
    }

    /// Waits until the process has so many children, zombies included.
    pub(crate) fn await_children(&self, count: usize) {
        await_some(&format!("{count} children"), || {
            let children = self.proc(&format!("task/{}/children", self.pid));
            (children.split_whitespace().count() == count).then_some(())
        });
    }

    /// Sends any signal, real-time ones included, from outside.
    pub(crate) fn signal(&self, signal: i32) {
        run(Command::new("kill").arg(format!("-{signal}")).arg(self.pid.to_string()));
    }

    /// Carries out the helper's verbs inside of the PID namespace.
    pub(crate) fn inside(&self, verbs: &[&str]) {
        run(&mut self.entering(verbs));
    }

    /// Carries out verbs that may make PID 1 leave: the kernel then kills all that
    /// is in the namespace, and the helper can be among it.
    pub(crate) fn inside_to_the_end(&self, verbs: &[&str]) {
        let mut nsenter = self.entering(verbs);
        let output = nsenter.output().unwrap_or_else(|error| panic!("{nsenter:?}: {error}"));
        let killed = output.status.signal() == Some(libc::SIGKILL);
        assert!(killed || output.status.success(), "{nsenter:?}: {output:?}");
    }

    fn entering(&self, verbs: &[&str]) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.pid.to_string()]);
        nsenter.args(["--user", "--pid", "--preserve-credentials", "--", helper()]);
        nsenter.args(verbs);
        nsenter
    }

    /// A file of the process below /proc; empty if there is no process.
    pub(crate) fn proc(&self, file: &str) -> String {
        read(&format!("/proc/{}/{file}", self.pid))
    }

    /// /proc/PID/status.
    pub(crate) fn status(&self) -> String {
        self.proc("status")
    }

    /// Waits for the end and returns how it was, with all that was written.
    pub(crate) fn end(mut self) -> Output {
        end(self.child.take().expect("it ends once"))
    }
}

/// Runs a command as [`Pod::start`] does, to its end.
pub(crate) fn run_alone(command: &[&str]) -> Output {
    end(spawn(&mut unshare(command)))
}

fn unshare(command: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--"]);
    unshare.args(command);
    unshare
}

fn end(mut child: Child) -> Output {
    let ended = attempt(|| child.try_wait().expect("cannot wait").map(drop));
    if ended.is_none() {
        child.kill().expect("cannot kill");
    }
    let output = child.wait_with_output().expect("cannot read what was written");
    assert!(ended.is_some(), "still running after {PATIENCE:?}: {output:?}");
    output
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // unshare takes its child along; not waited for yet, so it is ours.
            let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn attempt<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            found => return found,
        }
    }
}

fn await_some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    attempt(look).unwrap_or_else(|| panic!("not seen in {PATIENCE:?}: {what}"))
}

/// A field of a file like /proc/PID/status; empty if there is none.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

/// The helper program, compiled once.
pub(crate) fn helper() -> &'static str {
    static HELPER: OnceLock<String> = OnceLock::new();
    HELPER.get_or_init(|| {
        super::build::helper("pause").into_os_string().into_string().expect("the path is text")
    })
}
