//! `netsetup ns`: names for network namespaces, as `ip netns` keeps them.

mod exec;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::cli::{print, print_json, warn};
use super::show;
use super::words::{Format, FormatArgs};
use crate::error::Result;
use crate::pins::State;
use crate::roots::Roots;
use crate::verbs::ns::{self, Named};
use crate::verbs::{Context, Target};

/// What to do with named network namespaces.
#[derive(Args, Debug)]
pub(super) struct NsArgs {
    #[command(subcommand)]
    verb: NsVerb,
}

#[derive(Subcommand, Debug)]
enum NsVerb {
    /// Make a network namespace with a name
    Add(NameArg),
    /// List the names, and what they lead to
    List(FormatArgs),
    /// Run a program in a namespace, in netsetup's place
    ///
    /// /sys is that of the namespace, and each file in /etc/netns/NAME is bound over the one of its name in /etc.
    /// 126: the program can't be run; 127: there is none.
    Exec(ExecArgs),
    /// List the processes in a namespace
    Pids(PidsArgs),
    /// Print the names of a process's network namespace
    Identify(IdentifyArgs),
    /// Give a name to the network namespace of a container
    Attach(AttachArgs),
    /// Take a name away; the namespace goes with its last name and process
    Delete(NameArg),
}

#[derive(Args, Debug)]
struct NameArg {
    /// The namespace's name
    name: String,
}

#[derive(Args, Debug)]
struct ExecArgs {
    /// The namespace's name
    name: String,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Args, Debug)]
struct PidsArgs {
    /// The namespace's name
    name: String,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Debug)]
struct IdentifyArgs {
    /// The process [default: netsetup itself]
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Debug)]
struct AttachArgs {
    /// The name to give
    name: String,
    #[command(flatten)]
    which: WhichArgs,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// The namespace, as a path
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
    /// The namespace, by a process in it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
}

impl NsArgs {
    /// Whether another program is to take netsetup's place: it gets the signals as they came.
    pub(super) fn is_exec(&self) -> bool {
        matches!(self.verb, NsVerb::Exec(_))
    }
}

/// Does it, and returns the exit code.
pub(super) fn run(
    context: &Context,
    args: &NsArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<i32> {
    let Roots { netns: dir, .. } = &context.roots;
    match &args.verb {
        NsVerb::Add(NameArg { name }) => ns::add(dir, name)?,
        NsVerb::Delete(NameArg { name }) => ns::delete(dir, name)?,
        NsVerb::Attach(AttachArgs { name, which }) => {
            crate::pins::check_new(name)?;
            let target = match (&which.netns, which.pid) {
                (Some(path), _) => Target::of_path(path)?,
                (None, pid) => Target::of_process(pid.unwrap_or_default())?,
            };
            ns::attach(dir, name, &target.netns)?;
        }
        NsVerb::List(format) => list(context, *format, out, err)?,
        NsVerb::Pids(args) => pids(context, args, out, err)?,
        NsVerb::Identify(args) => identify(context, args, out)?,
        NsVerb::Exec(args) => {
            let netns = ns::open(dir, &args.name)?;
            let mut say = |warning: String| warn(err, &[warning]);
            exec::enter(&netns, &args.name, &mut say)?;
            return Ok(exec::exec(&args.command, err));
        }
    }
    Ok(0)
}

fn list(
    context: &Context,
    format: FormatArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<()> {
    let (named, hidden) = ns::list(&context.roots.netns)?;
    unseen(err, hidden);
    match format.or(Format::Table) {
        Format::Json => print_json(out, &json!(named)),
        Format::Table => {
            let rows: Vec<Vec<String>> = named.iter().map(row).collect();
            let head = ["NAME", "NAMESPACE", "PROCESSES", "MADE BY"];
            print(out, &show::table(&head, &rows))
        }
    }
}

fn row(named: &Named) -> Vec<String> {
    let leads_to = match &named.entry.state {
        State::Namespace(id) => id.to_string(),
        State::Nothing(why) => format!("none: {why}"),
    };
    let processes = named.processes.map_or("-".into(), |n| n.to_string());
    let owner = named.entry.owner.as_deref().unwrap_or("-");
    vec![printable(&named.entry.name), leads_to, processes, printable(owner)]
}

/// Bare numbers, as `ip netns pids` prints them: they go into other commands.
fn pids(
    context: &Context,
    args: &PidsArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<()> {
    let (members, hidden) = ns::pids(&ns::open(&context.roots.netns, &args.name)?)?;
    unseen(err, hidden);
    match args.format.or(Format::Table) {
        Format::Json => print_json(out, &json!(members)),
        Format::Table => {
            print(out, &members.iter().map(|m| format!("{}\n", m.pid)).collect::<String>())
        }
    }
}

/// Bare names, as `ip netns identify` prints them.
fn identify(context: &Context, args: &IdentifyArgs, out: &mut dyn Write) -> Result<()> {
    let identity = ns::identify(&context.roots.netns, args.pid)?;
    match args.format.or(Format::Table) {
        Format::Json => print_json(out, &json!(identity)),
        Format::Table => {
            let lines = identity.names.iter().map(|name| printable(name) + "\n");
            print(out, &lines.collect::<String>())
        }
    }
}

fn unseen(err: &mut dyn Write, hidden: usize) {
    if hidden > 0 {
        warn(err, &[format!("processes that may not be looked at, and are not counted: {hidden}")]);
    }
}

/// A name can hold what would move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}
