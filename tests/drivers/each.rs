//! check, of an attachment each of whose objects is removed and changed by hand in turn: it
//! names the object, and nothing beside but what the kernel took along. del and add put
//! everything back.

use std::collections::BTreeSet;

use serde_json::Value;

use super::bed::{add, netsetup, refused};
use super::common::dirs;
use super::hands::{Along, Change, On, Step};

/// Removes and changes each object of the attachment that these words make, which is
/// called `net/pod/eth0`; or those of some kinds, if any are named. Returns how often, and
/// what can't be done and why.
pub(crate) fn each_object(names: &str, flags: &str, kinds: &[&str]) -> (usize, BTreeSet<String>) {
    let (mut done, mut reasons) = (0, BTreeSet::new());
    let (mut at, mut nth) = (0, 0);
    loop {
        add(&format!("{names} {flags}"));
        let steps = steps();
        // On to the next step that something can still be done to.
        let change = loop {
            let Some(step) = steps.get(at) else {
                netsetup(&format!("check {names}"));
                netsetup(&format!("del {names}"));
                return (done, reasons);
            };
            let asked_for = kinds.is_empty() || kinds.contains(&step.kind.as_str());
            let (changes, why) = if asked_for { changes(step) } else { Default::default() };
            reasons.extend(why);
            match changes.into_iter().nth(nth) {
                Some(change) => break change,
                None => (at, nth) = (at + 1, 0),
            }
        };
        change_one(names, &steps, at, &change);
        (done, nth) = (done + 1, nth + 1);
    }
}

/// What hands can do to it, and why they can't do more.
fn changes(step: &Step) -> (Vec<Change>, Vec<String>) {
    let done = step.done();
    let why = |verb: &str, why: &str| format!("{} isn't {verb}: {why}", step.kind);
    let mut reasons = Vec::new();
    let removed = done.removed.map_err(|e| reasons.push(why("removed", e))).ok();
    let changed = done.changed.map_err(|e| reasons.push(why("changed", e))).unwrap_or_default();
    (removed.into_iter().chain(changed).collect(), reasons)
}

fn change_one(names: &str, steps: &[Step], at: usize, change: &Change) {
    let here = steps[at].ns();
    // Shown if any of what follows fails.
    println!("{:?}: {}", steps[at].link(), change.command);
    here.sh(&change.command);
    let found = states(&refused(&format!("check {names} --format json"), 3));
    let told: Vec<String> = found.iter().map(|(what, state)| format!("{what}: {state}")).collect();
    assert_eq!(found.len(), steps.len(), "check looks at other steps than the record has");
    let what = &found[at].0;
    let at_hand = format!("{what}: `{}`: check says\n  {}", change.command, told.join("\n  "));
    let state = &found[at].1;
    let named =
        if change.state == "missing" { state == "missing" } else { state.contains(&change.state) };
    assert!(named, "{:?} isn't what is said of it: {at_hand}", change.state);
    for (i, (other, state)) in found.iter().enumerate() {
        let may = i == at
            || is_set_of(&steps[i], &steps[at])
            || goes_along(steps, &steps[i], &change.along);
        assert!(may || state == "ok", "{other} is {state}, which nobody touched: {at_hand}");
    }
    if !change.back.is_empty() {
        here.sh(&change.back);
    }
    netsetup(&format!("del {names}"));
}

/// Objects and their states, in the order of [`steps`].
fn states(json: &str) -> Vec<(String, String)> {
    let value: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
    let word = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let state = |s: &Value| match word(&s["state"]).as_str() {
        "differs" => word(&s["difference"]),
        state => state.to_owned(),
    };
    let all = value["steps"].as_array().expect("steps").iter();
    all.map(|s| (format!("{} in the {}", word(&s["what"]), word(&s["where"])), state(s))).collect()
}

