//! As CNI plugins: one file under several names, the verb in the environment, the
//! network's configuration on stdin, the answer on stdout.
//!
//! ```text
//!   bridge, ptp, loopback     make or use the pod's interface
//!   host-local, static        addresses, for a plugin that asks for them
//!   macvlan, ipvlan, vlan, vxlan, host-device, tap, dummy   the same
//!   portmap, firewall, tuning, vrf   add to what a plugin before them has made
//!
//!   ADD ─► conf ─► verbs::add      DEL ─► verbs::detach     CHECK ─► verbs::check_part
//!   GC  ─► verbs::collect          STATUS ─► verbs::status  VERSION: no more than a list
//! ```
//!
//! An address manager of ours works in the same process; any other is a program in
//! CNI_PATH that `delegate` runs. Each plugin of a chain is a part of its own: it has its
//! own record and takes away what it made, in whatever order, and once more if asked again.
//!
//! `called` is the other side: netsetup by hand calls the plugins of a list one by one, ours
//! in its own process.
//!
//! Environment, stdin, stdout and stderr are arguments: nothing here is taken from the
//! process. Source: the CNI specification (SPEC.md) 1.1.0.

mod called;
mod chain;
mod delegate;
mod env;
mod failure;
mod ipam;
mod main_plugin;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

pub use self::called::{call, program_of};
pub use self::env::{Environment, NAMES, Process};
use self::{
    env::{Input, Verb},
    failure::{Answer, Failure, code},
};
use crate::conf::{self, Args, CNI_VERSIONS, Call};
use crate::result::CniResult;
use crate::roots::Roots;
use crate::verbs::Context;

/// One plugin's work, with all that it needs.
struct Work<'a> {
    context: &'a Context,
    /// One of [`NAMES`].
    kind: &'a str,
    input: &'a Input,
    /// stdin, as it came: a delegated plugin gets the same.
    stdin: &'a str,
    value: &'a Value,
    call: Call,
    err: &'a mut dyn Write,
}

/// The plugin's name, if netsetup was called as one: by that name, or with CNI_COMMAND and
/// no words; then the configuration's `type` says which.
pub fn asked_for(args: &[OsString], env: &dyn Environment) -> Option<Option<&'static str>> {
    let program = args.first().map(std::path::Path::new)?.file_name()?.to_str()?;
    if let Some(name) = NAMES.iter().find(|name| **name == program) {
        return Some(Some(name));
    }
    (args.len() == 1 && env.get("CNI_COMMAND").is_some()).then_some(None)
}

/// Runs a plugin: the one of this name, or the one that the configuration names. Returns
/// the exit code, 0 or 1.
pub fn run(
    name: Option<&'static str>,
    env: &dyn Environment,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    if env.get("CNI_COMMAND").is_none() {
        let _ =
            writeln!(err, "podkeel {} {}", name.unwrap_or("netsetup"), env!("CARGO_PKG_VERSION"));
        let _ = writeln!(err, "CNI protocol versions supported: {}", CNI_VERSIONS.join(", "));
        return 0;
    }
    let mut read = Seen::default();
    let (answer, ended) = match serve(None, name, env, stdin, err, &mut read) {
        Ok(answer) => (answer, 0),
        Err(failure) => (Some(failure.to_answer(read.version.as_deref())), 1),
    };
    let Some(answer) = answer else { return ended };
    match out.write_all(&answer.0).and_then(|()| out.flush()) {
        Ok(()) => ended,
        Err(error) => {
            let _ = writeln!(err, "podkeel: cannot print the answer: {error}");
            // Whoever doesn't get the answer takes it for a failure: then it is one.
            if ended == 0 {
                take_back(name, env, &read, err);
            }
            1
        }
    }
}

/// What was read of a call before it failed or not.
#[derive(Default)]
struct Seen {
    /// The version that it speaks.
    version: Option<String>,
    /// stdin.
    text: String,
}

/// Undoes an ADD whose answer nobody got, as DEL would.
fn take_back(name: Option<&'static str>, env: &dyn Environment, read: &Seen, err: &mut dyn Write) {
    if env.get("CNI_COMMAND").as_deref() == Some("ADD") {
        let del = env::Instead { env, command: "DEL" };
        // What stays is the runtime's to delete: it was told of a failure.
        let _ = serve(None, name, &del, &mut read.text.as_bytes(), err, &mut Seen::default());
    }
}

