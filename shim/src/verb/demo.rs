//! `shim demo`: the main job, for anyone, in namespaces of its own.
//!
//! ```text
//!  user + mount namespace of the demo
//!  ┌───────────────────────────────────────────────────────────────┐
//!  │  pod: pid 1 is pause      "this host"            another host │
//!  │  eth0 10.89.0.2:80 ◄── podkeel0   outside0 ◄── eth0 192.0.2.2 │
//!  │                        port 8080 of 192.0.2.1                 │
//!  └───────────────────────────────────────────────────────────────┘
//! ```

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use podkeel_netsetup::conf::{self, Network, Source};
use podkeel_netsetup::error::{Error, Kind, Result};
use podkeel_netsetup::request::{Publish, Wishes};
use podkeel_netsetup::roots::Roots;
use podkeel_netsetup::verbs::{self, Context, Outcome, Target, Wanted};

use crate::process::{self, Child};

/// The other host's network: TEST-NET-1 (RFC 5737), so that nobody's addresses are meant.
const OUTSIDE: &str = r#"{
  "cniVersion": "1.1.0", "name": "outside", "plugins": [
    { "type": "bridge", "bridge": "outside0", "isGateway": true,
      "ipam": { "type": "host-local", "ranges": [[{ "subnet": "192.0.2.0/24" }]],
                "routes": [{ "dst": "0.0.0.0/0" }] } } ] }"#;

/// The address of "this host" as the other host knows it, and the published port.
const PUBLISHED: &str = "192.0.2.1:8080";

/// How long anything in the demo may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the demo. Exit code 0; 6 where the host forbids user namespaces.
pub fn run(pause: &'static [u8]) -> i32 {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let stage = process::spawn(CloneFlags::empty(), || {
        let kinds = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
        let entered = unshare(kinds | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS);
        match entered.map_err(forbidden).and_then(|()| become_root(uid.as_raw(), gid.as_raw())) {
            Ok(()) => report(show(pause)),
            Err(error) => without_namespaces(&error, pause),
        }
    });
    let ended = stage.and_then(Child::wait);
    match ended {
        Ok(WaitStatus::Exited(_, code)) => code,
        Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
        Ok(_) => 1,
        Err(errno) => report(Err(Error::errno("start a process for the demo", errno as i32))),
    }
}

fn report(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("shim: {error}");
            error.kind.exit_code()
        }
    }
}

/// Root of a user namespace that maps nobody but the caller.
fn become_root(uid: u32, gid: u32) -> Result<()> {
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).map_err(|e| {
            let error =
                Error::io(format!("write /proc/self/{file} of the demo's user namespace"), &e);
            error.kind(Kind::Denied).hint(knobs())
        })
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))?;
    // Where only an unprivileged user namespace's powers are taken away
    // (AppArmor on Ubuntu), it shows at the first thing that needs them.
    private_run().map_err(|errno| forbidden(errno).kind(Kind::Denied))
}

/// Mounts of the demo's own: nothing that it writes below /run is seen outside.
fn private_run() -> std::result::Result<(), Errno> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("demo"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, none)
}

fn forbidden(errno: Errno) -> Error {
    Error::errno("make namespaces for the demo", errno as i32).kind(Kind::Denied).hint(knobs())
}

/// The switches by which a host forbids user namespaces, and how they stand here.
fn knobs() -> String {
    let off = [
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let closed = off.iter().filter(|(file, value, _)| {
        fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|is| is.trim() == *value)
    });
    let open: Vec<String> = closed.map(|(.., open)| format!("sysctl -w {open}")).collect();
    if open.is_empty() {
        return "this host forbids user namespaces to you: a container without that right, a seccomp filter, \
                or the limit user.max_user_namespaces"
            .into();
    }
    format!(
        "this host forbids user namespaces to you; root may allow them with: {}",
        open.join("; ")
    )
}

/// What can be shown all the same: pause runs, and ends when it is told to.
fn without_namespaces(error: &Error, pause: &'static [u8]) -> i32 {
    eprintln!("shim: {error}");
    println!("What works without them: pause as an ordinary process.");
    let started = process::spawn(CloneFlags::empty(), || {
        eprintln!("shim: cannot start pause: {}", process::exec("pause", pause, &[]));
        1
    });
    let ended = started.and_then(|child| {
        std::thread::sleep(Duration::from_millis(200));
        child.signal(Signal::SIGTERM)?;
        child.wait()
    });
    match ended {
        Ok(WaitStatus::Exited(_, 0)) => {
            println!("pause ended with exit code 0. The network part was not run.")
        }
        other => println!("pause did not end as it should: {other:?}"),
    }
    Kind::Denied.exit_code()
}

