//! Networks whose list names plugins of others: netsetup is their runtime, and calls one
//! after the other, each with the result of the one before. Of the whole there is one
//! record, written anew before each call: which plugins were called, with what
//! configuration, and the last result. So DEL gets what ADD got, and who is cut off has left
//! all that the next del or gc needs. Plugins of ours have records of their own beside it.
//!
//! ```text
//!  add    record 1 ─► ADD 1 ─► record 1 2 ─► ADD 2 ─► record 1 2 3 ─► ADD 3 ─► complete
//!                                            failed ─► DEL 2 ─► DEL 1 ─► no record
//!  del    DEL 3 ─► DEL 2 ─► DEL 1 ─► no record        gc, when the pod is gone: the same
//!  check  CHECK 1 ─► CHECK 2 ─► CHECK 3
//! ```

use std::path::{Path, PathBuf};

use podkeel_keep::{Record, Wait};
use serde_json::Value;

use super::{Context, PATIENCE, Target, alive, del};
use crate::conf::{self, Chain};
use crate::error::{Context as _, Error, Kind, Result};
use crate::plan::{Plan, Pod};
use crate::record::{self, Attachment, Id, Process, Read, State, boot_id, kept};
use crate::request::Wishes;

/// The part of an attachment that the record of the whole list is.
const PART: &str = "list";

/// One call of a plugin.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// ADD, DEL or CHECK.
    pub verb: &'static str,
    /// The plugin.
    pub plugin: &'a conf::Called,
    /// What the plugins before it have made, or all of them; null = nothing is known.
    pub prev: &'a Value,
    /// Whose call it is.
    pub id: &'a Id,
    /// The pod's namespace; empty where it is gone.
    pub netns: &'a Path,
    /// CNI_PATH.
    pub path: &'a str,
}

/// What calls a plugin. Returns its answer, null for none.
pub type Caller = for<'a, 'b> fn(&'a Context, &'b Call<'b>) -> Result<Value>;

/// A list that somebody wants a pod to be attached by.
#[derive(Clone, Debug)]
pub struct WantedChain {
    /// The list, with what its plugins are asked for.
    pub chain: Chain,
    /// Container id.
    pub container: String,
    /// Name of the interface in the pod.
    pub ifname: String,
    /// What was asked for.
    pub wishes: Wishes,
}

impl WantedChain {
    /// The attachment, as a user names it.
    fn id(&self) -> Id {
        let (network, container) = (self.chain.name.clone(), self.container.clone());
        Id { network, container, ifname: self.ifname.clone(), part: String::new() }
    }
}

fn part(id: &Id, part: &str) -> Id {
    Id { part: part.into(), ..id.clone() }
}

/// The record of the list that an attachment came by, if it came by one.
pub fn whole(context: &Context, id: &Id) -> Option<Id> {
    let id = part(id, PART);
    super::has_record(context, &id).then_some(id)
}

/// Whether a record is that of a whole list.
pub(super) fn is_whole(relative: &Path) -> bool {
    relative.file_stem().is_some_and(|name| name.to_string_lossy().ends_with(&format!(":{PART}")))
}

/// Calls all plugins of a list with ADD: all of it, or nothing. Returns the record, with
/// the last plugin's result.
///
/// # Errors
/// [`Kind::Taken`] where the pod has the attachment, or an interface of that name; else the
/// error of the plugin that failed, after it and those before it were called with DEL.
pub fn add(context: &Context, wanted: &WantedChain, target: Target) -> Result<Attachment> {
    context.trust()?;
    let added = attempt(context, wanted, target);
    if added.is_err() {
        context.tidy_container(&wanted.container);
    }
    added
}

fn attempt(context: &Context, wanted: &WantedChain, target: Target) -> Result<Attachment> {
    let id = wanted.id();
    let what = format!("attach {} as {id}", target.netns.path.display());
    if target.is_host()? {
        return Err(Error::input(what, "it is the host's own network namespace")
            .hint("the container must have a network namespace of its own"));
    }
    // The list first: one that was cut off takes the others along.
    for part in [PART, ""].map(|name| part(&id, name)) {
        settle_earlier(context, &part)?;
    }
    let process = target.process;
    let mut pod = Pod::open(target.netns)?;
    // Every pod has lo. Any other is somebody else's, and DEL would take it away.
    if wanted.ifname != "lo" && pod.rtnl.link(&wanted.ifname)?.is_some() {
        let why = format!("it has a link {} already", wanted.ifname);
        return Err(Error::new(Kind::Taken, what, why)
            .hint("another --ifname, or del the other attachment first"));
    }
    let mut attachment = describe(context, wanted, &mut pod, process)?;
    let (net, relative) = (context.roots.net(), attachment.id.relative());
    let mut record = Record::create(&net, &relative, &attachment.to_bytes()?).map_err(|e| {
        let error = kept(format!("record the attachment {id}"), &e);
        if e.is_taken() { error.kind(Kind::Taken) } else { error }
    })?;
    let added = call_all(context, wanted, &mut attachment, &mut record).and_then(|()| {
        attachment.state = State::Complete;
        note(&attachment, &mut record)
    });
    match added {
        Ok(()) => Ok(attachment),
        Err(error) => Err(roll_back(context, &attachment, record, error)),
    }
}

fn describe(
    context: &Context,
    wanted: &WantedChain,
    pod: &mut Pod,
    process: Option<Process>,
) -> Result<Attachment> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .ctx(|| "choose a random attachment id".into())?;
    let id = part(&wanted.id(), PART);
    Ok(Attachment {
        state: State::Adding,
        mark: id.mark(context.root()?, u64::from_ne_bytes(bytes)),
        id,
        source: wanted.chain.source.clone(),
        boot: boot_id()?,
        netns: pod.id()?,
        nsid: None,
        process,
        bundle: None,
        wishes: wanted.wishes.clone(),
        plan: Plan::new(),
        result: Value::Null,
        accepts: Default::default(),
        chain: Some(Chain { plugins: Vec::new(), ..wanted.chain.clone() }),
    })
}

