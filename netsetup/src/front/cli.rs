//! By hand: words to verbs, answers to tables or JSON.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::{Value, json};

use super::words::{AttachArgs, FormatArgs, NameArgs, check_words, container, pod, target};
pub use super::words::{Format, WishArgs};
use super::{chain, ns, oci, show};
use crate::conf::{self, Chain, Found, Network};
use crate::error::{Error, Kind, Result};
use crate::record::Id;
use crate::request::names;
use crate::roots::Roots;
use crate::verbs::{self, Context, Outcome, Target, Wanted};

/// Exit codes, as help shows them.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 the kernel or the disk refused; 2 bad words, configuration or \
state; 3 check found differences; 4 taken, or none left; 5 no such network, namespace, process or attachment; \
6 permission is missing; 7 this kernel lacks a feature; 128+N ended by signal N, rolled back.";

/// Attaches pods to networks, in raw netlink.
#[derive(Parser, Debug)]
#[command(name = "netsetup", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    roots: RootFlags,
    #[command(subcommand)]
    verb: Verb,
}

/// The command line as data: for completions and man pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Where state lives.
#[derive(Args, Clone, Debug, Default)]
pub struct RootFlags {
    /// Records of attachments [env: PODKEEL_RUN_DIR] [default: /run/podkeel]
    #[arg(long, global = true, value_name = "DIR", help_heading = "State")]
    run_dir: Option<PathBuf>,
    /// Named network namespaces [env: PODKEEL_NETNS_DIR] [default: /run/netns]
    #[arg(long, global = true, value_name = "DIR", help_heading = "State")]
    netns_dir: Option<PathBuf>,
    /// Leases of host-local [env: PODKEEL_LEASE_DIR] [default: /var/lib/cni/networks]
    #[arg(long, global = true, value_name = "DIR", help_heading = "State")]
    lease_dir: Option<PathBuf>,
    /// Network lists; repeat for several, an earlier one wins [env: PODKEEL_CONF_DIR, separated by colons]
    /// [default: /etc/podkeel/net.d, /etc/cni/net.d]
    #[arg(long, global = true, value_name = "DIR", help_heading = "State")]
    conf_dir: Vec<PathBuf>,
}

impl RootFlags {
    /// The defaults, then the environment, then these flags.
    pub fn roots(self) -> Roots {
        let mut roots = Roots::from_env();
        let one = |flag: Option<PathBuf>, slot: &mut PathBuf| {
            if let Some(dir) = flag {
                *slot = dir;
            }
        };
        one(self.run_dir, &mut roots.run);
        one(self.netns_dir, &mut roots.netns);
        one(self.lease_dir, &mut roots.leases);
        if !self.conf_dir.is_empty() {
            roots.conf = self.conf_dir;
        }
        roots
    }
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Attach a pod to a network, and print the CNI result
    Add(AttachArgs),
    /// Take an attachment away; one that isn't there is no error
    Del(NameArgs),
    /// Compare an attachment with what was made, object by object
    Check(NameArgs),
    /// Say what add would do, and from which file the network comes
    Explain(AttachArgs),
    /// Take away what nobody uses any more
    Gc(GcArgs),
    /// Draw what is attached to what
    Map(FormatArgs),
    /// Make, list, enter and remove network namespaces with names, as ip netns does
    Ns(ns::NsArgs),
    /// Lay down the names of the CNI plugins: links to this program
    Install {
        /// The directory that runtimes look for plugins in, as /opt/cni/bin
        dir: PathBuf,
    },
    /// Attach or detach as an OCI hook: the container's state on stdin
    Hook(oci::HookArgs),
}

#[derive(Args, Debug)]
struct GcArgs {
    /// Only say what would be taken away, and why
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs netsetup with these words. Returns the exit code. `out` gets the
/// answers, `err` messages.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let _ = write!(err, "{error}");
            return Kind::Input.exit_code();
        }
        Err(help) => {
            let _ = write!(out, "{help}");
            return 0;
        }
    };
    let context = Context::new(cli.roots.roots()).calling(super::cni::call);
    // A program that takes netsetup's place gets the signals as they came.
    let rolls_back = !matches!(&cli.verb, Verb::Ns(args) if args.is_exec());
    for signal in [libc::SIGINT, libc::SIGTERM].into_iter().filter(|_| rolls_back) {
        // Where it can't be had, the signal's default stays: death, and then gc.
        let _ =
            signal_hook::flag::register_usize(signal, Arc::clone(&context.signal), signal as usize);
    }
    match dispatch(&context, cli.verb, out, err) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(err, "netsetup: {error}");
            error.kind.exit_code()
        }
    }
}

