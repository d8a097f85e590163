//! `shim run`.

use std::ffi::OsString;

use clap::Args;
use podkeel_netsetup::error::{Error, Result};

use crate::base::Wish;
use crate::ns::Mode;
use crate::record;

/// The words of `shim run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Leave once it runs, and print its name
    #[arg(short, long)]
    detach: bool,
    /// Its name [default: pod-XXXXXX]
    #[arg(long)]
    name: Option<String>,
    /// Network: a name or the file of its list; or none, or host. Repeat for several: eth0, eth1, ...
    /// [default: bridge]
    #[arg(long = "net", visible_alias = "network", value_name = "NET")]
    net: Vec<Mode>,
    /// Its own ipc namespace, or the host's
    #[arg(long, value_name = "private|host", default_value = "private")]
    ipc: Mode,
    /// Its own pid namespace, or the host's
    #[arg(long, value_name = "private|host", default_value = "private")]
    pid: Mode,
    /// Its own host name, or the host's
    #[arg(long, value_name = "private|host", default_value = "private")]
    uts: Mode,
    /// Publish a port on the host: [hostIP:]hostPort:containerPort[/udp]; ranges too
    #[arg(short = 'p', long = "publish", value_name = "SPEC")]
    publish: Vec<String>,
    /// Sysctl of the pod's net or ipc namespace, set before anything runs in it
    #[arg(long, value_name = "KEY=VALUE")]
    sysctl: Vec<String>,
    /// Host name
    #[arg(long, short = 'H', value_name = "NAME")]
    hostname: Option<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", default_value = "64m")]
    shm_size: String,
    /// No process at all: the namespaces are pinned, and that is the pod
    #[arg(long, conflicts_with = "command")]
    no_pause: bool,
    /// A command that pause runs as the pod's init; the pod ends when it does. Flags of
    /// pause may stand before it, with a second `--` behind them
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What `shim run` is asked for.
#[derive(Debug)]
pub struct Run {
    /// The base.
    pub base: Wish,
    /// Whether shim leaves once it runs.
    pub detach: bool,
}

impl RunArgs {
    pub(super) fn into_wish(self) -> Result<Run> {
        let name = record::name_or(self.name.as_ref(), "pod")?;
        if let Some(hostname) = &self.hostname {
            check_hostname(hostname)?;
        }
        if !self.shm_size.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'%')
            || self.shm_size.is_empty()
        {
            let what = format!("use {:?} as --shm-size", self.shm_size);
            return Err(Error::input(what, "it is a number, with k, m or g behind it"));
        }
        let base = Wish {
            name,
            net: self.net,
            ipc: self.ipc,
            pid: self.pid,
            uts: self.uts,
            publish: self.publish,
            sysctls: self.sysctl,
            hostname: self.hostname,
            pause: !self.no_pause,
            command: self.command,
            log: self.detach,
            shm_size: self.shm_size,
        };
        Ok(Run { base, detach: self.detach || self.no_pause })
    }
}

/// The kernel takes 64 bytes of anything; programs expect a host name.
fn check_hostname(name: &str) -> Result<()> {
    let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if name.is_empty() || name.len() > HOST_NAME_MAX || !good {
        let why = "it is 1 to 64 letters, digits, '-', '.', '_'";
        return Err(Error::input(format!("use {name:?} as --hostname"), why));
    }
    Ok(())
}

/// Longest host name, in bytes. Source: linux/utsname.h, __NEW_UTS_LEN.
const HOST_NAME_MAX: usize = 64;
