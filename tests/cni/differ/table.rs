//! The table of differences on purpose, as the docs have it.

use super::super::common::dump::glob;

/// Where it stands.
pub(super) const FILE: &str = "docs/cni-differences.md";
const TEXT: &str = include_str!("../../../docs/cni-differences.md");

/// One pattern of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
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
    let entries = parse(TEXT);
    assert!(!entries.is_empty(), "{FILE} has no row");
    entries
}

/// A row is `| patterns of cases | patterns of lines | why |`, patterns in backquotes. Rows
/// without backquotes are heads.
fn parse(text: &str) -> Vec<Entry> {
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
            lines.clone().into_iter().map(move |line| Entry { case: case.clone(), line })
        };
        each(cases).into_iter().flat_map(both)
    })
    .collect()
}

#[test]
fn a_row_is_its_patterns() {
    let entries = parse("| where | what | why |\n|---|---|---|\n| `a*` | `x`, `y*z` | so |\n");
    let entry = |line: &str| Entry { case: "a*".into(), line: line.into() };
    assert_eq!(entries, [entry("x"), entry("y*z")]);
    assert!(entries[1].covers("abc", "y and z") && !entries[1].covers("b", "yz"));
    assert!(!entries[0].covers("a", "xy"));
}
