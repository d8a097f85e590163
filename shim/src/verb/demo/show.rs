//! What the demo shows, step by step.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use nix::sys::signal::SigSet;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use podkeel_netsetup::conf::{self, Source};
use podkeel_netsetup::error::{Context as _, Error, Kind, Result};
use podkeel_netsetup::front::cli::Format;
use podkeel_netsetup::kernel::NsKind;
use podkeel_netsetup::record::boot_id;
use podkeel_netsetup::request::Wishes;
use podkeel_netsetup::roots::Roots;
use podkeel_netsetup::verbs::{self, Context, Outcome, Target, Wanted};

use super::part::{PATIENCE, READY, get};
use crate::ns::Mode;
use crate::process::{self, Child};
use crate::verb::{life, ps};
use crate::{Carried, Shim, base, member, record};

/// The other host's network: TEST-NET-1 (RFC 5737), so that nobody's addresses are meant.
const OUTSIDE: &str = r#"{
  "cniVersion": "1.1.0", "name": "outside", "plugins": [
    { "type": "bridge", "bridge": "outside0", "isGateway": true,
      "ipam": { "type": "host-local", "ranges": [[{ "subnet": "192.0.2.0/24" }]],
                "routes": [{ "dst": "0.0.0.0/0" }] } } ] }"#;

/// The address of "this host" as the other host knows it, and the published port.
const PUBLISHED: &str = "192.0.2.1:8080";

