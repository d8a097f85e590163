//! As an OCI hook: the runtime writes the container's state to stdin.
//!
//! ```text
//!   prestart, createRuntime   status creating (runc) or created (crun), pid  ► attach
//!   poststop                  status stopped, no pid (runc) or pid 0 (crun)  ► detach all
//! ```
//!
//! What a runtime may do wrong, this must survive: crun calls no poststop when
//! a hook failed, so a hook that fails takes back everything itself; either may
//! call it twice, or never.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::{ContainerState, State};

use super::words::WishArgs;
use crate::conf;
use crate::error::{Error, Kind, Result};
use crate::record::Id;
use crate::request::{Wishes, names};
use crate::verbs::{self, Context, Outcome, Target, Wanted};

/// The flags of `netsetup hook`.
#[derive(Args, Debug)]
pub struct HookArgs {
    /// Network by name or file; repeat for several: eth0, eth1, ...
    /// [default: annotation dev.podkeel.network, or bridge]
    #[arg(long, value_name = "NAME|FILE")]
    network: Vec<String>,
    #[command(flatten)]
    wishes: WishArgs,
    /// Ignore the container's annotations: who may write them may not choose networks and ports
    #[arg(long)]
    no_annotations: bool,
    /// Append messages to this file too: crun sends a hook's stderr to /dev/null
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Runs the hook. Messages go to `err` and to the log.
pub fn hook(
    context: &Context,
    args: &HookArgs,
    stdin: &mut dyn Read,
    err: &mut dyn Write,
) -> Result<i32> {
    unblock_signals();
    let result = read_state(stdin).and_then(|state| run(context, args, &state));
    let mut log = args.log.as_ref().and_then(|path| {
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .ok()
    });
    let mut say = |text: &str| {
        let _ = writeln!(err, "netsetup: {text}");
        if let Some(log) = &mut log {
            let _ = writeln!(log, "netsetup hook: {text}");
        }
    };
    match result {
        Ok(warnings) => {
            warnings.iter().for_each(|w| say(&format!("warning: {w}")));
            Ok(0)
        }
        Err(error) => {
            say(&error.to_string());
            Ok(error.kind.exit_code())
        }
    }
}

/// crun runs its hooks with nearly every signal blocked: a hook that hangs
/// could not even be interrupted.
fn unblock_signals() {
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

fn read_state(stdin: &mut dyn Read) -> Result<State> {
    const WHAT: &str = "read the container's state from stdin";
    let mut text = String::new();
    // A state is small; whatever never ends is no state.
    stdin
        .take(STATE_MAX)
        .read_to_string(&mut text)
        .map_err(|e| Error::io(WHAT, &e).kind(Kind::Input))?;
    if text.trim().is_empty() {
        return Err(Error::input(WHAT, "it is empty")
            .hint("netsetup hook is for OCI runtimes; by hand: netsetup add"));
    }
    serde_json::from_str(&text).map_err(|e| Error::input(WHAT, e.to_string()))
}

const STATE_MAX: u64 = 1 << 20;

fn run(context: &Context, args: &HookArgs, state: &State) -> Result<Vec<String>> {
    let id = state.id();
    names::check_name(id)
        .map_err(|why| Error::input(format!("use {id:?} as container id"), why))?;
    let pid = state.pid().filter(|pid| *pid > 0);
    match (state.status(), pid) {
        (ContainerState::Creating | ContainerState::Created, Some(pid)) => {
            attach(context, args, state, pid)
        }
        (ContainerState::Stopped, _) => {
            let bundle = state.bundle().to_string_lossy();
            verbs::del_container(context, id, Some(&bundle)).map(|_| Vec::new())
        }
        (ContainerState::Creating | ContainerState::Created, None) => {
            Err(Error::input(format!("attach container {id}"), "its state has no pid"))
        }
        (status, _) => {
            Err(Error::input(format!("serve container {id}"), format!("its status is {status}"))
                .hint("the hook belongs under prestart or createRuntime, and poststop"))
        }
    }
}

/// Attaches to each network in turn; when one fails, those before it are taken back.
fn attach(context: &Context, args: &HookArgs, state: &State, pid: i32) -> Result<Vec<String>> {
    let all = wanted(context, args, state)?;
    let mut made: Vec<Id> = Vec::new();
    let mut warnings = Vec::new();
    for wanted in &all {
        match Target::of_process(pid).and_then(|target| verbs::add(context, wanted, target)) {
            Ok(Outcome::Added(added)) => {
                made.push(wanted.id());
                warnings.extend(added.warnings);
            }
            // The same hook under prestart and createRuntime: done is done.
            Ok(Outcome::Already(there)) if there.wishes == wanted.wishes => {}
            Ok(Outcome::Already(there)) => {
                let why = "it is attached already, with other ports, addresses or sysctls";
                let error = Error::new(Kind::Taken, format!("attach {}", there.id), why);
                return Err(take_back(context, &made, error));
            }
            Err(error) => return Err(take_back(context, &made, error)),
        }
    }
    Ok(warnings)
}

fn take_back(context: &Context, made: &[Id], mut error: Error) -> Error {
    for id in made.iter().rev() {
        if let Err(second) = verbs::del(context, id) {
            error.why = format!("{}; and taking back {id} failed too: {second}", error.why);
        }
    }
    error
}

/// Networks, interfaces and wishes. What a flag says wins over the annotation
/// for the same thing; ports and addresses go to the first network.
fn wanted(context: &Context, args: &HookArgs, state: &State) -> Result<Vec<Wanted>> {
    let none = std::collections::HashMap::new();
    let annotations = state.annotations().as_ref().filter(|_| !args.no_annotations);
    let asked = Wishes::from_annotations(annotations.unwrap_or(&none))?;
    let flags = args.wishes.wishes()?;
    let wishes = Wishes {
        networks: Vec::new(),
        ports: if flags.ports.is_empty() { asked.ports } else { flags.ports },
        ips: if flags.ips.is_empty() { asked.ips } else { flags.ips },
        mac: flags.mac.or(asked.mac),
        sysctls: if flags.sysctls.is_empty() { asked.sysctls } else { flags.sysctls },
    };
    let mut networks = if args.network.is_empty() { asked.networks } else { args.network.clone() };
    if networks.is_empty() {
        networks.push("bridge".into());
    }
    let mut all: Vec<Wanted> = Vec::new();
    for (i, name) in networks.iter().enumerate() {
        let network = conf::find(name, &context.roots)?;
        if all.iter().any(|w| w.network.name == network.name) {
            let what = format!("attach container {}", state.id());
            return Err(Error::input(what, format!("network {} is named twice", network.name)));
        }
        let wishes = if i == 0 { wishes.clone() } else { Wishes::default() };
        let container = state.id().clone();
        all.push(Wanted {
            network,
            container,
            ifname: format!("eth{i}"),
            wishes,
            default_route: i == 0,
            bundle: Some(state.bundle().to_string_lossy().into_owned()),
            part: None,
        });
    }
    Ok(all)
}