fn note(attachment: &Attachment, record: &mut Record) -> Result<()> {
    let bytes = attachment.to_bytes()?;
    record.replace(&bytes).map_err(|e| kept(format!("record the attachment {}", attachment.id), &e))
}

/// One after the other; each stands in the record before it is called.
fn call_all(
    context: &Context,
    wanted: &WantedChain,
    attachment: &mut Attachment,
    record: &mut Record,
) -> Result<()> {
    let netns = attachment.netns.path.clone();
    for plugin in &wanted.chain.plugins {
        context.go_on()?;
        if let Some(chain) = &mut attachment.chain {
            chain.plugins.push(plugin.clone());
        }
        note(attachment, record)?;
        let (prev, id, path) = (&attachment.result, &attachment.id, &wanted.chain.path);
        let call = Call { verb: "ADD", plugin, prev, id, netns: &netns, path };
        let answer = by(context)?(context, &call);
        // A signal is why it failed, if one came.
        context.go_on()?;
        attachment.result = in_version(answer?, &call, &wanted.chain.cni_version)?;
    }
    Ok(())
}

/// The result of ADD in the version that the next plugin is called in: it may have come in
/// another one.
fn in_version(answer: Value, call: &Call<'_>, version: &str) -> Result<Value> {
    if answer.is_null() {
        let what = format!("use the result of plugin {}", call.plugin.kind);
        return Err(Error::new(Kind::Failed, what, "it ended with success and printed none"));
    }
    if answer["cniVersion"] == version {
        return Ok(answer);
    }
    let read = conf::told(&answer, &format!("the result of plugin {}", call.plugin.kind));
    // It isn't the user's input that makes no sense.
    read.map_err(|e| e.kind(Kind::Failed))?.to_json(version)
}

fn by(context: &Context) -> Result<Caller> {
    context.call.ok_or_else(|| {
        let why = "its list has plugins of others, which netsetup by hand calls";
        Error::new(Kind::Unsupported, "call plugins one by one", why)
    })
}

/// Calls DEL for what was called with ADD; the error says so if something of it failed.
fn roll_back(
    context: &Context,
    attachment: &Attachment,
    record: Record,
    mut error: Error,
) -> Error {
    let mut left = undo(context, attachment);
    if left.is_empty() {
        left.extend(record.remove().err().map(|e| kept("remove the record", &e)));
    }
    if let Some(first) = left.first() {
        error.why = format!("{}; and the way back failed too: {first}", error.why);
        error.hint = Some("netsetup gc takes away what is left".into());
    }
    error
}

