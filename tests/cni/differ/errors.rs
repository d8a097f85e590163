//! What ours refuses with, case by case: verb, code, text and hint, as `errors.txt` has them.
//!
//! ```text
//! bridge 1.0.0 bad: mtu in words
//!   ADD 7 cannot read the network configuration: mtu: must be a number, not a string
//!     (a hint, where there is one)
//! ```

use std::collections::BTreeMap;

use super::see::Seen;

/// Where they stand.
pub(super) const FILE: &str = "tests/cni/differ/errors.txt";
const TEXT: &str = include_str!("errors.txt");

/// Lines of errors by case.
pub(super) type Errors = BTreeMap<String, String>;

/// All that are expected.
pub(super) fn read() -> Errors {
    parse(TEXT)
}

/// The lines of one case.
pub(super) fn of(seen: &Seen) -> String {
    let texts =
        seen.iter().filter_map(|(key, text)| Some((key.strip_suffix(" error text")?, text)));
    texts
        .map(|(verb, text)| {
            let part = |name: &str| seen.get(&format!("{verb} error {name}")).map(String::as_str);
            let code = part("code").unwrap_or("(no code)");
            let hint = part("details").map(|hint| format!("    {hint}\n")).unwrap_or_default();
            format!("  {verb} {code} {}\n{hint}", text.replace('\n', "\n    "))
        })
        .collect()
}

pub(super) fn parse(text: &str) -> Errors {
    let mut all = Errors::new();
    let mut case = String::new();
    for line in text.lines() {
        if line.starts_with(' ') {
            *all.entry(case.clone()).or_default() += &format!("{line}\n");
        } else {
            line.clone_into(&mut case);
        }
    }
    all
}

pub(super) fn in_words(all: &Errors) -> String {
    all.iter().map(|(case, lines)| format!("{case}\n{lines}")).collect()
}

#[test]
fn errors_are_read_as_they_are_written() {
    let text = "a 1.0.0 x\n  ADD 7 no\n    a hint\n  DEL 4 no\nb\n  ADD 1 no\n";
    let all = parse(text);
    assert_eq!(all["a 1.0.0 x"], "  ADD 7 no\n    a hint\n  DEL 4 no\n");
    assert_eq!(in_words(&all), text);
    let words = [("error code", "7"), ("error text", "no"), ("error details", "a hint")];
    let seen = words.map(|(key, value)| (format!("ADD {key}"), value.to_owned()));
    assert_eq!(of(&seen.into()), "  ADD 7 no\n    a hint\n");
}
