//! What is asked for, and what is understood of it.

use podkeel_netsetup::conf::{self, Network};
use podkeel_netsetup::error::{Error, Result};
use podkeel_netsetup::kernel::NsKind;
use podkeel_netsetup::request::Publish;

use crate::Shim;
use crate::ns::Mode;
use crate::sysctl::Setting;

/// What is asked for.
#[derive(Debug)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Networks, or one of none and host.
    pub net: Vec<Mode>,
    /// Its own namespace, or the host's.
    pub ipc: Mode,
    /// The same.
    pub pid: Mode,
    /// The same.
    pub uts: Mode,
    /// Published ports.
    pub publish: Vec<String>,
    /// Sysctls.
    pub sysctls: Vec<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Whether there is a pause.
    pub pause: bool,
    /// The command that pause runs as the pod's init; none for one that only holds it.
    pub command: Vec<std::ffi::OsString>,
    /// Whether pause's output goes to the log.
    pub log: bool,
    /// Size of /dev/shm, in the words of tmpfs(5).
    pub shm_size: String,
}

/// What was understood of it; all that can be wrong with words is found before anything is made.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) private: Vec<NsKind>,
    pub(super) networks: Vec<Network>,
    pub(super) ports: Vec<Publish>,
    pub(super) sysctls: Vec<Setting>,
}

pub(super) fn read(shim: &Shim, wish: &Wish) -> Result<Plan> {
    let (networks, own_net) = read_net(shim, &wish.net)?;
    let mut private = Vec::new();
    for (kind, mode) in
        [(NsKind::Ipc, &wish.ipc), (NsKind::Uts, &wish.uts), (NsKind::Pid, &wish.pid)]
    {
        match mode {
            Mode::Private => private.push(kind),
            Mode::Host => {}
            other => {
                return Err(Error::input(
                    format!("use --{kind} {other} for a base"),
                    "a base has namespaces of its own: private, or host",
                )
                .hint("shim join is for those of others"));
            }
        }
    }
    if own_net {
        private.push(NsKind::Net);
    }
    if !wish.pause {
        private.retain(|kind| *kind != NsKind::Pid);
    }
    let has = |kind| private.contains(&kind);
    if networks.is_empty() && !wish.publish.is_empty() {
        return Err(Error::input("publish ports", "the pod is on no network"));
    }
    if wish.hostname.is_some() && !has(NsKind::Uts) {
        return Err(Error::input("set --hostname", "it would be the host's: --uts is host"));
    }
    let sysctls: Vec<Setting> =
        wish.sysctls.iter().map(|s| Setting::parse(s)).collect::<Result<_>>()?;
    if let Some(other) = sysctls.iter().find(|s| !has(s.kind)) {
        let what = format!("set sysctls of {}", other.kind);
        return Err(Error::input(
            what,
            format!("they would be the host's: --{} is host", other.kind),
        ));
    }
    let ports = Publish::parse_all(wish.publish.iter().map(String::as_str))?;
    Ok(Plan { private, networks, ports, sysctls })
}

fn read_net(shim: &Shim, modes: &[Mode]) -> Result<(Vec<Network>, bool)> {
    let what = || "choose the network".to_owned();
    let mut networks: Vec<Network> = Vec::new();
    for mode in modes {
        let alone = modes.len() == 1;
        match mode {
            Mode::Host if alone => return Ok((Vec::new(), false)),
            Mode::None if alone => return Ok((Vec::new(), true)),
            Mode::Host | Mode::None => {
                return Err(Error::input(what(), format!("--net {mode} stands alone")));
            }
            Mode::Private => networks.push(Network::builtin()?),
            Mode::Network(name) => networks.push(conf::find(name, &shim.context.roots)?),
            Mode::Container(_) | Mode::Path(_) => {
                return Err(Error::input(
                    what(),
                    format!("a base has a network namespace of its own; {mode} is another's"),
                )
                .hint("shim join is for those of others"));
            }
        }
    }
    if networks.is_empty() {
        networks.push(Network::builtin()?);
    }
    let mut names: Vec<&str> = networks.iter().map(|n| n.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::input(what(), format!("network {} is named twice", pair[0]))),
        None => Ok((networks, true)),
    }
}
