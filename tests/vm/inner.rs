//! The tests that run in a VM: which, and how they ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use super::choice::On;
use super::image::Image;
use super::kernel::Kernel;
use super::machine::End;
use super::programs::{Program, Programs, of_infra_image};

/// A test for a VM, and what it is called in reports.
struct Inner<'a> {
    name: String,
    path: &'a Path,
    test: &'a str,
}

/// Modules that are loaded before the tests begin, for each of them would be by the first
/// test that needs it.
pub(super) const MODULES: &str = "overlay veth bridge br_netfilter tun macvlan vxlan dummy 8021q ipvlan vrf \
    bonding nf_conntrack_netlink nf_tables nft_chain_nat nft_ct nft_fib_inet nft_masq nft_nat \
    nft_compat nft_reject_inet nft_counter\n";

/// Words: only tests that have one of them in their names run in a VM.
const ONLY: &str = "PODKEEL_VM_TESTS";
/// Seconds for one test.
const EACH: u32 = 600;
/// How many run at a time: they wait for much, on one emulated CPU.
const TOGETHER: u32 = 3;

/// Runs the chosen tests on a kernel. Panics unless each of them has succeeded.
pub(super) fn on(choice: &On, most: Duration) {
    let (label, board) = (choice.label, &choice.board);
    let kernel = Kernel::of(choice.release, board.debian);
    let mut image = Image::with_tools(board);
    let programs = Programs::of(choice.programs, board, &image.root);
    let inner = chosen(choice, &programs.tests);
    image.modules(&kernel);
    if board.is_own() {
        image.program(&programs.carried);
    } else {
        // For another CPU than shim's the one in the infra image is built in another way.
        image.file(&programs.carried, of_infra_image(board.debian));
    }
    programs.others.iter().for_each(|program| image.program(program));
    programs.tests.iter().for_each(|program| image.program(&program.path));
    image.text("/init", include_str!("init.sh"), 0o755);
    image.text("/inner", include_str!("inner.sh"), 0o755);
    image.text("/modules", MODULES, 0o644);
    image.text("/list", &list(&inner), 0o644);
    // Those of this machine's packages run on its own CPU alone.
    if board.is_own() {
        image.reference();
    }
    let job = format!("{} xargs -a /list -P {TOGETHER} -L 1 /inner", handed_on());
    image.text("/job", &job, 0o644);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("vm-{label}.cpio"));
    image.write(&file);
    let mut seen = BTreeMap::new();
    let end = board.boot(&kernel.vmlinuz, &file, most, |line| note(label, line, &mut seen));
    judge(label, inner.into_iter().map(|one| one.name), &seen, &end);
}

/// What tests of the reference read: which cases alone are wanted.
fn handed_on() -> String {
    let only = std::env::var("PODKEEL_DIFFER");
    only.map(|only| format!("PODKEEL_DIFFER='{only}'")).unwrap_or_default()
}

/// The tests of a choice, or those that have one of the words of [`ONLY`].
fn chosen<'a>(choice: &On, programs: &'a [Program]) -> Vec<Inner<'a>> {
    let words = std::env::var(ONLY).unwrap_or_default();
    let mut inner = Vec::new();
    for program in programs {
        for test in &program.tests {
            let name = format!("{}::{test}", program.name);
            let begins = |start: &&str| name.starts_with(start);
            if let Some((_, why)) = choice.cannot.iter().find(|(start, _)| begins(start)) {
                say(&format!("{}: {name} ... not here: {why}", choice.label));
            }
            let wanted = match words.is_empty() {
                true => choice.run.iter().any(begins),
                false => words.split(' ').any(|word| name.contains(word)),
            };
            if wanted {
                inner.push(Inner { name, path: &program.path, test });
            }
        }
    }
    let is_there = |start: &str| {
        let all = programs.iter().flat_map(|p| p.tests.iter().map(move |t| (p.name, t)));
        all.map(|(program, test)| format!("{program}::{test}")).any(|n| n.starts_with(start))
    };
    for start in choice.run.iter().chain(choice.cannot.iter().map(|(start, _)| start)) {
        assert!(is_there(start), "no test is called {start}");
    }
    inner
}

fn list(inner: &[Inner]) -> String {
    inner.iter().fold(String::new(), |mut text, one| {
        let path = one.path.display();
        writeln!(text, "{} {EACH} {path} {}", one.name, one.test).expect("to a string");
        text
    })
}

/// How tests ended: their exit code.
pub(super) type Seen = BTreeMap<String, String>;

/// Shows a line of the console if it tells of a test.
pub(super) fn note(label: &str, line: &str, seen: &mut Seen) {
    if let Some(text) = line.strip_prefix("@out ") {
        say(&format!("{label}: | {text}"));
    }
    let Some(words) = line.strip_prefix("@end ") else { return };
    let words: Vec<&str> = words.split(' ').collect();
    let &[name, code, begin, end] = &words[..] else { return };
    let at = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    let result = if code == "0" { "ok" } else { "FAILED" };
    say(&format!("{label}: {name} ... {result} ({:.1} s)", at(end) - at(begin)));
    seen.insert(name.to_owned(), code.to_owned());
}

/// Panics unless each of these tests was seen to succeed, and the VM to come to its end.
pub(super) fn judge(label: &str, tests: impl Iterator<Item = String>, seen: &Seen, end: &End) {
    let tests: Vec<_> = tests.collect();
    let of = |name: &String| seen.get(name).map(String::as_str);
    let failed: Vec<_> = tests.iter().filter(|name| of(name) != Some("0")).collect();
    say(&format!("{label}: {} of {} tests succeeded", tests.len() - failed.len(), tests.len()));
    let why = |name: &&String| match of(name) {
        Some("124" | "137") => format!("{name}: not done in {EACH} s"),
        Some("none") => format!("{name}: the program has no such test"),
        Some(code) => format!("{name}: exit status {code}"),
        None => format!("{name}: did not end"),
    };
    let names: Vec<_> = failed.iter().map(why).collect();
    let whole = !end.hung && end.console.contains("@done");
    assert!(!tests.is_empty(), "{label}: no test was chosen");
    assert!(
        failed.is_empty() && whole,
        "{label}{}: failed:\n  {}\n--- the console\n{}",
        if end.hung { ": the VM hung and was ended" } else { "" },
        names.join("\n  "),
        end.console
    );
}

/// Shows a line at once: what a test prints is else shown only if it fails.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