fn show(pause: &'static [u8]) -> Result<()> {
    let began = Instant::now();
    let context = Context::new(Roots {
        run: "/run/podkeel".into(),
        netns: "/run/netns".into(),
        leases: "/run/leases".into(),
        conf: Vec::new(),
    });
    let kinds = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let pod = start("pause", kinds, || {
        eprintln!("shim: cannot start pause: {}", process::exec("pause", pause, &[]));
        1
    })?;
    println!(
        "1. pause ({} bytes) is process 1 of a pod: new pid, net, ipc and uts namespaces",
        pause.len()
    );

    attach(&context, Network::builtin()?, "pod", &pod, &["8080:80"])?;
    println!("2. the pod is on network bridge, and port 8080 of this host leads to its port 80");
    let server = start_in(&pod, "a web server in the pod", serve)?;

    let (other, mut go) = start_other_host()?;
    attach(&context, conf::parse(OUTSIDE, Source::Builtin)?, "other-host", &other, &[])?;
    println!("3. another host is connected; it asks for http://{PUBLISHED}/ and gets:");
    tell(&mut go)?;
    ended_well(server, "the web server")?;

    println!("4. what was built:\n\n{}", indented(&verbs::map::map(&context)?.to_text()));
    tell(&mut go)?;
    ended_well(other, "the other host's request")?;
    take_away(&context, pod)?;
    println!("{:.0} ms in all.", began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn start(what: &str, namespaces: CloneFlags, job: impl FnOnce() -> i32) -> Result<Child> {
    process::spawn(namespaces, job)
        .map_err(|errno| Error::errno(format!("start {what}"), errno as i32))
}

/// Starts a process in the pod's network namespace and waits until it says that it is ready.
fn start_in(
    pod: &Child,
    what: &str,
    job: fn(&mut fs::File) -> std::io::Result<()>,
) -> Result<Child> {
    let failed = |e: &std::io::Error| Error::io(format!("start {what}"), e);
    let netns = fs::File::open(format!("/proc/{}/ns/net", pod.pid())).map_err(|e| failed(&e))?;
    let (mut ready, say) = pipe()?;
    let child = start(what, CloneFlags::empty(), || {
        let mut say = say;
        let entered =
            nix::sched::setns(&netns, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from);
        match entered.and_then(|()| job(&mut say)) {
            Ok(()) => 0,
            Err(e) => {
                eprintln!("shim: {e}");
                1
            }
        }
    })?;
    let mut word = [0; 1];
    ready.read_exact(&mut word).map_err(|e| failed(&e))?;
    Ok(child)
}

fn pipe() -> Result<(fs::File, fs::File)> {
    let made = nix::unistd::pipe().map_err(|errno| Error::errno("make a pipe", errno as i32))?;
    Ok((made.0.into(), made.1.into()))
}

/// Answers one request with the address that it came from.
fn serve(ready: &mut fs::File) -> std::io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:80")?;
    ready.write_all(b"1")?;
    let (mut stream, from) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = [0; 512];
    let _ = stream.read(&mut request)?;
    let body = format!("hello {}, this is the pod\n", from.ip());
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A process in a network namespace of its own, which asks at the first word and leaves at the second.
fn start_other_host() -> Result<(Child, fs::File)> {
    let (mut word, go) = pipe()?;
    let child = start("another host", CloneFlags::CLONE_NEWNET, || match ask(&mut word) {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("shim: cannot ask {PUBLISHED} from the other host: {e}");
            1
        }
    })?;
    Ok((child, go))
}

/// The other host goes on: first to ask, then to leave.
fn tell(go: &mut fs::File) -> Result<()> {
    go.write_all(b"go").map_err(|e| Error::io("tell the other host to go on", &e))
}

fn ask(word: &mut fs::File) -> std::io::Result<()> {
    word.read_exact(&mut [0; 2])?;
    let address: SocketAddr = PUBLISHED.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.0 200") => {
            print!("   {body}");
            std::io::stdout().flush()?;
            // The host stays until the picture is drawn.
            word.read_exact(&mut [0; 2])
        }
        _ => Err(std::io::Error::other(format!("it answered {answer:?}"))),
    }
}

fn attach(
    context: &Context,
    network: Network,
    name: &str,
    pod: &Child,
    ports: &[&str],
) -> Result<()> {
    let wishes = Wishes { ports: Publish::parse_all(ports.iter().copied())?, ..Wishes::default() };
    let wanted = Wanted {
        network,
        container: name.into(),
        ifname: "eth0".into(),
        wishes,
        default_route: true,
        bundle: None,
    };
    match verbs::add(context, &wanted, Target::of_process(pod.pid())?)? {
        Outcome::Added(added) => {
            added.warnings.iter().for_each(|w| eprintln!("shim: warning: {w}"))
        }
        Outcome::Already(there) => {
            return Err(Error::new(
                Kind::Taken,
                format!("attach {name}"),
                format!("{} is there", there.id),
            ));
        }
    }
    Ok(())
}

fn ended_well(child: Child, what: &str) -> Result<()> {
    match child.wait() {
        Ok(WaitStatus::Exited(_, 0)) => Ok(()),
        other => Err(Error::new(Kind::Failed, format!("finish {what}"), format!("{other:?}"))),
    }
}

/// Everything goes, and that is looked at, not said.
fn take_away(context: &Context, pod: Child) -> Result<()> {
    for container in ["pod", "other-host"] {
        verbs::del_container(context, container, None)?;
    }
    pod.signal(Signal::SIGTERM).map_err(|errno| Error::errno("end pause", errno as i32))?;
    ended_well(pod, "pause")?;
    let left = verbs::gc::gc(context, true)?;
    let links = fs::read_to_string("/proc/self/net/dev")
        .map_err(|e| Error::io("list the links that are left", &e))?;
    let links: Vec<&str> =
        links.lines().filter_map(|l| l.split_once(':')).map(|(name, _)| name.trim()).collect();
    let clean =
        left.orphans.is_empty() && left.kept.is_empty() && !Path::new("/run/podkeel").exists();
    if !clean || links != ["lo"] {
        return Err(Error::new(
            Kind::Failed,
            "take everything away",
            format!("this is left: links {links:?}, {left:?}"),
        ));
    }
    println!(
        "5. all of it is taken away: links left: {}; records, rules, leases left: none",
        links.join(" ")
    );
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}
