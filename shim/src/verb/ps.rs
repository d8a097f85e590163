//! `shim ps`: pods as trees.

use std::collections::BTreeMap;
use std::io::Write;
use std::str::FromStr;

use podkeel_netsetup::error::{Context, Result};
use podkeel_netsetup::front::cli::Format;
use podkeel_netsetup::kernel::{NsId, NsKind};
use serde_json::Value;

use crate::Shim;
use crate::record::{self, Container, Exit, State};
use crate::verb::inspect;

/// One condition of `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A part of the name.
    Name(String),
    /// The state, exactly.
    State(String),
    /// The base's name or id: itself and its members.
    Pod(String),
    /// The network's name.
    Network(String),
}

/// The states that can be asked for.
const STATES: [&str; 5] = ["running", "stopped", "pinned", "broken", "creating"];

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Filter, String> {
        let (key, value) = text.split_once('=').ok_or("it is KEY=VALUE")?;
        let value = value.to_owned();
        match key {
            "name" => Ok(Filter::Name(value)),
            "state" | "status" if STATES.contains(&value.as_str()) => Ok(Filter::State(value)),
            "state" | "status" => Err(format!("the states are {}", STATES.join(", "))),
            "pod" => Ok(Filter::Pod(value)),
            "network" => Ok(Filter::Network(value)),
            _ => Err("the keys are name, state, pod, network".into()),
        }
    }
}

/// A container and how it stands with it.
struct Seen {
    container: Container,
    state: State,
    /// Its base's name, or `-` where the base is gone.
    pod: Option<String>,
    /// It was killed, and the pid namespace that it was in is gone: the kernel did that
    /// when the first process ended.
    with_pause: bool,
}

/// Lists containers.
pub fn ps(
    shim: &Shim,
    filters: &[Filter],
    quiet: bool,
    format: Format,
    out: &mut dyn Write,
) -> Result<i32> {
    let (all, bad) = record::all(&shim.context.roots)?;
    for error in &bad {
        eprintln!("shim: warning: {error}");
    }
    let seen = look(shim, all);
    let seen: Vec<Seen> = seen.into_iter().filter(|s| filters.iter().all(|f| f.fits(s))).collect();
    let text = if quiet {
        seen.iter().map(|s| format!("{}\n", s.container.name)).collect()
    } else if format == Format::Json {
        let all: Vec<Value> = seen.iter().map(|s| inspect::describe(shim, &s.container)).collect();
        serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
    } else {
        table(&seen)
    };
    out.write_all(text.as_bytes()).ctx(|| "print the answer".into())?;
    Ok(0)
}

fn look(shim: &Shim, all: Vec<Container>) -> Vec<Seen> {
    let names: BTreeMap<String, String> =
        all.iter().map(|c| (c.id.clone(), c.name.clone())).collect();
    // The pid namespaces that there are, of bases whose pause lives.
    let pids = |c: &Container| c.namespaces.get(&NsKind::Pid).and_then(|s| s.identity);
    let alive: BTreeMap<String, Option<NsId>> = all
        .iter()
        .filter(|c| c.is_base() && c.lives(&shim.boot))
        .map(|c| (c.id.clone(), pids(c)))
        .collect();
    let seen = all.into_iter().map(|container| {
        let state = container.state(&shim.context.roots, &shim.boot);
        let killed = |exit: &Exit| exit.signal == Some(libc::SIGKILL);
        let was_killed = matches!(&state, State::Exited(Some(exit)) if killed(exit));
        let base = container.namespaces.get(&NsKind::Pid).and_then(|s| s.of.as_ref());
        let gone = base.is_some_and(|id| alive.get(id).copied().flatten() != pids(&container));
        Seen {
            with_pause: was_killed && gone,
            pod: container.pod.as_ref().map(|id| names.get(id).cloned().unwrap_or("-".into())),
            state,
            container,
        }
    });
    seen.collect()
}

impl Filter {
    fn fits(&self, seen: &Seen) -> bool {
        let c = &seen.container;
        match self {
            Filter::Name(part) => c.name.contains(part.as_str()),
            Filter::State(word) => seen.state.word() == word,
            Filter::Pod(name) => {
                seen.pod.as_ref() == Some(name)
                    || c.pod.as_ref() == Some(name)
                    || (c.is_base() && (c.name == *name || c.id == *name))
            }
            Filter::Network(name) => c.networks.iter().any(|n| n.network == *name),
        }
    }
}

const HEAD: [&str; 7] = ["NAME", "STATE", "PID", "AGE", "ADDRESSES", "PORTS", "COMMAND"];

fn table(seen: &[Seen]) -> String {
    let mut rows: Vec<[String; 7]> = vec![HEAD.map(str::to_owned)];
    let is_member = |s: &Seen, base: &Seen| s.container.pod.as_ref() == Some(&base.container.id);
    let tops = seen.iter().filter(|s| !seen.iter().any(|base| is_member(s, base)));
    for top in tops {
        rows.push(row("", top));
        let members: Vec<&Seen> = seen.iter().filter(|s| is_member(s, top)).collect();
        for (i, member) in members.iter().enumerate() {
            rows.push(row(if i + 1 == members.len() { "└─ " } else { "├─ " }, member));
        }
    }
    let mut width = [0; 7];
    for row in &rows {
        for (w, cell) in width.iter_mut().zip(row) {
            *w = (*w).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(width).map(|(cell, w)| format!("{cell:w$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(branch: &str, seen: &Seen) -> [String; 7] {
    let c = &seen.container;
    let pid = c.process.filter(|_| seen.state == State::Running);
    let addresses: Vec<&str> =
        c.networks.iter().flat_map(|n| &n.addresses).map(String::as_str).collect();
    [
        format!("{branch}{}", c.name),
        if seen.with_pause { "stopped (with pause)".to_owned() } else { state(&seen.state) },
        pid.map_or("-".into(), |p| p.pid.to_string()),
        age(record::now().saturating_sub(c.created) / 1000),
        dash(&addresses.join(" ")),
        dash(&c.ports.join(" ")),
        dash(&short(&c.command.join(" "))),
    ]
}

fn state(state: &State) -> String {
    match state {
        State::Exited(Some(Exit { signal: Some(signal), .. })) => {
            format!("stopped (signal {signal})")
        }
        State::Exited(Some(exit)) => format!("stopped ({})", exit.code),
        other => other.word().to_owned(),
    }
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.to_owned() }
}

/// Most characters of a command that are shown.
const COMMAND_MAX: usize = 40;

/// On one line, whatever is in it: what a program was called with may hold escapes.
fn short(command: &str) -> String {
    let clean: String = command.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    match clean.char_indices().nth(COMMAND_MAX) {
        Some((at, _)) => format!("{}…", &clean[..at]),
        None => clean,
    }
}

/// Seconds in the largest two units.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_commands() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (61, "1m1s"), (7380, "2h3m"), (90000, "1d1h")]
        {
            assert_eq!(age(seconds), text);
        }
        assert_eq!(short("sh -c \x1b[31mred"), "sh -c ?[31mred");
        assert_eq!(short(&"ä".repeat(50)), "ä".repeat(40) + "…");
    }

    #[test]
    fn filters_in_words() {
        assert_eq!("name=web".parse(), Ok(Filter::Name("web".into())));
        assert_eq!("state=running".parse(), Ok(Filter::State("running".into())));
        for bad in ["", "name", "state=nosuch", "colour=red"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad:?}");
        }
    }
}
