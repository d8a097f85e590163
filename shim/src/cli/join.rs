//! `shim join`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use podkeel_netsetup::error::{Error, Result};
use podkeel_netsetup::kernel::NsKind;

use crate::ns::Mode;
use crate::verb::join::Wish;
use crate::{bundle, member};

/// The words of `shim join`.
#[derive(Args, Debug)]
pub(super) struct JoinArgs {
    /// Network namespace: container:NAME, ns:PATH, none (an empty one), or host [default: host,
    /// or as config.json of a bundle has it; so are the next three]
    #[arg(long, visible_alias = "network", value_name = "MODE")]
    net: Option<Mode>,
    /// Ipc namespace: container:NAME, ns:PATH, private, or host
    #[arg(long, value_name = "MODE")]
    ipc: Option<Mode>,
    /// Pid namespace: container:NAME, ns:PATH, private, or host
    #[arg(long, value_name = "MODE")]
    pid: Option<Mode>,
    /// Host name: container:NAME, ns:PATH, private, or host
    #[arg(long, value_name = "MODE")]
    uts: Option<Mode>,
    /// Mounts of its own, with the pod's /proc and /dev/shm on them; or the host's as they are
    #[arg(long, value_enum, default_value = "private", conflicts_with = "bundle")]
    mnt: Mounts,
    /// Leave once it runs, keep its output in a log, and print its name
    #[arg(short, long)]
    detach: bool,
    /// Its name; in the foreground, a program without a name isn't listed by ps
    #[arg(long)]
    name: Option<String>,
    /// Forget it when it has ended
    #[arg(long)]
    rm: bool,
    /// Set a variable: KEY=VALUE, or KEY for the value that it has here
    #[arg(short, long, value_name = "KEY=VALUE", conflicts_with = "bundle")]
    env: Vec<OsString>,
    /// Working directory
    #[arg(short, long, value_name = "DIR", conflicts_with = "bundle")]
    workdir: Option<PathBuf>,
    /// User, and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]", conflicts_with = "bundle")]
    user: Option<String>,
    /// Not a program, but the container of an OCI bundle: a runtime runs it, with the chosen
    /// namespaces in a copy of its config.json
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// The runtime [default: runc, or crun where there is no runc]
    #[arg(long, value_name = "NAME|PATH")]
    runtime: Option<String>,
    /// The program, and its words
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        required_unless_present = "bundle",
        conflicts_with = "bundle"
    )]
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
        let chosen = kinds.into_iter().zip([self.net, self.ipc, self.pid, self.uts]);
        let modes: BTreeMap<NsKind, Mode> =
            chosen.filter_map(|(kind, mode)| Some((kind, mode?))).collect();
        if self.rm && self.name.is_none() && !self.detach && self.bundle.is_none() {
            let what = "use --rm";
            return Err(Error::input(what, "one in the foreground without --name has no record"));
        }
        // clap doesn't ask for --bundle where CMD is, which excludes it.
        if self.runtime.is_some() && self.bundle.is_none() {
            return Err(Error::input(
                "use --runtime",
                "it runs a bundle, and there is no --bundle",
            ));
        }
        Ok(match self.bundle {
            Some(bundle) => Wish::Bundle(bundle::Wish {
                name: self.name,
                modes,
                detach: self.detach,
                remove: self.rm,
                bundle,
                runtime: self.runtime,
            }),
            None => Wish::Program(member::Wish {
                name: self.name,
                modes,
                mounts: self.mnt == Mounts::Private,
                detach: self.detach,
                remove: self.rm,
                words: self.words,
                env: self.env,
                workdir: self.workdir,
                user: self.user,
            }),
        })
    }
}
