//! The words of the verbs after the start.

use clap::Args;
use podkeel_netsetup::front::cli::Format;

use crate::verb::ps::Filter;

#[derive(Args, Debug)]
pub(super) struct NamesArgs {
    /// Containers
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct PsArgs {
    /// Only those: name=TEXT, state=running|stopped|pinned|broken|creating, pod=NAME, network=NAME;
    /// repeat for all of several
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) filter: Vec<Filter>,
    /// Only names
    #[arg(short, long, conflicts_with = "format")]
    pub(super) quiet: bool,
    /// How to print the answer
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct StopArgs {
    /// Seconds from TERM to KILL; 0 kills at once
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    pub(super) time: u64,
    /// Containers
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct KillArgs {
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub(super) signal: String,
    /// Containers
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct LogsArgs {
    /// Go on until the container ends
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Only the last so many lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) tail: Option<usize>,
    /// The container
    pub(super) name: String,
}

#[derive(Args, Debug)]
pub(super) struct RenameArgs {
    /// Its name now
    pub(super) old: String,
    /// Its name from then on
    pub(super) new: String,
}

#[derive(Args, Debug)]
pub(super) struct RmArgs {
    /// Kill what runs; of a base take away the members, too
    #[arg(short, long)]
    pub(super) force: bool,
    /// Containers
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct EndedArgs {
    /// Take it away, too
    #[arg(long)]
    pub(super) rm: bool,
    /// Its name
    pub(super) name: String,
    /// Its id
    pub(super) id: String,
    /// The status, in wait(2)'s encoding
    pub(super) status: i32,
}