/// The steps of the record that check looks at, in its order.
fn steps() -> Vec<Step> {
    let file = dirs().run.join("net/net/pod/eth0.json");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let record: Value = serde_json::from_str(&text).expect("a record");
    let mut steps = record["plan"].as_array().expect("a plan").clone();
    let phases = ["close", "build", "open"];
    steps.sort_by_key(|s| phases.iter().position(|phase| s["phase"] == *phase));
    let step = |s: &Value| {
        let (kind, of) = match &s["what"] {
            Value::String(kind) => (kind.clone(), Value::Null),
            Value::Object(what) => {
                let (kind, of) = what.iter().next().expect("a kind");
                (kind.clone(), of.clone())
            }
            other => panic!("an object {other}"),
        };
        let hold = s["hold"].as_str().unwrap_or("borrow").to_owned();
        Step { at: s["at"].as_str().expect("a side").to_owned(), hold, kind, of }
    };
    // What is said once isn't there to be found.
    steps.iter().map(step).filter(|step| step.kind != "announced").collect()
}

/// Whether one of them is a setting of the link that the other is: both state it.
fn is_set_of(one: &Step, other: &Step) -> bool {
    let of = |set: &Step, link: &Step| {
        let names = [&link.of["name"], &link.of["peer"], &link.of["to"]];
        set.kind == "link-attr" && names.contains(&&set.of["link"])
    };
    of(one, other) || of(other, one)
}

/// Whether the kernel does something to another step when hands have done this to one.
fn goes_along(steps: &[Step], step: &Step, along: &Along) -> bool {
    let on = step.link().map(|link| step.on(link));
    match along {
        Along::Nothing => false,
        Along::Table(kinds) => kinds.contains(&step.kind.as_str()),
        Along::Kind(kind, link) => step.kind == *kind && on.as_ref() == Some(link),
        Along::Gone(links) => {
            let gone = standing_on(steps, links, false);
            on.is_some_and(|on| gone.contains(&on)) || left(steps, step, &gone)
        }
        Along::Apart(master) => {
            let alone = std::slice::from_ref(master);
            left(steps, step, alone) || goes_along(steps, step, &Along::Down(master.clone()))
        }
        Along::Down(link) => {
            let down = standing_on(steps, std::slice::from_ref(link), true);
            let lost = match step.kind.as_str() {
                "up" | "route" | "neigh" | "veth" => true,
                "addr" => step.str("address").contains(':'),
                _ => false,
            };
            lost && on.is_some_and(|on| down.contains(&on))
        }
    }
}

/// Whether a step is, or is on, a link that has left one of these masters: it was down for
/// a moment.
fn left(steps: &[Step], step: &Step, masters: &[On]) -> bool {
    let of = |s: &Step| s.of["master"].as_str().is_some_and(|m| masters.contains(&s.on(m)));
    let Some(on) = step.link().map(|link| step.on(link)) else { return false };
    let link = steps.iter().find(|s| of(s) && s.link().is_some_and(|link| s.on(link) == on));
    let along = |member: &Step| {
        step.kind == member.kind
            || step.kind == "vlans"
            || goes_along(steps, step, &Along::Down(on))
    };
    link.is_some_and(along)
}

/// These links and those that stand on them: all, or vlans alone, which go down with theirs.
fn standing_on(steps: &[Step], links: &[On], vlans: bool) -> Vec<On> {
    let mut found = links.to_vec();
    // A device comes after its parent.
    for step in steps.iter().filter(|step| step.kind == "device") {
        let parent = &step.of["parent"];
        let (Some(at), Some(name)) = (parent["at"].as_str(), parent["name"].as_str()) else {
            continue;
        };
        let is_vlan = step.of["kind"]["vlan"].is_object();
        if found.contains(&(at.to_owned(), name.to_owned())) && (is_vlan || !vlans) {
            found.push(step.on(step.str("name")));
        }
    }
    // Both ends of a pair go together.
    for veth in steps.iter().filter(|step| step.kind == "veth" && !vlans) {
        if found.contains(&veth.on(veth.str("name"))) {
            found.push(("pod".to_owned(), veth.str("peer").to_owned()));
        }
    }
    found
}
