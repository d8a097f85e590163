//! Words to verbs.

#[cfg(feature = "image")]
pub(crate) mod image;
mod join;
mod life;
mod run;

use std::ffi::OsString;
use std::io::stdout;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use podkeel_netsetup::error::{Error, Kind, Result};
use podkeel_netsetup::front::cli::{self as netsetup, RootFlags};
use podkeel_netsetup::front::cni;
use podkeel_netsetup::record::boot_id;
use podkeel_netsetup::verbs::Context;

use crate::enter::Refused;
use crate::{Carried, Shim, monitor, verb};

pub use run::Run;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the kernel or the disk refused; 2 bad words; 4 taken; 5 no such container, process or \
network; 6 permission is missing; 7 this kernel lacks a feature; 128+N ended by signal N, rolled back.
Of run and join: 125 shim itself failed; 126 the program can't be executed; 127 it isn't there; else the \
program's own, 128+N if signal N ended it.";

/// Pods from nothing but a kernel.
#[derive(Parser, Debug)]
#[command(name = "shim", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    roots: RootFlags,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Start a base: pause as the first process of a pod, with the pod's networks and ports
    Run(run::RunArgs),
    /// Run a program in a pod
    Join(join::JoinArgs),
    /// List pods: each base with its members
    Ps(life::PsArgs),
    /// Show all that is known of containers, as JSON
    Inspect(life::NamesArgs),
    /// Give a base that ended a new pause; its namespaces are still those of its members
    Start(life::NamesArgs),
    /// End containers: TERM, a grace, KILL; of a base also the members in its pid namespace
    Stop(life::StopArgs),
    /// Send a signal
    Kill(life::KillArgs),
    /// Wait for the end, and print the exit codes
    Wait(life::NamesArgs),
    /// Print what a detached container wrote
    Logs(life::LogsArgs),
    /// Give a container another name
    Rename(life::RenameArgs),
    /// Take containers away
    Rm(life::RmArgs),
    #[cfg(feature = "image")]
    Image(image::ImageArgs),
    /// Write the bundles of oci-bundles/ to a folder: a base per kind of network, what joins it
    Bundles {
        /// The folder
        dir: PathBuf,
        /// netsetup, as their hooks name it
        #[arg(long, value_name = "PATH", default_value = "/usr/local/bin/netsetup")]
        netsetup: PathBuf,
    },
    /// Print what a shell needs to complete the words of shim, or of netsetup
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Completed,
        /// Whose words
        #[arg(value_enum, long, default_value_t = Program::Shim)]
        program: Program,
    },
    /// Write the man pages of shim and netsetup; without a folder, print shim's first
    Man {
        /// The folder, as /usr/local/share/man/man1
        dir: Option<PathBuf>,
    },
    /// What a monitor becomes when its container has ended
    #[command(name = monitor::VERB, hide = true)]
    Ended(life::EndedArgs),
    /// Show the main job: a pod of three behind a published port, reached from another host, and taken away
    ///
    /// All of it happens in user, pid, network and mount namespaces of its own:
    /// no root is needed, and nothing of the machine is touched.
    Demo,
    /// A program of the demo's pod
    #[command(hide = true)]
    DemoPart {
        /// web or app
        name: String,
    },
}

/// A shell that completes words.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Completed {
    Bash,
    Zsh,
    Fish,
}

/// A program with a command line of its own.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Program {
    Shim,
    Netsetup,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::Shim => "shim",
            Program::Netsetup => "netsetup",
        }
    }

    fn command(self) -> clap::Command {
        match self {
            Program::Shim => Cli::command(),
            Program::Netsetup => netsetup::command(),
        }
    }
}

