//! Each init beside the one whose name it has: the same words, the same signals, and what
//! the command saw and the caller got compared. What differs on purpose stands in
//! [`DIFFERENT`], and the test fails if one of these is no difference any more.

use super::bed::{Place, Run, THEIRS, at_once, ours, send, witness};

/// Where pause isn't as the init whose name it has: name, flags (a part of them), case
/// (a part of it), why.
const DIFFERENT: &[(&str, &str, &str, &str)] = &[
    ("catatonit", "", "state", "theirs leaves ^Z and its like blocked in the command"),
    ("catatonit", "", "[26]", "so ^Z does nothing there; here it stops the command and its init"),
    ("tini", "", "[26]", "theirs stays, so its shell never learns that the command has stopped"),
];

/// Inits with the flags that make a difference to signals.
const MODES: &[(&str, &[&str])] = &[
    ("tini", &["-s"]),
    ("tini", &["-s", "-g"]),
    ("dumb-init", &[]),
    ("dumb-init", &["-c"]),
    ("dumb-init", &["-r", "15:3", "-r", "1:0"]),
    ("catatonit", &[]),
    ("catatonit", &["-g"]),
];

/// What a program gets for its own faults: tini and catatonit don't take them from others.
const FAULTS: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// What happens under an init.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    mode: usize,
    /// Plain, as PID 1, on a terminal.
    place: u8,
    /// The verbs of the witness.
    verbs: Vec<&'static str>,
    /// Signals to the init, one after the other.
    signals: Vec<i32>,
    /// Keys that are typed.
    keys: Vec<u8>,
}

impl Case {
    fn place(&self) -> Place {
        [Place::Plain, Place::First, Place::Terminal][usize::from(self.place)]
    }

    fn name(&self) -> String {
        let (init, flags) = MODES[self.mode];
        let place = self.place();
        format!("{init} {flags:?} {place:?} {:?} {:?} {:?}", self.verbs, self.signals, self.keys)
    }

    /// Runs it under an init.
    fn run(&self, init: &str) -> String {
        let (_, flags) = MODES[self.mode];
        let verbs = &self.verbs[..];
        let words = [&[init], flags, &["--", witness()], verbs].concat();
        let mut run = Run::start(self.place(), &words);
        let stays = verbs.iter().any(|verb| ["record", "exit", "default"].contains(verb));
        let mut seen = String::new();
        if verbs.contains(&"stop") {
            // It stops before it is ready.
            run.settle_at("ST");
            run.settle();
            seen += &format!("{} ", run.states());
            run.signal(18);
        }
        if stays {
            run.saw("ready").settle();
        }
        for key in &self.keys {
            run.press(&[*key]);
            std::thread::sleep(std::time::Duration::from_millis(30));
            run.settle();
            seen += &format!("{} ", run.states());
            run.kill_stop();
        }
        let command = run.witness();
        for signal in &self.signals {
            run.signal(*signal);
            let states = run.states();
            seen += &format!("{signal}:{states} ");
            if states.starts_with('-') {
                break;
            }
            if states.starts_with('T') || states.ends_with('T') {
                run.signal(18);
            }
        }
        // Who is still there, with or without an init.
        if stays && let Some(command) = command {
            send(command, 9);
        }
        let outcome = run.end();
        let mut told = told(&outcome.output);
        if !self.keys.is_empty() {
            // A key is for the whole group. Where the init is of the same one, the command
            // gets two signals, and whether the second finds the first is chance.
            told.dedup();
        }
        format!("{seen}| {} | {}", outcome.status, told.join(", "))
    }
}

/// What the witness told; the inits have words of their own.
fn told(output: &str) -> Vec<&str> {
    let known = ["ready", "signal ", "group ", "blocked ", "continued", "leaving"];
    let lines = output.lines().filter(|line| known.iter().any(|word| line.starts_with(word)));
    lines.collect()
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (mode, (name, _)) in MODES.iter().enumerate() {
        let faults = *name != "dumb-init";
        let mut add = |place, verbs: &[&'static str], signals: &[i32], keys: &[u8]| {
            let (verbs, signals, keys) = (verbs.to_vec(), signals.to_vec(), keys.to_vec());
            cases.push(Case { mode, place, verbs, signals, keys });
        };
        // 32 and 33 are the C library's own: the witness can't take them.
        let all = || (1..=31).chain([34, 40, 64]).filter(|signal| ![9, 19].contains(signal));
        for place in [0, 1] {
            // A fault's signal ends an init that isn't PID 1 and doesn't take it.
            let deadly = |signal: &i32| faults && place == 0 && FAULTS.contains(signal);
            let signals: Vec<i32> = all().filter(|signal| !deadly(signal)).collect();
            for verbs in [&["record"][..], &["group", "record"], &["session", "record"]] {
                if verbs[0] == "session" || (verbs[0] == "group" && *name == "dumb-init") {
                    // Who leads a group can't lead a session, and the other way round.
                    continue;
                }
                add(place, verbs, &signals, &[]);
            }
            for signal in FAULTS.into_iter().filter(deadly) {
                add(place, &["record"], &[signal], &[]);
            }
            add(place, &["state", "exit"], &[15], &[]);
            add(place, &["stop", "exit"], &[15], &[]);
            add(place, &["leave"], &[], &[]);
            for code in [2, 12, 64] {
                add(place, &["exit"], &[code], &[]);
            }
        }
        for signal in all() {
            add(0, &["default"], &[signal], &[]);
        }
        add(2, &["state", "record"], &[1, 2, 15, 20, 21, 22, 28], &[]);
        add(2, &["record"], &[15], &[3, 28]);
        add(2, &["default"], &[], &[3]);
        add(2, &["default"], &[15], &[26]);
    }
    cases
}

#[test]
fn every_signal_is_as_under_the_init_of_that_name() {
    witness();
    let cases = cases();
    let results = at_once(&cases, |case| {
        let (name, _) = MODES[case.mode];
        let (_, theirs) = THEIRS.iter().find(|(known, _)| *known == name).expect("a name");
        (case.run(theirs), case.run(&ours(name)))
    });
    let (mut wrong, mut used) = (Vec::new(), vec![false; DIFFERENT.len()]);
    for (case, (theirs, ours)) in &results {
        let text = case.name();
        let known = DIFFERENT.iter().position(|(init, flags, part, _)| {
            text.starts_with(init) && text.contains(flags) && text.contains(part)
        });
        match known {
            Some(known) => used[known] |= theirs != ours,
            None if theirs != ours => {
                wrong.push(format!("{text}\n  theirs {theirs}\n  ours   {ours}"))
            }
            None => {}
        }
    }
    for (entry, used) in DIFFERENT.iter().zip(used) {
        if !used {
            wrong.push(format!("{entry:?}: no difference any more"));
        }
    }
    println!("{} cases", results.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), results.len(), wrong.join("\n"));
}
