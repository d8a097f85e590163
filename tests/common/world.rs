//! A world per test: the test program runs itself once more inside fresh namespaces.
//!
//! ```text
//! the test, on the host            waits, and expects the exit status DONE
//!   setpriv --pdeathsig KILL       dies with the test's thread
//!     unshare                      user (Kind::User), net, mnt, pid, ipc, uts
//!       sh, PID 1 of the world     reaps orphans; when it leaves, the kernel kills the rest
//!         timeout                  a body that hangs ends as a failure
//!           the same test again    sets the world up, runs the body, exits DONE
//! ```
//!
//! Success is the exit status `DONE` and nothing else: a test program that finds no
//! such test, or a body that leaves early with status 0, is a failure.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::setup;

/// Exit status of a body that ran to its end; libtest itself uses 0 and 101.
const DONE: i32 = 64;
/// In the world: `<which world of this test> <world id>`.
const MARK: &str = "PODKEEL_TEST_WORLD";
/// Seconds that a body may take; change it with the variable of this name.
const TIMEOUT: &str = "PODKEEL_TEST_TIMEOUT";
const DEFAULT_TIMEOUT: &str = "600";

/// Whose rights a world has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The initial user namespace: for what only real root may do (engines, cgroups,
    /// devices). The roots of state are the defaults.
    Root,
    /// A user namespace in which the caller is root. The roots of state are given by
    /// the `PODKEEL_*_DIR` variables, away from the defaults, so that a path that
    /// ignores them shows.
    User,
}

/// Where the programs under test keep state in this world.
#[derive(Clone, Debug)]
pub struct Dirs {
    /// `/run/podkeel`: pods and what attachments made.
    pub run: PathBuf,
    /// `/run/netns`: in both kinds the place that `ip netns` uses.
    pub netns: PathBuf,
    /// `/var/lib/cni/networks`: leases.
    pub leases: PathBuf,
    /// The first of the directories that network lists are looked up in.
    pub conf: PathBuf,
}

/// The roots of state of the world that the caller is in.
pub fn dirs() -> Dirs {
    let or = |name: &str, default: &str| {
        std::env::var_os(name).map_or_else(|| PathBuf::from(default), PathBuf::from)
    };
    Dirs {
        run: or("PODKEEL_RUN_DIR", "/run/podkeel"),
        netns: or("PODKEEL_NETNS_DIR", "/run/netns"),
        leases: or("PODKEEL_LEASE_DIR", "/var/lib/cni/networks"),
        conf: or("PODKEEL_CONF_DIR", "/etc/podkeel/net.d"),
    }
}

/// A directory for the test's own files; it goes away with the world.
pub fn scratch() -> &'static Path {
    Path::new(setup::SCRATCH)
}

/// A cgroup path (`/podkeel-test-ID/name`) for a container of this world.
///
/// Cgroups are the one thing that a world shares with the host: what is made below
/// this path is removed when the world has ended.
pub fn cgroup(name: &str) -> String {
    let mark = std::env::var(MARK).expect("cgroup() is for use inside a world");
    format!("/{}/{name}", mark.split(' ').nth(1).expect("mark has an id"))
}

/// Runs `body` in a world of its own and expects it to come to its end.
///
/// Call it from a test function's own thread, any number of times one after the
/// other; nothing but these calls should stand in the test, for the test runs anew
/// in each world. Safe in parallel.
pub fn world(kind: Kind, body: impl FnOnce()) {
    let call = next_call();
    if inside(kind, &call) {
        body();
        std::process::exit(DONE);
    }
    outside(kind, &call);
}

/// As [`world`], with one world for each of these, all at once.
pub fn worlds<T: Copy + Sync>(kind: Kind, each: &[T], body: impl Fn(T)) {
    let call = next_call();
    let calls: Vec<String> = (0..each.len()).map(|i| format!("{call}.{i}")).collect();
    if let Some((_, one)) = calls.iter().zip(each).find(|(call, _)| inside(kind, call)) {
        body(*one);
        std::process::exit(DONE);
    }
    let name = std::thread::current().name().map(str::to_owned).expect("a test's own thread");
    std::thread::scope(|scope| {
        for call in &calls {
            let thread = std::thread::Builder::new().name(name.clone());
            thread.spawn_scoped(scope, || outside(kind, call)).expect("a thread");
        }
    });
}

/// Which call of this test it is: it tells its worlds apart.
fn next_call() -> String {
    thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });
    CALLS.replace(CALLS.get() + 1).to_string()
}

