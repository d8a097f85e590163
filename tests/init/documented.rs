//! The rows of docs/init.md that no other test holds.

use super::bed::{Place, Run, THEIRS, ours, witness};
use super::own::{exits, run};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const DOCS: &str = include_str!("../../docs/init.md");

/// The state of a command, with what a flag or a variable is to change.
fn state(init: &str, flags: &[&str], variables: &[(&str, &str)]) -> String {
    let words = [&[init], flags, &["--", witness(), "state"]].concat();
    let outcome = Run::with(Place::Plain, &words, variables).end();
    exits(0, &outcome);
    outcome.output
}

#[test]
fn variables_stand_for_flags() {
    let (tini, dumb_init) = (ours("tini"), ours("dumb-init"));
    assert!(state(&tini, &[], &[]).contains("orphans go to others"));
    assert!(!state(&tini, &[], &[("TINI_SUBREAPER", "")]).contains("orphans go to others"));
    assert!(state(&dumb_init, &[], &[]).contains("session own"));
    assert!(state(&dumb_init, &[], &[("DUMB_INIT_SETSID", "0")]).contains("session the init's"));
    for flag in ["-c", "--single-child"] {
        assert!(state(&dumb_init, &[flag], &[]).contains("session the init's"), "{flag}");
    }
    for variable in [("TINI_VERBOSITY", "2"), ("DUMB_INIT_DEBUG", "1"), ("CATATONIT_DEBUG", "1")] {
        for name in ["pause", "tini", "dumb-init", "catatonit"] {
            let said = state(&ours(name), &[], &[variable]);
            assert!(said.contains("the command has ended with 0"), "{name} {variable:?}: {said}");
        }
    }
    assert!(state(&tini, &["--verbose"], &[]).contains("the command has ended with 0"));
    // To the group: a child of the command gets it, too.
    let line = "trap 'echo child; exit' USR1; (trap 'echo parent; exit' USR1; echo ready; \
                while :; do sleep 0.05; done) & echo ready; while :; do sleep 0.05; done";
    for (variables, group) in [(&[][..], false), (&[("TINI_KILL_PROCESS_GROUP", "")], true)] {
        let words = [&*tini, "-s", "--wait-all", "--", "/bin/sh", "-c", line];
        let run = Run::with(Place::First, &words, variables);
        run.saw_times("ready", 2);
        run.signal(10);
        run.saw("child\n");
        if group {
            run.saw("parent\n");
        }
        assert_eq!(run.written().contains("parent\n"), group, "{}", run.written());
    }
}

#[test]
fn signals_have_names() {
    for words in [&["-r", "TERM:USR1"][..], &["--rewrite", "SIGTERM:10"], &["--rewrite=15:10"]] {
        let init = ours("pause");
        let words = [&[&*init], words, &["--", witness(), "exit"]].concat();
        let run = Run::start(Place::First, &words);
        run.saw("ready").settle();
        run.signal(15);
        let outcome = run.end();
        assert!(outcome.output.contains("signal 10\n"), "{words:?}: {outcome:?}");
    }
}

#[test]
fn times_have_units() {
    for (time, least, most) in [("1s", 900, 9_000), ("1", 900, 9_000), ("50ms", 0, 900)] {
        let init = ours("pause");
        let words = [&init, "--grace", time, "--", witness(), "record"];
        let run = Run::start(Place::First, &words);
        run.saw("ready").settle();
        let asked = Instant::now();
        run.signal(15);
        exits(137, &run.end());
        let took = asked.elapsed();
        let bounds = Duration::from_millis(least)..Duration::from_millis(most);
        assert!(bounds.contains(&took), "{time}: {took:?}");
    }
}

#[test]
fn what_is_answered_at_once() {
    for name in ["pause", "tini", "dumb-init", "catatonit"] {
        for flag in ["-l", "-L"] {
            let outcome = run(Place::Plain, &[&ours(name), flag, "--", "/bin/false"]);
            exits(0, &outcome);
            assert_eq!(outcome.output, "Apache-2.0 OR MIT\n", "{name} {flag}");
        }
        // Flags end at the command.
        exits(3, &run(Place::Plain, &[&ours(name), "--", "/bin/sh", "-c", "exit 3", "-l", "-V"]));
    }
    for words in [["tini", "/bin/echo"], ["dumb-init", "/bin/echo"], ["catatonit", "/bin/echo"]] {
        let outcome = run(Place::Plain, &[&ours(words[0]), words[1], "-V", "-l", "-h"]);
        exits(0, &outcome);
        assert!(outcome.output.ends_with("-V -l -h\n"), "{outcome:?}");
    }
    let theirs = run(Place::Plain, &["/usr/bin/tini", "/bin/echo", "-l"]);
    assert!(theirs.output.contains("Permission is hereby granted"), "tini has changed: {theirs:?}");
    let run = Run::start(Place::First, &[&ours("catatonit"), "-P"]);
    run.until_ignored();
    run.signal(15);
    exits(0, &run.end());
}