/// The whole of it.
pub(super) fn show(carried: Carried) -> Result<()> {
    let began = Instant::now();
    let context = Context::new(Roots {
        run: "/run/podkeel".into(),
        netns: "/run/netns".into(),
        leases: "/run/leases".into(),
        conf: Vec::new(),
    });
    let Carried { pause, monitor, .. } = carried;
    let shim = Shim { context, boot: boot_id()?, mask: SigSet::empty(), pause, monitor };

    println!("$ shim run -d --name pod -p 8080:80");
    base::run(&shim, &wish())?.child.map(Child::leave);
    println!(
        "   pause ({} bytes) is process 1 of a pod, which is on network bridge; port 8080 of this host\n   \
         leads to its port 80",
        pause.len()
    );
    let join = "shim join --net=container:pod --ipc=container:pod --pid=container:pod";
    println!("$ {join} -d --name web -- WEB-SERVER");
    start_member(&shim, "web")?;
    wait_for_log(&shim, "web", READY)?;
    println!("$ {join} -d --name app -- APPLICATION");
    start_member(&shim, "app")?;
    print!("{}", indented(&output_of(&shim, "app")?));

    let mut other = OtherHost::start()?;
    attach(&shim.context, &other.child)?;
    println!("another host is connected; it asks for http://{PUBLISHED}/ and gets:");
    other.asks()?;
    picture(&shim)?;
    other.leaves()?;
    take_away(&shim)?;
    println!("{:.0} ms in all.", began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn wish() -> base::Wish {
    base::Wish {
        name: "pod".into(),
        net: Vec::new(),
        ipc: Mode::Private,
        pid: Mode::Private,
        uts: Mode::Private,
        publish: vec!["8080:80".into()],
        sysctls: Vec::new(),
        hostname: None,
        pause: true,
        command: Vec::new(),
        log: true,
        shm_size: "64m".into(),
    }
}

fn start_member(shim: &Shim, name: &str) -> Result<()> {
    let pod = || Mode::Container("pod".into());
    let kinds = [NsKind::Net, NsKind::Ipc, NsKind::Pid];
    let wish = member::Wish {
        name: Some(name.into()),
        modes: BTreeMap::from(kinds.map(|kind| (kind, pod()))),
        mounts: true,
        detach: true,
        remove: false,
        words: ["/proc/self/exe", "demo-part", name].map(Into::into).to_vec(),
        env: Vec::new(),
        workdir: None,
        user: None,
    };
    member::detach(shim, &wish).map_err(crate::enter::Refused::into_error).map(drop)
}

fn log_of(shim: &Shim, name: &str) -> Result<String> {
    let path = record::find(&shim.context.roots, name)?.log_path(&shim.context.roots);
    fs::read_to_string(&path).ctx(|| format!("read {}", path.display()))
}

fn wait_for_log(shim: &Shim, name: &str, word: &str) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if log_of(shim, name)?.contains(word) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let said = log_of(shim, name)?;
    Err(Error::new(Kind::Failed, format!("wait for {name}"), format!("it only said {said:?}")))
}

/// Everything that a member printed until it ended.
fn output_of(shim: &Shim, name: &str) -> Result<String> {
    let mut code = Vec::new();
    life::wait(shim, &[name.to_owned()], &mut code)?;
    let said = log_of(shim, name)?;
    match code.as_slice() {
        b"0\n" => Ok(said),
        _ => Err(Error::new(Kind::Failed, format!("run {name}"), said)),
    }
}

/// A process in a network namespace of its own: it asks at the first word that it gets,
/// answers with one when it has, and leaves at the second. It stays until the picture is drawn.
struct OtherHost {
    child: Child,
    words: UnixStream,
}

impl OtherHost {
    fn start() -> Result<OtherHost> {
        let (words, theirs) = UnixStream::pair().ctx(|| "make a pair of sockets".into())?;
        let child = process::spawn(CloneFlags::CLONE_NEWNET, || match ask(theirs) {
            Ok(()) => 0,
            Err(e) => {
                eprintln!("shim: cannot ask {PUBLISHED} from the other host: {e}");
                1
            }
        });
        let child = child.map_err(|errno| Error::errno("start another host", errno as i32))?;
        Ok(OtherHost { child, words })
    }

    fn asks(&mut self) -> Result<()> {
        let mut word = [0; 1];
        let told = self.words.write_all(b"?").and_then(|()| self.words.read_exact(&mut word));
        told.ctx(|| "let the other host ask".into())
    }

    fn leaves(mut self) -> Result<()> {
        self.words.write_all(b".").ctx(|| "let the other host leave".into())?;
        match self.child.wait() {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            status => {
                let why = format!("{status:?}");
                Err(Error::new(Kind::Failed, "finish the other host's request", why))
            }
        }
    }
}

fn ask(mut words: UnixStream) -> std::io::Result<()> {
    let mut word = [0; 1];
    words.read_exact(&mut word)?;
    let address: SocketAddr = PUBLISHED.parse().map_err(std::io::Error::other)?;
    print!("   {}", get(address)?);
    std::io::stdout().flush()?;
    words.write_all(b"!")?;
    words.read_exact(&mut word)
}

fn attach(context: &Context, other: &Child) -> Result<()> {
    let wanted = Wanted {
        network: conf::parse(OUTSIDE, Source::Builtin)?,
        container: "other-host".into(),
        ifname: "eth0".into(),
        wishes: Wishes::default(),
        default_route: true,
        bundle: None,
        part: None,
    };
    match verbs::add(context, &wanted, Target::of_process(other.pid())?)? {
        Outcome::Added(_) => Ok(()),
        Outcome::Already(there) => {
            let what = format!("attach {}", there.id);
            Err(Error::new(Kind::Taken, what, "it is there"))
        }
    }
}

fn picture(shim: &Shim) -> Result<()> {
    println!("$ shim ps");
    let mut table = Vec::new();
    ps::ps(shim, &[], false, Format::Table, &mut table)?;
    print!("{}", indented(&String::from_utf8_lossy(&table)));
    println!("$ netsetup map");
    print!("{}", indented(&verbs::map::map(&shim.context)?.to_text()));
    Ok(())
}

/// What was detached is ours by now: this is process 1. Who waits for the end of a deleted
/// link in the kernel has some milliseconds to go.
fn reap_all() {
    let end = Instant::now() + Duration::from_secs(5);
    let any = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
    while let Ok(status) = waitpid(None, Some(any)) {
        if status != WaitStatus::StillAlive {
            continue;
        }
        if Instant::now() > end {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Everything goes, and that is looked at, not said.
fn take_away(shim: &Shim) -> Result<()> {
    println!("$ shim rm -f pod");
    verbs::del_container(&shim.context, "other-host", None)?;
    life::remove(shim, "pod", true)?;
    reap_all();
    let left = verbs::gc::gc(&shim.context, true)?;
    let links =
        fs::read_to_string("/proc/self/net/dev").ctx(|| "list the links that are left".into())?;
    let links: Vec<&str> =
        links.lines().filter_map(|l| l.split_once(':')).map(|(name, _)| name.trim()).collect();
    let processes = fs::read_dir("/proc").ctx(|| "list the processes that are left".into())?;
    let processes = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != 1)
        .count();
    let clean =
        left.orphans.is_empty() && left.kept.is_empty() && !Path::new("/run/podkeel").exists();
    if !clean || links != ["lo"] || processes > 0 {
        return Err(Error::new(
            Kind::Failed,
            "take everything away",
            format!("this is left: links {links:?}, {processes} processes, {left:?}"),
        ));
    }
    println!(
        "   all of it is taken away: links left: {}; processes, records, rules, leases left: none",
        links.join(" ")
    );
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}
