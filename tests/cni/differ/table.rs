//! The table of differences on purpose, as the docs have it.

use super::super::common::dump::glob;

/// Where it stands.
pub(super) const FILE: &str = "docs/cni-differences.md";
const TEXT: &str = include_str!("../../../docs/cni-differences.md");

/// The head of the rows that only a kernel with all kinds of links shows.
const FULL: &str = "\n## ";

/// Which kernel shows a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Any.
    Any,
    /// One with all kinds of links.
    Full,
}

/// One pattern of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// Matches the names of cases.
    pub(super) case: String,
    /// Matches lines of difference.
    line: String,
}

impl Entry {
    /// Whether it is about this line of this case.
    pub(super) fn covers(&self, case: &str, line: &str) -> bool {
        glob(&self.case, case) && glob(&self.line, line)
    }

    /// What tells it from others.
    pub(super) fn name(&self) -> String {
        format!("{} | {}", self.case, self.line)
    }
}

/// All entries, in the table's order.
pub(super) fn read() -> Vec<Entry> {
    let (any, full) = TEXT.split_once(FULL).expect("a second head");
    let entries = [parse(any, Place::Any), parse(full, Place::Full)];
    assert!(entries.iter().all(|part| !part.is_empty()), "{FILE} has no row");
    entries.concat()
}

/// A row is `| patterns of cases | patterns of lines | why |`, patterns in backquotes. Rows
/// without backquotes are heads.
fn parse(text: &str, place: Place) -> Vec<Entry> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [cases, lines, why] = cells[..] else { panic!("not three columns: {row}") };
        assert!(!why.trim().is_empty(), "no reason: {row}");
        let each = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let lines = each(lines);
        assert!(!lines.is_empty(), "no pattern: {row}");
        let both = move |case: String| {
            lines.clone().into_iter().map(move |line| Entry { place, case: case.clone(), line })
        };
        each(cases).into_iter().flat_map(both)
    })
    .collect()
}

#[test]
fn a_row_is_its_patterns() {
    let entries =
        parse("| where | what | why |\n|---|---|---|\n| `a*` | `x`, `y*z` | so |\n", Place::Any);
    let entry = |line: &str| Entry { place: Place::Any, case: "a*".into(), line: line.into() };
    assert_eq!(entries, [entry("x"), entry("y*z")]);
    assert!(entries[1].covers("abc", "y and z") && !entries[1].covers("b", "yz"));
    assert!(!entries[0].covers("a", "xy"));
}