/// What theirs do with a command that can't be executed, which ours doesn't follow.
#[test]
fn their_exit_codes_differ() {
    for (name, missing, denied) in [("tini", 127, 126), ("dumb-init", 2, 2), ("catatonit", 1, 1)] {
        let (_, path) = THEIRS.iter().find(|(known, _)| *known == name).expect("a name");
        for (command, code) in [("/no/such", missing), ("/", denied)] {
            exits(code, &run(Place::Plain, &[path, "--", command]));
        }
    }
}

/// Who adopts orphans though it isn't PID 1, and who ends those that are left.
#[test]
fn orphans_go_where_the_name_says() {
    let line = "(sh -c 'sleep 0.2; read -r pid name state parent others </proc/$$/stat; \
                cat /proc/$parent/comm' &); sleep 0.6";
    for (name, flags, adopts) in [
        ("pause", &[][..], true),
        ("catatonit", &[], true),
        ("tini", &["-s"], true),
        ("tini", &[], false),
        ("dumb-init", &[], false),
    ] {
        let init = ours(name);
        let words = [&[&*init], flags, &["--", "/bin/sh", "-c", line]].concat();
        let outcome = run(Place::Plain, &words);
        exits(0, &outcome);
        let adopted = outcome.output.lines().any(|line| line == name);
        assert_eq!(adopted, adopts, "{words:?}: {outcome:?}");
    }
    let line = "(trap 'echo told; exit' TERM; while :; do sleep 0.05; done) & sleep 0.2; exit 3";
    for (_, init) in THEIRS.iter().map(|(name, path)| (name, (*path).to_owned())) {
        let name = init.rsplit('/').next().expect("a name").to_owned();
        for init in [init, ours(&name)] {
            let outcome = run(Place::First, &[&init, "--", "/bin/sh", "-c", line]);
            exits(3, &outcome);
            // As PID 1 it takes all others with it; only dumb-init says TERM before.
            if name != "dumb-init" {
                assert!(!outcome.output.contains("told"), "{init}: {outcome:?}");
            }
            let outcome = run(Place::Plain, &[&init, "--", "/bin/sh", "-c", &by_itself(line)]);
            assert_eq!(outcome.output.contains("told"), name == "dumb-init", "{init}: {outcome:?}");
        }
    }
}

/// The same, but who is left ends by itself, too.
fn by_itself(line: &str) -> String {
    line.replace("while :; do sleep 0.05; done", "for n in $(seq 8); do sleep 0.05; done")
}

/// A terminal is taken from nobody: a job in the background has it as little under this init as
/// without one.
#[test]
fn a_terminal_stays_with_whoever_has_it() {
    let line = "set -m; \"$0\" -- \"$@\" & wait";
    for name in ["pause", "tini", "catatonit"] {
        let state = |init: &str| {
            let words = ["/bin/sh", "-c", line, init, witness(), "state"];
            run(Place::Terminal, &words).output
        };
        assert!(state(&ours(name)).contains("background"), "{name}");
        if let Some((_, theirs)) = THEIRS.iter().find(|(known, _)| *known == name) {
            assert!(state(theirs).contains("foreground"), "{name} has changed");
        }
    }
}

/// The table of system calls names those of the published profiles.
#[test]
fn the_table_of_calls_is_that_of_the_profiles() {
    let (_, table) = DOCS.split_once("## System calls").expect("the table");
    let (table, _) = table.split_once("\nNothing that is refused").expect("its end");
    let words = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.map(str::to_owned).collect()
    };
    for (row, profile) in [("| holds a pod |", "hold"), ("| ", "init")] {
        let rows = table.lines().filter(|line| {
            line.starts_with(row) && (row != "| " || !line.starts_with("| holds a pod"))
        });
        let named: BTreeSet<String> = rows.flat_map(words).collect();
        let file = format!("{}/pause/seccomp/{profile}.json", env!("CARGO_MANIFEST_DIR"));
        let profile = super::filters::allowed(&std::fs::read_to_string(file).expect("a profile"));
        let missing: Vec<_> = profile.difference(&named).collect();
        assert!(missing.is_empty(), "{row}: {missing:?} is not in the table");
        let calls = named.iter().filter(|word| super::filters::is_call(word));
        let more: Vec<_> = calls.filter(|call| !profile.contains(*call)).collect();
        assert!(more.is_empty(), "{row}: {more:?} is not in the profile");
    }
}
