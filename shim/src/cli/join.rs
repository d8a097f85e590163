//! `shim join`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use podkeel_netsetup::error::{Error, Result};
use podkeel_netsetup::kernel::NsKind;

use crate::member::Wish;
use crate::ns::Mode;

/// The words of `shim join`.
#[derive(Args, Debug)]
pub(super) struct JoinArgs {
    /// Network namespace: container:NAME, ns:PATH, none (an empty one), or host
    #[arg(long, visible_alias = "network", value_name = "MODE", default_value = "host")]
    net: Mode,
    /// Ipc namespace: container:NAME, ns:PATH, private, or host
    #[arg(long, value_name = "MODE", default_value = "host")]
    ipc: Mode,
    /// Pid namespace: container:NAME, ns:PATH, private, or host
    #[arg(long, value_name = "MODE", default_value = "host")]
    pid: Mode,
    /// Host name: container:NAME, ns:PATH, private, or host
    #[arg(long, value_name = "MODE", default_value = "host")]
    uts: Mode,
    /// Mounts of its own, with the pod's /proc and /dev/shm on them; or the host's as they are
    #[arg(long, value_enum, default_value = "private")]
    mnt: Mounts,
    /// Leave once it runs, keep its output in a log, and print its name
    #[arg(short, long)]
    detach: bool,
    /// Its name; in the foreground, one without a name isn't listed by ps
    #[arg(long)]
    name: Option<String>,
    /// Forget it when it has ended
    #[arg(long)]
    rm: bool,
    /// Set a variable: KEY=VALUE, or KEY for the value that it has here
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<OsString>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// User, and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The program, and its words
    #[arg(value_name = "CMD", trailing_var_arg = true, required = true)]
    words: Vec<OsString>,
}

/// Which mounts a member sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mounts {
    Private,
    Host,
}

impl JoinArgs {
    pub(super) fn into_wish(self) -> Result<Wish> {
        let kinds = [NsKind::Net, NsKind::Ipc, NsKind::Pid, NsKind::Uts];
        let modes: BTreeMap<NsKind, Mode> =
            kinds.into_iter().zip([self.net, self.ipc, self.pid, self.uts]).collect();
        if self.rm && self.name.is_none() && !self.detach {
            let what = "use --rm";
            return Err(Error::input(what, "one in the foreground without --name has no record"));
        }
        Ok(Wish {
            name: self.name,
            modes,
            mounts: self.mnt == Mounts::Private,
            detach: self.detach,
            remove: self.rm,
            words: self.words,
            env: self.env,
            workdir: self.workdir,
            user: self.user,
        })
    }
}