/// Whether this is the process that is to run the body of this call; then it is in
/// its world on return.
fn inside(kind: Kind, call: &str) -> bool {
    let Ok(mark) = std::env::var(MARK) else { return false };
    let mine = mark.split(' ').next() == Some(call);
    if mine {
        setup::enter(kind);
    }
    mine
}

/// The half on the host: start the world, wait, judge, clean its cgroups.
fn outside(kind: Kind, call: &str) {
    if std::env::var_os(MARK).is_some() {
        return; // in the world of another call
    }
    static WORLDS: AtomicU32 = AtomicU32::new(0);
    assert!(
        kind == Kind::User || nix::unistd::geteuid().is_root(),
        "needs root: run tests/run as root (this test did not run)"
    );
    let id =
        format!("podkeel-test-{}-{}", std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
    let mut command = command(kind, call, &id);
    let shown = std::env::args().any(|a| a == "--nocapture");
    let mut log = log_file();
    if !shown {
        command.stdout(log.try_clone().expect("dup of a memfd"));
        command.stderr(log.try_clone().expect("dup of a memfd"));
    }
    let status = command.status().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    remove_cgroups(&id);
    let mut text = Vec::new();
    log.rewind().and_then(|()| log.read_to_end(&mut text)).expect("read a memfd");
    let text = String::from_utf8_lossy(&text);
    assert!(
        status.code() == Some(DONE),
        "the {kind:?} world failed: {}\n--- its output\n{text}",
        verdict(kind, status)
    );
    println!("{text}");
}

/// The command line of the picture at the top of this file.
fn command(kind: Kind, call: &str, id: &str) -> Command {
    let thread = std::thread::current();
    let test = thread.name().filter(|n| *n != "main").expect("world() in a test's own thread");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]);
    if kind == Kind::User {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--ipc", "--uts", "--propagation", "private"]);
    command.args(["--fork", "--kill-child", "--mount-proc"]);
    // Without `exit $?` the shell would exec the command and be no init at all.
    command.args(["sh", "-c", "timeout -k 5 \"$@\"; exit $?", "world"]);
    command.arg(std::env::var(TIMEOUT).unwrap_or_else(|_| DEFAULT_TIMEOUT.to_owned()));
    command.arg(std::env::current_exe().expect("/proc/self/exe"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1", "--include-ignored"]);
    command.stdin(Stdio::null()).env(MARK, format!("{call} {id}")).env("TMPDIR", setup::SCRATCH);
    // Set by cargo for libraries that no test links; it makes every start of a dynamic
    // program search a dozen directories.
    command.env_remove("LD_LIBRARY_PATH");
    for (name, dir) in setup::USER_DIRS {
        match kind {
            Kind::Root => command.env_remove(name),
            Kind::User => command.env(name, dir),
        };
    }
    command
}

/// Why a world counts as failed, in words.
fn verdict(kind: Kind, status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(124 | 137), _) => format!("not done in time ({TIMEOUT}=SECONDS changes that)"),
        (Some(0), _) => "it left before the body's end (or no such test was found)".to_owned(),
        (Some(101), _) => "the body panicked".to_owned(),
        (Some(1), _) if kind == Kind::User => "exit status 1 (if unshare says so below: may this \
             host's users make user namespaces? see /proc/sys/user/max_user_namespaces, \
             kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
            .to_owned(),
        (_, _) => status.to_string(),
    }
}

/// An unlinked file in memory: unlike a pipe, it cannot fill up, and a left-over
/// process that holds it cannot keep the reader waiting.
fn log_file() -> File {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    File::from(nix::sys::memfd::memfd_create("world", flags).expect("memfd_create"))
}

/// Removes the cgroups below `/podkeel-test-ID` of every hierarchy, deepest first.
fn remove_cgroups(id: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let mut tops = vec![root.join(id)];
    if let Ok(entries) = std::fs::read_dir(root) {
        tops.extend(entries.flatten().map(|e| e.path().join(id)));
    }
    for top in tops.iter().filter(|t| t.is_dir()) {
        remove_cgroup(top);
    }
}

fn remove_cgroup(path: &Path) {
    if let Ok(entries) = std::fs::read_dir(path) {
        for entry in entries.flatten().filter(|e| e.path().is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    // The world's last processes have been killed, but may take a moment to leave.
    for _ in 0..100 {
        if std::fs::remove_dir(path).is_ok() || !path.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    eprintln!("cgroup {} is still in use", path.display());
}