/// Calls all plugins of a record with DEL, the last one first, whether one fails or not.
/// An attachment that we planned has none.
pub(super) fn undo(context: &Context, attachment: &Attachment) -> Vec<Error> {
    let Some(chain) = &attachment.chain else { return Vec::new() };
    let caller = match by(context) {
        Ok(caller) => caller,
        Err(error) => return vec![error],
    };
    // One that is gone has no path, or another's: a plugin is told of none.
    let netns = match alive::is_at(&attachment.netns.path, attachment) {
        true => attachment.netns.path.clone(),
        false => PathBuf::new(),
    };
    let prev = if chain.has_prev_at_del() { &attachment.result } else { &Value::Null };
    let call = |plugin| {
        let (id, path) = (&attachment.id, &chain.path);
        caller(context, &Call { verb: "DEL", plugin, prev, id, netns: &netns, path }).err()
    };
    chain.plugins.iter().rev().filter_map(call).collect()
}

/// Calls all plugins of a list with DEL where no record says what ADD got: names are all
/// that they have to go by.
///
/// # Errors
/// The first; the others were called all the same.
pub fn del_unrecorded(context: &Context, chain: &Chain, id: &Id, netns: &Path) -> Result<()> {
    context.trust()?;
    let caller = by(context)?;
    let call = |plugin| {
        let (prev, path) = (&Value::Null, &chain.path);
        caller(context, &Call { verb: "DEL", plugin, prev, id, netns, path }).err()
    };
    let errors: Vec<Error> = chain.plugins.iter().rev().filter_map(call).collect();
    errors.into_iter().next().map_or(Ok(()), Err)
}

/// A record of the same attachment, or of its interface: one whose pod lives stays; every
/// other is undone.
fn settle_earlier(context: &Context, id: &Id) -> Result<()> {
    let net = context.roots.net();
    let record = match Record::open_locked(&net, &id.relative(), Wait::Until(PATIENCE)) {
        Ok(record) => record,
        Err(e) if e.is_missing() => return Ok(()),
        Err(e) => return Err(kept(format!("read the record of {id}"), &e)),
    };
    let bytes = record.read().map_err(|e| kept(format!("read the record of {id}"), &e))?;
    if let Read::Whole(there) = Read::new(&bytes)
        && there.boot == boot_id()?
        && there.state == State::Complete
        && alive::has_its_namespace(&there)
    {
        let what = format!("add {}", part(id, ""));
        return Err(Error::new(Kind::Taken, what, "it is attached already")
            .hint("netsetup check says whether it is whole; netsetup del takes it away"));
    }
    let errors = del::take_down(context, id, record)?;
    errors.into_iter().next().map_or(Ok(()), |error| {
        Err(Error { what: format!("clear away an earlier {id}: {}", error.what), ..error })
    })
}

/// What CHECK of one plugin said.
#[derive(Debug)]
pub struct CheckedPlugin {
    /// Its type.
    pub kind: String,
    /// Its error; `None` = all is as ADD left it.
    pub wrong: Option<Error>,
}

/// Calls all plugins of a record with CHECK.
///
/// # Errors
/// [`Kind::Missing`] where the record or the pod is gone, [`Kind::Unsupported`] for a list
/// whose plugins mustn't be called with CHECK.
pub fn check(context: &Context, id: &Id) -> Result<Vec<CheckedPlugin>> {
    let what = || format!("check {}", part(id, ""));
    let record = Record::open_locked(&context.roots.net(), &id.relative(), Wait::Until(PATIENCE))
        .map_err(|e| kept(what(), &e))?;
    let bytes = record.read().map_err(|e| kept(what(), &e))?;
    let Read::Whole(there) = Read::new(&bytes) else {
        return Err(record::unknown(what()));
    };
    let chain = there.chain.as_ref().ok_or_else(|| record::unknown(what()))?;
    if let Some(why) = chain.has_no_check() {
        return Err(Error::new(Kind::Unsupported, what(), why));
    }
    if let Some(how) = there.state.cut_off() {
        return Err(Error::new(Kind::Failed, what(), how).hint("netsetup del or gc takes it away"));
    }
    if !alive::has_its_namespace(&there) {
        return Err(Error::new(Kind::Missing, what(), "its network namespace is gone")
            .hint("netsetup del or gc takes it away"));
    }
    let (netns, caller) = (&there.netns.path, by(context)?);
    let one = |plugin: &conf::Called| {
        let (prev, id, path) = (&there.result, &there.id, &chain.path);
        let call = Call { verb: "CHECK", plugin, prev, id, netns, path };
        CheckedPlugin { kind: plugin.kind.clone(), wrong: caller(context, &call).err() }
    };
    Ok(chain.plugins.iter().map(one).collect())
}