/// One call, in this context, or in one that the environment and the process's signals make.
fn serve(
    given: Option<&Context>,
    name: Option<&'static str>,
    env: &dyn Environment,
    stdin: &mut dyn Read,
    err: &mut dyn Write,
    seen: &mut Seen,
) -> Result<Option<Answer>, Failure> {
    let input = env::read(env)?;
    if input.verb == Verb::Version {
        return Ok(Some(versions()));
    }
    seen.text = env::read_stdin(stdin)?;
    let text = &seen.text;
    let value = conf::decode(text).map_err(|e| Failure::of(code::DECODE, &e))?;
    conf::name_of(&value).map_err(|e| Failure::of(code::CONFIG, &e))?;
    input.check()?;
    let spoken = conf::version_of(&value).map_err(|e| Failure::of(code::DECODE, &e))?;
    check_version(input.verb, &spoken)?;
    seen.version = Some(spoken);
    let kind = kind_of(name, &value)?;
    let call = match read_call(&value, kind, &input) {
        // What is to go is known by its names, whatever else is wrong.
        Err(_) if input.verb == Verb::Del => {
            conf::call_by_names(&value, kind).map_err(|e| Failure::config(&e))?
        }
        read => read?,
    };
    let context = given.cloned().unwrap_or_else(own_context);
    let work =
        Work { context: &context, kind, input: &input, stdin: text, value: &value, call, err };
    work.serve()
}

/// The context of a process that is a plugin.
fn own_context() -> Context {
    let context = Context::new(Roots::from_env());
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // Where it can't be had, the signal's default stays: death, and then DEL or gc.
        let _ =
            signal_hook::flag::register_usize(signal, Arc::clone(&context.signal), signal as usize);
    }
    context
}

fn read_call(value: &Value, kind: &'static str, input: &Input) -> Result<Call, Failure> {
    let args = Args::parse(&input.args)
        .map_err(|why| Failure::new(code::ENVIRONMENT, format!("CNI_ARGS: {why}")))?;
    conf::call(value, kind, &args).map_err(|e| Failure::config(&e))
}

fn kind_of(name: Option<&'static str>, value: &Value) -> Result<&'static str, Failure> {
    let asked = match name {
        Some(name) => return Ok(name),
        None => conf::type_of(value).unwrap_or_default(),
    };
    NAMES.into_iter().find(|name| *name == asked).ok_or_else(|| {
        let why = format!("type {asked:?} is not a plugin that podkeel has: {}", NAMES.join(", "));
        Failure::new(code::UNSUPPORTED, why)
    })
}

/// What each verb asks of the configuration's version: CHECK came with 0.4.0, GC and
/// STATUS with 1.1.0.
fn check_version(verb: Verb, version: &str) -> Result<(), Failure> {
    let Some(at) = CNI_VERSIONS.iter().position(|known| *known == version) else {
        let known: Vec<String> = CNI_VERSIONS.iter().map(|known| format!("{known:?}")).collect();
        let details = format!("config is {version:?}, plugin supports [{}]", known.join(" "));
        return Err(Failure::new(code::VERSION, "incompatible CNI versions").details(details));
    };
    let first = CNI_VERSIONS.iter().position(|known| *known == verb.since()).unwrap_or_default();
    if at < first {
        let why = format!("config version does not allow {}", verb.name());
        return Err(Failure::new(code::VERSION, why));
    }
    Ok(())
}

fn versions() -> Answer {
    let newest = CNI_VERSIONS[CNI_VERSIONS.len() - 1];
    let text = serde_json::json!({"cniVersion": newest, "supportedVersions": CNI_VERSIONS});
    Answer(format!("{text}\n").into_bytes())
}

/// JSON as the reference prints it, four blanks a level.
fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
    // Writing to memory, of maps whose keys are strings, can't fail.
    let _ = value.serialize(&mut serializer);
    bytes.push(b'\n');
    bytes
}

impl Work<'_> {
    fn serve(mut self) -> Result<Option<Answer>, Failure> {
        match (self.kind, self.input.verb) {
            (_, Verb::Status) => self.status().map(|()| None),
            (_, Verb::Gc) => self.gc().map(|()| None),
            ("host-local" | "static", verb) => self.ipam(verb),
            ("portmap" | "firewall" | "tuning" | "vrf", verb) => self.chained(verb),
            (_, verb) => self.main(verb),
        }
    }

    /// What the plugins before this one have made.
    fn prev(&self) -> Result<Option<CniResult>, Failure> {
        conf::prev_of(self.value).map_err(|e| Failure::of(code::DECODE, &e))
    }

    /// What the plugins before this one have made, for those after it: word for word, whatever
    /// else is in it than we read. In another version than the configuration's it is written anew.
    fn hand_on(&self, prev: &CniResult) -> Result<Value, Failure> {
        let version = &self.call.network.cni_version;
        match conf::said_before(self.value) {
            Some(said) if said["cniVersion"] == version.as_str() => {
                let mut said = said.clone();
                // Old readers look for it.
                if said["dns"].is_null() {
                    said["dns"] = Value::Object(serde_json::Map::new());
                }
                Ok(said)
            }
            _ => prev.to_json(version).map_err(|e| Failure::of(code::CONFIG, &e)),
        }
    }

    /// A result in the version that the configuration speaks.
    fn answer(&self, result: &CniResult) -> Result<Answer, Failure> {
        let value = result
            .to_json(&self.call.network.cni_version)
            .map_err(|e| Failure::of(code::CONFIG, &e))?;
        Ok(Answer(pretty(&value)))
    }

    fn warn(&mut self, warnings: &[String]) {
        for warning in warnings {
            let _ = writeln!(self.err, "podkeel {}: warning: {warning}", self.kind);
        }
    }
}
