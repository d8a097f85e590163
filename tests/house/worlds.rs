//! A test that needs root says so in its attribute: then the test runner counts it as ignored
//! where nobody is root, and not as failed.
//!
//! It needs root if it makes a world with root's rights, or calls a function of its program
//! that does.

use std::collections::BTreeSet;

use super::code::{code_of, words};
use super::{fail_with, files};

/// The world's kind.
const ROOT: &str = "Kind::Root";
/// What says so. What only a kernel of a virtual machine can do runs as root there.
const SAYS: [&str; 2] = ["#[ignore = \"needs root\"]", "tests/vm runs it"];

/// A function of a test program.
struct Function {
    /// The folder or file below tests/ that is the program.
    program: String,
    file: String,
    name: String,
    /// Its attributes, with what is in their strings.
    attributes: String,
    words: BTreeSet<String>,
    root: bool,
}

impl Function {
    fn is_test(&self) -> bool {
        self.attributes.contains("#[test]")
    }

    fn says(&self) -> bool {
        SAYS.iter().any(|words| self.attributes.contains(words))
    }
}

/// The functions of a file, each up to the next one.
fn functions(file: &str, source: &str) -> Vec<Function> {
    let code = code_of(source);
    let (text, code): (Vec<&str>, Vec<&str>) = (source.lines().collect(), code.lines().collect());
    let name = |line: &str| -> Option<String> {
        let mut words = words(line).into_iter().map(|(_, word)| word);
        words
            .by_ref()
            .find(|word| !["pub", "crate", "super", "const"].contains(word))
            .filter(|word| *word == "fn")?;
        words.next().map(str::to_owned)
    };
    let starts: Vec<usize> = (0..code.len()).filter(|at| name(code[*at]).is_some()).collect();
    let ends = starts.iter().skip(1).copied().chain([code.len()]);
    let is_above = |line: &&&str| ["#[", "///"].iter().any(|of| line.trim_start().starts_with(of));
    let function = |(start, end): (&usize, usize)| {
        let body = code[*start..end].join("\n");
        let above = text[..*start].iter().rev().take_while(is_above);
        Function {
            program: file.split(['/', '.']).nth(1).unwrap_or_default().to_owned(),
            file: file.to_owned(),
            name: name(code[*start]).unwrap_or_default(),
            attributes: above.filter(|line| line.contains("#[")).copied().collect(),
            words: words(&body).into_iter().map(|(_, word)| word.to_owned()).collect(),
            root: body.contains(ROOT),
        }
    };
    starts.iter().zip(ends).map(function).collect()
}

/// Tests that need root and don't say so, or say so and don't need it.
fn wrong(mut all: Vec<Function>) -> Vec<String> {
    loop {
        let helpers: Vec<(String, String)> = all
            .iter()
            .filter(|f| f.root && !f.is_test())
            .map(|f| (f.program.clone(), f.name.clone()))
            .collect();
        let calls = |f: &Function| {
            helpers.iter().any(|(program, name)| *program == f.program && f.words.contains(name))
        };
        let more: Vec<usize> =
            (0..all.len()).filter(|i| !all[*i].root && calls(&all[*i])).collect();
        if more.is_empty() {
            break;
        }
        more.into_iter().for_each(|i| all[i].root = true);
    }
    let tests = all.iter().filter(|f| f.is_test());
    let told = |f: &Function| match (f.root, f.says(), f.attributes.contains(SAYS[0])) {
        (true, false, _) => Some(format!("{}: {} needs root and doesn't say so", f.file, f.name)),
        (false, _, true) => Some(format!("{}: {} says it needs root", f.file, f.name)),
        _ => None,
    };
    tests.filter_map(told).collect()
}

#[test]
fn a_test_that_needs_root_says_so() {
    let all = files(&[".rs"]);
    let mine = |name: &str| name.starts_with("tests/") && !name.starts_with("tests/common/");
    let all = all.iter().filter(|(name, _)| mine(name));
    let all: Vec<Function> = all.flat_map(|(name, text)| functions(name, text)).collect();
    assert!(all.iter().filter(|f| f.is_test() && f.says()).count() > 50, "none is seen");
    fail_with(wrong(all));
}

#[test]
fn the_rule_of_root_sees_helpers_and_attributes() {
    let source = r##"
        /// Its storms need it.
        fn storm(x: u8) { world(Kind::Root, || ()) }
        pub(super) fn twice() { storm(1); storm(2) }
        #[test]
        #[ignore = "needs root"]
        fn well() { twice(); }
        #[test]
        fn silent() {
            twice();
        }
        #[test]
        fn direct() { world(Kind::Root, || ()); }
        #[test] #[ignore = "needs x: tests/vm runs it on Linux"]
        fn elsewhere() { storm(3) }
        #[ignore = "needs root"]
        #[test]
        fn idle() { world(Kind::User, || ()); } // Kind::Root
    "##;
    let told = [
        "tests/x/a.rs: silent needs root and doesn't say so",
        "tests/x/a.rs: direct needs root and doesn't say so",
        "tests/x/a.rs: idle says it needs root",
    ];
    assert_eq!(wrong(functions("tests/x/a.rs", source)), told);
    // A program's functions are no others'.
    let mut all = functions("tests/x/a.rs", "fn storm() { world(Kind::Root) }");
    all.extend(functions("tests/y.rs", "#[test]\nfn other() { storm() }"));
    assert_eq!(wrong(all), [""; 0]);
}
