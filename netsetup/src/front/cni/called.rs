//! The runtime's side: calls of the plugins of a list, one by one. Ours run in this
//! process, all others as programs.

use std::io;
use std::path::PathBuf;

use serde_json::Value;

use super::env::{self, Environment};
use super::failure::{Failure, code};
use super::{NAMES, Seen, delegate, serve};
use crate::conf;
use crate::error::{Error, Kind, Result};
use crate::verbs::Context;
use crate::verbs::chain::Call;

/// The environment that a plugin is called in.
struct Vars<'a>(&'a Call<'a>);

impl Environment for Vars<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let Vars(call) = self;
        let value = match name {
            "CNI_COMMAND" => call.verb.to_owned(),
            "CNI_CONTAINERID" => call.id.container.clone(),
            "CNI_NETNS" => call.netns.display().to_string(),
            "CNI_IFNAME" => call.id.ifname.clone(),
            "CNI_PATH" => call.path.to_owned(),
            _ => String::new(),
        };
        Some(value).filter(|value| !value.is_empty())
    }
}

/// Calls a plugin. Returns its answer, null for none.
///
/// # Errors
/// The plugin's own, with its type, its message, its details and its code.
pub fn call(context: &Context, call: &Call<'_>) -> Result<Value> {
    let mut conf = call.plugin.conf.clone();
    if !call.prev.is_null() {
        conf.insert("prevResult".into(), call.prev.clone());
    }
    let (stdin, vars) = (Value::Object(conf).to_string(), Vars(call));
    let ours = NAMES.into_iter().find(|name| *name == call.plugin.kind);
    let answer = match ours {
        Some(name) => {
            let (mut stdin, mut err) = (stdin.as_bytes(), io::stderr());
            let answer =
                serve(Some(context), Some(name), &vars, &mut stdin, &mut err, &mut Seen::default());
            answer.map(|answer| {
                answer.and_then(|a| serde_json::from_slice(&a.0).ok()).unwrap_or(Value::Null)
            })
        }
        None => env::read(&vars)
            .and_then(|input| delegate::run(&call.plugin.kind, call.verb, &input, &stdin)),
    };
    answer.map_err(|failure| in_words(call, &failure))
}

/// Where a plugin's program is; `None` for one of ours.
///
/// # Errors
/// [`Kind::Missing`] where it is nowhere.
pub fn program_of(plugin: &conf::Called, path: &str) -> Result<Option<PathBuf>> {
    if plugin.is_ours() {
        return Ok(None);
    }
    delegate::find(&plugin.kind, path).map(Some).map_err(|failure| {
        let what = format!("find plugin {}", plugin.kind);
        let (code, msg, _) = parts(&failure);
        Error::new(kind_of(code, true), what, msg).hint(format!(
            "--plugin-dir or CNI_PATH says where others are than {}",
            NAMES.join(", ")
        ))
    })
}

/// A plugin's failure as an error of ours, its text as it was.
fn in_words(call: &Call<'_>, failure: &Failure) -> Error {
    let (code, msg, details) = parts(failure);
    let what = format!(
        "call plugin {} with {} for network {}",
        call.plugin.kind, call.verb, call.id.network
    );
    match (failure, details) {
        (Failure::Ours { .. }, details) => {
            let hint = details.filter(|text| !text.is_empty());
            Error { hint, ..Error::new(kind_of(code, true), what, msg) }
        }
        (Failure::Theirs(_), details) => {
            let more = details.map(|text| format!(": {text}")).unwrap_or_default();
            Error::new(kind_of(code, false), what, format!("{msg}{more} (CNI error {code})"))
        }
    }
}

/// Code, message, details.
fn parts(failure: &Failure) -> (u32, String, Option<String>) {
    match failure {
        Failure::Ours { code, msg, details } => (*code, msg.clone(), details.clone()),
        Failure::Theirs(bytes) => {
            let said: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
            let text = |key: &str| said[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
            let code = said["code"].as_u64().and_then(|code| u32::try_from(code).ok());
            (code.unwrap_or(code::OWN), text("msg").unwrap_or_default(), text("details"))
        }
    }
}

/// What a code means. From 100 on it is a plugin's own, and of ours only we know what.
fn kind_of(code: u32, ours: bool) -> Kind {
    let own = [Kind::Differs, Kind::Taken, Kind::Missing, Kind::Denied, Kind::Unsupported];
    match code {
        code::UNSUPPORTED => Kind::Unsupported,
        code::NO_CONTAINER => Kind::Missing,
        code::VERSION | code::ENVIRONMENT | code::DECODE | code::CONFIG => Kind::Input,
        _ if ours => {
            let exit = |kind: &Kind| i64::from(kind.exit_code()) + i64::from(code::OWN);
            own.into_iter().find(|kind| exit(kind) == i64::from(code)).unwrap_or(Kind::Failed)
        }
        _ => Kind::Failed,
    }
}
