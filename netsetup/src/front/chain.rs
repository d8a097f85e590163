//! By hand, networks whose list names plugins of others: netsetup calls all of its plugins,
//! as CNI runtimes do.

use std::io::Write;

use serde_json::{Value, json};

use super::cli::{print, print_json};
use super::words::{AttachArgs, Format, FormatArgs, pod};
use super::{cni, show};
use crate::conf::Chain;
use crate::error::{Kind, Result};
use crate::record::{Attachment, Id};
use crate::verbs::{self, Context, chain::WantedChain};

pub(super) fn add(
    context: &Context,
    args: &AttachArgs,
    mut chain: Chain,
    out: &mut dyn Write,
) -> Result<i32> {
    let wishes = args.wishes.wishes()?;
    chain.ask(&wishes)?;
    // A plugin that is nowhere is found out before the first is called.
    programs(&chain)?;
    let (target, container) = pod(context, &args.name)?;
    let wanted = WantedChain { chain, container, ifname: args.name.ifname.clone(), wishes };
    let attachment = verbs::chain::add(context, &wanted, target)?;
    let printed = match args.name.format.or(Format::Json) {
        Format::Json => print_json(out, &attachment.result),
        Format::Table => print(out, &attached(&attachment)),
    };
    // Whoever doesn't get the answer takes it for a failure: then it is one.
    if let Err(error) = printed {
        verbs::del(context, &attachment.id)?;
        return Err(error);
    }
    Ok(0)
}

/// What plugins of others made is theirs to know: addresses are what all of them tell.
fn attached(attachment: &Attachment) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let ips = attachment.result["ips"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> =
        ips.map(|ip| vec![text(&ip["address"]), text(&ip["gateway"])]).collect();
    let head = format!("{} attached in {}\n", plain(&attachment.id), attachment.netns);
    head + &show::table(&["ADDRESS", "GATEWAY"], &rows)
}

/// The attachment, as a user names it.
fn plain(id: &Id) -> Id {
    Id { part: String::new(), ..id.clone() }
}

/// Each plugin, and where its program is.
fn programs(chain: &Chain) -> Result<Vec<(&str, String)>> {
    let place = |plugin| -> Result<String> {
        let program = cni::program_of(plugin, &chain.path)?;
        Ok(program.map_or("netsetup itself".to_owned(), |file| file.display().to_string()))
    };
    chain.plugins.iter().map(|plugin| Ok((plugin.kind.as_str(), place(plugin)?))).collect()
}

/// What add would call: what the plugins of others would do is theirs to know.
pub(super) fn explain(args: &AttachArgs, mut chain: Chain, out: &mut dyn Write) -> Result<i32> {
    chain.ask(&args.wishes.wishes()?)?;
    let programs = programs(&chain)?;
    match args.name.format.or(Format::Table) {
        Format::Json => {
            let one = |(kind, program): &(&str, String)| json!({"type": kind, "program": program});
            let plugins: Vec<Value> = programs.iter().map(one).collect();
            let (name, source) = (&chain.name, &chain.source);
            print_json(out, &json!({"network": name, "source": source, "plugins": plugins}))?;
        }
        Format::Table => {
            let rows: Vec<Vec<String>> = programs
                .into_iter()
                .map(|(kind, program)| vec![kind.to_owned(), program])
                .collect();
            let head = format!(
                "network {} ({}) has plugins of others: its plugins are called one by one\n\n",
                chain.name, chain.source
            );
            print(out, &(head + &show::table(&["PLUGIN", "PROGRAM"], &rows)))?;
        }
    }
    Ok(0)
}

pub(super) fn check(
    context: &Context,
    id: &Id,
    format: FormatArgs,
    out: &mut dyn Write,
) -> Result<i32> {
    let checked = verbs::chain::check(context, id)?;
    let ok = checked.iter().all(|plugin| plugin.wrong.is_none());
    let state = |wrong: &Option<crate::Error>| match wrong {
        None => "ok".to_owned(),
        Some(error) => error.why.clone(),
    };
    let rows = checked.iter().map(|plugin| (&plugin.kind, state(&plugin.wrong)));
    match format.or(Format::Table) {
        Format::Json => {
            let one = |(kind, state): (&String, String)| json!({"type": kind, "state": state});
            let plugins: Vec<Value> = rows.map(one).collect();
            print_json(out, &json!({"attachment": plain(id), "ok": ok, "plugins": plugins}))?;
        }
        Format::Table => {
            let rows: Vec<Vec<String>> =
                rows.map(|(kind, state)| vec![kind.clone(), state]).collect();
            print(out, &show::table(&["PLUGIN", "STATE"], &rows))?;
        }
    }
    Ok(if ok { 0 } else { Kind::Differs.exit_code() })
}