/// Runs shim with these words, and with the programs that it carries. Returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, carried: Carried) -> i32 {
    let cli = match parse(args.into_iter().collect()) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Kind::Input.exit_code() } else { 0 };
        }
    };
    match cli.verb {
        Verb::Demo => return verb::demo::run(carried),
        Verb::DemoPart { name } => return verb::demo::part::run(&name),
        Verb::Completions { shell, program } => {
            let shell = match shell {
                Completed::Bash => Shell::Bash,
                Completed::Zsh => Shell::Zsh,
                Completed::Fish => Shell::Fish,
            };
            let (name, command) = (program.name(), program.command());
            return told(verb::words::completions(name, &command, shell, &mut stdout()));
        }
        Verb::Bundles { dir, netsetup } => return told(verb::bundles::write(&dir, &netsetup)),
        Verb::Man { dir } => {
            let programs = vec![Program::Shim.command(), Program::Netsetup.command()];
            return told(verb::words::man(programs, dir.as_deref(), &mut stdout()));
        }
        #[cfg(feature = "image")]
        Verb::Image(args) => return told(verb::image::run(carried, args.verb)),
        _ => {}
    }
    let starts = matches!(cli.verb, Verb::Run(_) | Verb::Join(_));
    let done =
        shim(cli.roots, carried).map_err(Failed::Error).and_then(|shim| dispatch(&shim, cli.verb));
    match done {
        Ok(code) => code,
        Err(Failed::Refused(refused)) => {
            eprintln!("shim: {}", refused.why);
            i32::from(refused.code)
        }
        Err(Failed::Error(error)) => {
            eprintln!("shim: {error}");
            match error.kind {
                Kind::Interrupted(_) => error.kind.exit_code(),
                _ if starts => i32::from(Refused::OWN),
                kind => kind.exit_code(),
            }
        }
    }
}

/// The exit code of what needed no state; an error is printed.
fn told(done: Result<i32>) -> i32 {
    done.unwrap_or_else(|error| {
        eprintln!("shim: {error}");
        error.kind.exit_code()
    })
}

/// `shim join` by itself: to build the words of all verbs takes longer than to join.
#[derive(Parser, Debug)]
#[command(name = "shim join", bin_name = "shim join", after_help = EXIT_CODES, max_term_width = 100)]
#[command(about = "Run a program in a pod")]
struct OnlyJoin {
    #[command(flatten)]
    roots: RootFlags,
    #[command(flatten)]
    join: join::JoinArgs,
}

fn parse(mut args: Vec<OsString>) -> std::result::Result<Cli, clap::Error> {
    if args.get(1).is_some_and(|word| word == "join") {
        args.remove(0);
        return OnlyJoin::try_parse_from(args)
            .map(|OnlyJoin { roots, join }| Cli { roots, verb: Verb::Join(join) });
    }
    Cli::try_parse_from(args)
}

/// How a verb can fail.
#[derive(Debug)]
enum Failed {
    Error(Error),
    Refused(Refused),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Error(error)
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Failed {
        Failed::Refused(refused)
    }
}

fn shim(roots: RootFlags, carried: Carried) -> Result<Shim> {
    let mask = nix::sys::signal::SigSet::thread_get_mask()
        .map_err(|e| Error::errno("read the signal mask", e as i32))?;
    Ok(Shim {
        context: Context::new(roots.roots()).calling(cni::call),
        boot: boot_id()?,
        mask,
        pause: carried.pause,
        monitor: carried.monitor,
    })
}

fn dispatch(shim: &Shim, verb: Verb) -> std::result::Result<i32, Failed> {
    let mut out = std::io::stdout().lock();
    match verb {
        Verb::Run(args) => Ok(verb::run::run(shim, &args.into_wish()?)?),
        Verb::Join(args) => Ok(verb::join::join(shim, &args.into_wish()?)?),
        Verb::Ps(args) => Ok(verb::ps::ps(shim, &args.filter, args.quiet, args.format, &mut out)?),
        Verb::Inspect(args) => Ok(verb::inspect::inspect(shim, &args.names, &mut out)?),
        Verb::Start(args) => Ok(verb::life::start(shim, &args.names, &mut out)?),
        Verb::Stop(args) => Ok(verb::life::stop(shim, &args.names, args.time, &mut out)?),
        Verb::Kill(args) => Ok(verb::life::kill(shim, &args.names, &args.signal, &mut out)?),
        Verb::Wait(args) => Ok(verb::life::wait(shim, &args.names, &mut out)?),
        Verb::Logs(args) => {
            Ok(verb::life::logs(shim, &args.name, args.tail, args.follow, &mut out)?)
        }
        Verb::Rename(args) => Ok(verb::rename::rename(shim, &args.old, &args.new)?),
        Verb::Rm(args) => Ok(verb::life::rm(shim, &args.names, args.force, &mut out)?),
        Verb::Ended(args) => Ok(monitor::ended(shim, &args.name, &args.id, args.rm, args.status)?),
        // Done before anything was looked at.
        Verb::Demo | Verb::DemoPart { .. } => Ok(0),
        Verb::Bundles { .. } | Verb::Completions { .. } | Verb::Man { .. } => Ok(0),
        #[cfg(feature = "image")]
        Verb::Image(_) => Ok(0),
    }
}
