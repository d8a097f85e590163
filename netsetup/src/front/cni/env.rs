//! What a runtime says in the environment, and what each verb requires of it.

use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;

use super::failure::{Failure, code};
use crate::request::names::{check_ifname, check_name};

pub use crate::conf::NAMES;

/// Where variables are looked up.
pub trait Environment {
    /// The value of a variable that is there and not empty. What isn't UTF-8 is no value
    /// that CNI has.
    fn get(&self, name: &str) -> Option<String>;
}

/// The process's own.
#[derive(Debug)]
pub struct Process;

impl Environment for Process {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(OsString::into_string)?.ok().filter(|value| !value.is_empty())
    }
}

/// Another environment, with another verb.
pub(super) struct Instead<'a> {
    pub(super) env: &'a dyn Environment,
    pub(super) command: &'a str,
}

impl Environment for Instead<'_> {
    fn get(&self, name: &str) -> Option<String> {
        if name == "CNI_COMMAND" { Some(self.command.to_owned()) } else { self.env.get(name) }
    }
}

/// CNI_COMMAND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Attach.
    Add,
    /// Detach.
    Del,
    /// Compare.
    Check,
    /// Take away what isn't valid any more.
    Gc,
    /// Whether an ADD could work.
    Status,
    /// Which versions are known.
    Version,
}

/// Verb, name, the first version of the specification that has it, required variables.
type Row = (Verb, &'static str, &'static str, &'static [&'static str]);

const ID: &str = "CNI_CONTAINERID";
const NETNS: &str = "CNI_NETNS";
const IFNAME: &str = "CNI_IFNAME";
const PATH: &str = "CNI_PATH";

const VERBS: [Row; 6] = [
    (Verb::Add, "ADD", "0.1.0", &[ID, NETNS, IFNAME]),
    (Verb::Del, "DEL", "0.1.0", &[ID, IFNAME]),
    (Verb::Check, "CHECK", "0.4.0", &[ID, NETNS, IFNAME]),
    (Verb::Gc, "GC", "1.1.0", &[PATH]),
    (Verb::Status, "STATUS", "1.1.0", &[]),
    (Verb::Version, "VERSION", "0.1.0", &[]),
];

impl Verb {
    fn row(self) -> &'static Row {
        VERBS.iter().find(|row| row.0 == self).unwrap_or(&VERBS[0])
    }

    pub(super) fn name(self) -> &'static str {
        self.row().1
    }

    pub(super) fn since(self) -> &'static str {
        self.row().2
    }
}

/// What the environment says.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) verb: Verb,
    pub(super) container: String,
    /// Missing at a DEL whose namespace is gone.
    pub(super) netns: Option<PathBuf>,
    pub(super) ifname: String,
    pub(super) args: String,
    /// Where delegated plugins are.
    pub(super) path: Option<String>,
}

/// Reads it, and sees that all is there that the verb requires.
pub(super) fn read(env: &dyn Environment) -> Result<Input, Failure> {
    let command = env.get("CNI_COMMAND").unwrap_or_default();
    let Some((verb, _, _, required)) = VERBS.iter().find(|(_, name, ..)| *name == command) else {
        return Err(Failure::new(code::ENVIRONMENT, format!("unknown CNI_COMMAND: {command}")));
    };
    let missing: Vec<&str> =
        required.iter().copied().filter(|name| env.get(name).is_none()).collect();
    if !missing.is_empty() {
        let why = format!("required env variables [{}] missing", missing.join(","));
        return Err(Failure::new(code::ENVIRONMENT, why));
    }
    let text = |name: &str| env.get(name).unwrap_or_default();
    Ok(Input {
        verb: *verb,
        container: text(ID),
        netns: env.get(NETNS).map(PathBuf::from),
        ifname: text(IFNAME),
        args: text("CNI_ARGS"),
        path: env.get(PATH),
    })
}

impl Input {
    /// Whether the names can be names.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let wrong = |name: &str, value: &str, why: &str| {
            Failure::new(code::ENVIRONMENT, format!("{name}: {value:?} {why}"))
        };
        if !self.container.is_empty() {
            check_name(&self.container).map_err(|why| wrong(ID, &self.container, why))?;
        }
        if !self.ifname.is_empty() {
            check_ifname(&self.ifname).map_err(|why| wrong(IFNAME, &self.ifname, why))?;
        }
        Ok(())
    }
}

/// No configuration is anywhere near this long; whatever never ends is none.
const STDIN_MAX: u64 = 1 << 24;

/// Reads stdin to its end.
pub(super) fn read_stdin(stdin: &mut dyn Read) -> Result<String, Failure> {
    let fail = |why: String| Failure::new(code::IO, format!("error reading from stdin: {why}"));
    let mut bytes = Vec::new();
    stdin.take(STDIN_MAX + 1).read_to_end(&mut bytes).map_err(|e| fail(e.to_string()))?;
    if bytes.len() as u64 > STDIN_MAX {
        return Err(fail(format!("it is longer than {STDIN_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|e| {
        Failure::new(code::DECODE, format!("the network configuration is not UTF-8: {e}"))
    })
}
