//! Answers as tables for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::plan::{Found as ThereIs, Hold, Plan, Step};
use crate::record::Attachment;
use crate::verbs::gc::Found;
use crate::verbs::{Checked, Prepared, Wanted};

/// Columns of equal width, the last one free.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn words(step: &Step) -> (String, &'static str) {
    let hold = match step.hold {
        Hold::Own => "own",
        Hold::Share => "share",
        Hold::Borrow { .. } => "borrow",
        Hold::Ensure => "ensure",
    };
    (format!("{:?}", step.phase).to_lowercase(), hold)
}

/// An attachment in a few lines.
pub(super) fn attachment(attachment: &Attachment) -> String {
    let rows: Vec<Vec<String>> =
        in_order(&attachment.plan).map(|s| vec![s.at.to_string(), s.what.to_string()]).collect();
    format!(
        "{} attached in {}\n{}",
        attachment.id,
        attachment.netns,
        table(&["WHERE", "WHAT"], &rows)
    )
}

fn in_order(plan: &Plan) -> impl Iterator<Item = &Step> {
    plan.order().into_iter().map(|i| &plan.steps[i])
}

/// What add would do.
pub(super) fn plan(wanted: &Wanted, prepared: &Prepared) -> String {
    let rows: Vec<Vec<String>> = in_order(&prepared.plan)
        .map(|step| {
            let (phase, hold) = words(step);
            vec![phase, hold.into(), step.at.to_string(), step.what.to_string()]
        })
        .collect();
    let source = &wanted.network.source;
    let head = format!("network {} ({source}), attachment {}\n", wanted.network.name, wanted.id());
    head + &table(&["PHASE", "HOLD", "WHERE", "WHAT"], &rows) + HOLDS
}

const HOLDS: &str = "own: made and removed with the attachment; share: made if missing, removed by the last holder; \
borrow: put back; ensure: turned on and left on\n";

/// What add would do, for programs.
pub(super) fn plan_json(wanted: &Wanted, prepared: &Prepared) -> Value {
    let steps: Vec<Value> =
        in_order(&prepared.plan).map(|s| json!({"step": s, "text": s.what.to_string()})).collect();
    json!({
        "network": wanted.network.name,
        "source": wanted.network.source.to_string(),
        "attachment": wanted.id(),
        "steps": steps,
        "warnings": prepared.warnings,
    })
}

/// What check found.
pub(super) fn checked(checked: &Checked) -> String {
    let rows: Vec<Vec<String>> = checked
        .steps
        .iter()
        .map(|(step, found)| vec![step.at.to_string(), step.what.to_string(), found.to_string()])
        .collect();
    table(&["WHERE", "WHAT", "STATE"], &rows)
}

/// What check found, for programs.
pub(super) fn checked_json(checked: &Checked) -> Value {
    let steps: Vec<Value> = checked
        .steps
        .iter()
        .map(|(step, found)| {
            let (state, difference) = match found {
                ThereIs::Same => ("ok", Value::Null),
                ThereIs::Absent => ("missing", Value::Null),
                ThereIs::Differs(how) => ("differs", json!(how)),
            };
            json!({"where": step.at, "what": step.what.to_string(), "state": state, "difference": difference})
        })
        .collect();
    json!({"attachment": checked.attachment.id, "ok": checked.ok(), "steps": steps})
}

/// What gc found.
pub(super) fn gc(found: &Found, dry_run: bool) -> String {
    if found.orphans.is_empty() && found.kept.is_empty() {
        return "nothing is there, so nothing is left over\n".into();
    }
    let orphans = found.orphans.iter().map(|o| {
        let done = match &o.removed {
            None => "would remove".to_owned(),
            Some(Ok(())) => "removed".to_owned(),
            Some(Err(error)) => format!("failed ({error})"),
        };
        vec![done, o.what.clone(), o.evidence.clone()]
    });
    let kept = found.kept.iter().map(|k| vec!["kept".into(), k.what.clone(), k.why.clone()]);
    let rows: Vec<Vec<String>> = orphans.chain(kept).collect();
    let text = table(&["DONE", "WHAT", "EVIDENCE"], &rows);
    if dry_run { text + "dry run: nothing was changed\n" } else { text }
}

/// What gc found, for programs.
pub(super) fn gc_json(found: &Found) -> Value {
    let orphans: Vec<Value> = found
        .orphans
        .iter()
        .map(|o| {
            let (removed, error) = match &o.removed {
                None => (Value::Null, Value::Null),
                Some(Ok(())) => (json!(true), Value::Null),
                Some(Err(error)) => (json!(false), json!(error.to_string())),
            };
            json!({"what": o.what, "evidence": o.evidence, "removed": removed, "error": error})
        })
        .collect();
    let kept: Vec<Value> =
        found.kept.iter().map(|k| json!({"what": k.what, "why": k.why})).collect();
    json!({"orphans": orphans, "kept": kept})
}
