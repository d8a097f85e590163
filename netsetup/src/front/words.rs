//! The words of a command line that say which attachment, and what is asked for.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::error::{Error, Result};
use crate::request::{Mac, Publish, SysctlSetting, Wishes, names};
use crate::verbs::{Context, Target};

/// Where runtimes look for plugins.
const PLUGIN_DIRS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];

#[derive(Args, Debug)]
pub(super) struct AttachArgs {
    #[command(flatten)]
    pub(super) name: NameArgs,
    #[command(flatten)]
    pub(super) wishes: WishArgs,
}

#[derive(Args, Debug)]
pub(super) struct NameArgs {
    /// A network's name, or the file of its list
    pub(super) network: String,
    /// The pod's network namespace, as a path
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    netns: Option<PathBuf>,
    /// The pod's network namespace, by a process in it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    /// Container id [default: the namespace's name, or net-INODE]
    #[arg(long)]
    id: Option<String>,
    /// Interface in the pod
    #[arg(long, default_value = "eth0")]
    pub(super) ifname: String,
    /// Where plugins of others are that the network's list names; repeat for several
    /// [env: CNI_PATH, separated by colons] [default: /opt/cni/bin, /usr/lib/cni]
    #[arg(long, value_name = "DIR")]
    plugin_dir: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

/// What a caller asks for beyond the network's list.
#[derive(Args, Clone, Debug, Default)]
pub struct WishArgs {
    /// Publish a port: [hostIP:]hostPort:containerPort[/udp]; ranges too
    #[arg(short = 'p', long = "publish", value_name = "SPEC")]
    publish: Vec<String>,
    /// Address to have
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<std::net::IpAddr>,
    /// Link-layer address to have
    #[arg(long, value_name = "MAC")]
    mac: Option<String>,
    /// Sysctl of the pod's network, KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    sysctl: Vec<String>,
}

impl WishArgs {
    /// Parses them all.
    pub fn wishes(&self) -> Result<Wishes> {
        let mac = self.mac.as_deref().map(|text| {
            let mac: std::result::Result<Mac, String> = text.parse();
            mac.and_then(Mac::unicast)
                .map_err(|why| Error::input(format!("use {text:?} as --mac"), why))
        });
        Ok(Wishes {
            networks: Vec::new(),
            ports: Publish::parse_all(self.publish.iter().map(String::as_str))?,
            ips: self.ip.clone(),
            mac: mac.transpose()?,
            sysctls: self.sysctl.iter().map(|s| SysctlSetting::parse(s)).collect::<Result<_>>()?,
        })
    }
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct FormatArgs {
    /// How to print the answer [default: json for add, table for all else]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl FormatArgs {
    pub(super) fn or(self, default: Format) -> Format {
        self.format.unwrap_or(default)
    }
}

impl NameArgs {
    /// CNI_PATH: what is said, else the environment's, else where runtimes look. Absolute,
    /// for a record of it is read in another directory.
    pub(super) fn plugin_path(&self) -> Result<String> {
        let env = std::env::var_os("CNI_PATH").filter(|path| !path.is_empty());
        let dirs: Vec<PathBuf> = match (&self.plugin_dir[..], env) {
            ([], None) => PLUGIN_DIRS.map(PathBuf::from).to_vec(),
            ([], Some(path)) => std::env::split_paths(&path).collect(),
            (said, _) => said.to_vec(),
        };
        let wrong = |why: String| Error::input("use --plugin-dir or CNI_PATH", why);
        let named = dirs.iter().filter(|dir| !dir.as_os_str().is_empty());
        let dirs: Vec<PathBuf> = named
            .map(std::path::absolute)
            .collect::<std::io::Result<_>>()
            .map_err(|e| wrong(e.to_string()))?;
        let path = std::env::join_paths(dirs).map_err(|e| wrong(e.to_string()))?;
        path.into_string().map_err(|path| wrong(format!("{path:?} is not UTF-8")))
    }
}

/// The pod, and its container's id.
pub(super) fn pod(context: &Context, args: &NameArgs) -> Result<(Target, String)> {
    check_words(args)?;
    let Some(target) = target(args)? else {
        return Err(Error::input("find the pod", "neither --netns nor --pid is given"));
    };
    let container = container(context, args, Some(&target))?;
    Ok((target, container))
}

pub(super) fn check_words(args: &NameArgs) -> Result<()> {
    names::check_ifname(&args.ifname)
        .map_err(|why| Error::input(format!("use {:?} as --ifname", args.ifname), why))?;
    match &args.id {
        Some(id) => {
            names::check_name(id).map_err(|why| Error::input(format!("use {id:?} as --id"), why))
        }
        None => Ok(()),
    }
}

pub(super) fn target(args: &NameArgs) -> Result<Option<Target>> {
    match (&args.netns, args.pid) {
        (Some(path), _) => Target::of_path(path).map(Some),
        (None, Some(pid)) => Target::of_process(pid).map(Some),
        (None, None) => Ok(None),
    }
}

/// The container's id: what is said; else the name under which `ip netns`
/// knows the namespace; else its inode number, as lsns shows it.
pub(super) fn container(
    context: &Context,
    args: &NameArgs,
    target: Option<&Target>,
) -> Result<String> {
    if let Some(id) = &args.id {
        return Ok(id.clone());
    }
    if let Some(path) = &args.netns {
        let dirs =
            [context.roots.netns.as_path(), Path::new("/run/netns"), Path::new("/var/run/netns")];
        let named = path.parent().is_some_and(|parent| dirs.contains(&parent));
        if let Some(name) = path.file_name().filter(|_| named) {
            let name = name.to_string_lossy().into_owned();
            return match names::check_name(&name) {
                Ok(()) => Ok(name),
                Err(why) => Err(Error::input(format!("use {name:?} as container id"), why)
                    .hint("give one with --id")),
            };
        }
    }
    match target {
        Some(target) => Ok(format!("net-{}", target.netns.inode)),
        None => Err(Error::input(
            "find the attachment",
            "the namespace isn't there, and no --id says which it was",
        )),
    }
}