fn dispatch(
    context: &Context,
    verb: Verb,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<i32> {
    match verb {
        Verb::Add(args) => add(context, &args, out, err),
        Verb::Explain(args) => explain(context, &args, out, err),
        Verb::Del(args) => del(context, &args, out),
        Verb::Check(args) => check(context, &args, out),
        Verb::Gc(args) => gc(context, &args, out),
        Verb::Map(args) => map(context, args, out),
        Verb::Ns(args) => ns::run(context, &args, out, err),
        Verb::Install { dir } => install(&dir, out),
        Verb::Hook(args) => oci::hook(context, &args, &mut std::io::stdin().lock(), err),
    }
}

fn add(
    context: &Context,
    args: &AttachArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<i32> {
    let (wanted, target) = match find(context, args)? {
        Found::Ours(network) => wanted(context, args, *network)?,
        Found::Mixed(list) => return chain::add(context, args, list, out),
    };
    let added = match verbs::add(context, &wanted, target)? {
        Outcome::Added(added) => added,
        Outcome::Already(there) => {
            return Err(Error::new(
                Kind::Taken,
                format!("add {}", there.id),
                "it is attached already",
            )
            .hint("netsetup check says whether it is whole; netsetup del takes it away"));
        }
    };
    warn(err, &added.warnings);
    let printed = match args.name.format.or(Format::Json) {
        Format::Json => print_json(out, &added.attachment.result),
        Format::Table => print(out, &show::attachment(&added.attachment)),
    };
    // Whoever doesn't get the answer takes it for a failure: then it is one.
    if let Err(error) = printed {
        verbs::del(context, &added.attachment.id)?;
        return Err(error);
    }
    Ok(0)
}

fn explain(
    context: &Context,
    args: &AttachArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<i32> {
    let (wanted, target) = match find(context, args)? {
        Found::Ours(network) => wanted(context, args, *network)?,
        Found::Mixed(list) => return chain::explain(args, list, out),
    };
    let prepared = verbs::explain(context, &wanted, target)?;
    warn(err, &prepared.warnings);
    match args.name.format.or(Format::Table) {
        Format::Json => print_json(out, &show::plan_json(&wanted, &prepared))?,
        Format::Table => print(out, &show::plan(&wanted, &prepared))?,
    }
    Ok(0)
}

fn del(context: &Context, args: &NameArgs, out: &mut dyn Write) -> Result<i32> {
    let (id, list) = name(context, args)?;
    let deleted = match (verbs::chain::whole(context, &id), list) {
        (Some(whole), _) => verbs::del(context, &whole)?,
        (None, Some(list)) => {
            let netns = target(args).ok().flatten().map(|target| target.netns.path);
            verbs::chain::del_unrecorded(context, &list, &id, &netns.unwrap_or_default())?;
            verbs::Deleted::Absent
        }
        (None, None) => verbs::del(context, &id)?,
    };
    if args.format.or(Format::Table) == Format::Json {
        print_json(
            out,
            &json!({"attachment": id.to_string(), "found": deleted != verbs::Deleted::Absent}),
        )?;
    }
    Ok(0)
}

fn check(context: &Context, args: &NameArgs, out: &mut dyn Write) -> Result<i32> {
    let (id, _) = name(context, args)?;
    if let Some(whole) = verbs::chain::whole(context, &id) {
        return chain::check(context, &whole, args.format, out);
    }
    let checked = verbs::check(context, &id)?;
    match args.format.or(Format::Table) {
        Format::Json => print_json(out, &show::checked_json(&checked))?,
        Format::Table => print(out, &show::checked(&checked))?,
    }
    Ok(if checked.ok() { 0 } else { Kind::Differs.exit_code() })
}

fn gc(context: &Context, args: &GcArgs, out: &mut dyn Write) -> Result<i32> {
    let found = verbs::gc::gc(context, args.dry_run)?;
    match args.format.or(Format::Table) {
        Format::Json => print_json(out, &show::gc_json(&found))?,
        Format::Table => print(out, &show::gc(&found, args.dry_run))?,
    }
    let failed = found.orphans.iter().any(|o| matches!(o.removed, Some(Err(_))));
    Ok(if failed { Kind::Failed.exit_code() } else { 0 })
}

fn install(dir: &Path, out: &mut dyn Write) -> Result<i32> {
    let program =
        std::env::current_exe().map_err(|e| Error::io("find the file of this program", &e))?;
    for place in super::install::install(&program, dir)? {
        print(out, &format!("{}\n", place.display()))?;
    }
    Ok(0)
}

fn map(context: &Context, format: FormatArgs, out: &mut dyn Write) -> Result<i32> {
    let map = verbs::map::map(context)?;
    match format.or(Format::Table) {
        Format::Json => print_json(out, &serde_json::to_value(&map).unwrap_or(Value::Null))?,
        Format::Table => print(out, &map.to_text())?,
    }
    Ok(0)
}

/// The network, by its name or file.
fn find(context: &Context, args: &AttachArgs) -> Result<Found> {
    conf::find_any(&args.name.network, &context.roots, &args.name.plugin_path()?)
}

fn wanted(context: &Context, args: &AttachArgs, network: Network) -> Result<(Wanted, Target)> {
    let wishes = args.wishes.wishes()?;
    let (target, container) = pod(context, &args.name)?;
    let ifname = args.name.ifname.clone();
    Ok((
        Wanted {
            network,
            container,
            ifname,
            wishes,
            default_route: true,
            bundle: None,
            part: None,
        },
        target,
    ))
}

/// An attachment by name: its namespace may be long gone. And its network's list, where
/// that has plugins of others.
fn name(context: &Context, args: &NameArgs) -> Result<(Id, Option<Chain>)> {
    check_words(args)?;
    let mut list = None;
    let network = match conf::find_any(&args.network, &context.roots, &args.plugin_path()?) {
        Ok(Found::Ours(network)) => network.name,
        Ok(Found::Mixed(chain)) => list.insert(chain).name.clone(),
        // The list may be gone too: then the name is all there is, and all it takes.
        Err(e) if e.kind == Kind::Missing && names::check_name(&args.network).is_ok() => {
            args.network.clone()
        }
        Err(e) => return Err(e),
    };
    let container = container(context, args, target(args).ok().flatten().as_ref())?;
    Ok((Id { network, container, ifname: args.ifname.clone(), part: String::new() }, list))
}

pub(super) fn warn(err: &mut dyn Write, warnings: &[String]) {
    for warning in warnings {
        let _ = writeln!(err, "netsetup: warning: {warning}");
    }
}

pub(super) fn print(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Error::io("print the answer", &e))
}

pub(super) fn print_json(out: &mut dyn Write, value: &Value) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    print(out, &text)
}
