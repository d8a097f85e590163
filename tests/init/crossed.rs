//! Each init beside the one whose name it has: the same words, the same signals, and what
//! the command saw and the caller got compared. What differs on purpose stands in
//! [`DIFFERENT`], and the test fails if one of these is no difference any more.

use super::bed::{Place, Run, THEIRS, at_once, ours, send, witness};

/// Where pause isn't as the init whose name it has: name, flags (a part of them), case
/// (a part of it), why.
const DIFFERENT: &[(&str, &str, &str, &str)] = &[
    ("catatonit", "", "state", "theirs leaves ^Z and its like blocked in the command"),
    (
        "catatonit",
        "",
        "keys [26]",
        "so ^Z does nothing there; here it stops the command and its init",
    ),
    (
        "tini",
        "",
        "keys [26]",
        "theirs stays, so its shell never learns that the command has stopped",
    ),
    ("tini", "", "Terminal [] [\"default\"] [20]", "the same, without the key"),
    ("tini", "", IGNORES_CHLD, "theirs never learns that its command has ended, and stays"),
    ("catatonit", "", IGNORES_CHLD, "the same"),
];

/// What a caller hands on: that it ignores signals, as nohup(1), a shell's `&` and a
/// supervisor do; that it ignores SIGCHLD; that it blocks signals. Verbs of the witness.
const CALLERS: [&[&str]; 4] = [&[], &["ignore", "1,2,3,15,34"], &["ignore", "17"], &["block"]];

/// The last but one of them, as a case's name has it.
const IGNORES_CHLD: &str = "[\"ignore\", \"17\"]";

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

/// All of [`all`], for a command that ignores them.
const EVERY: &str = "1,2,3,4,5,6,7,8,10,11,12,13,14,15,16,17,18,20,21,22,23,24,25,26,27,28,29,30,\
31,34,40,64";

/// What happens under an init.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    mode: usize,
    /// Of [`CALLERS`].
    caller: usize,
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
        let caller = CALLERS[self.caller];
        let Self { verbs, signals, keys, .. } = self;
        format!("{init} {flags:?} {place:?} {caller:?} {verbs:?} {signals:?} keys {keys:?}")
    }

    /// Runs it under an init.
    fn run(&self, init: &str) -> String {
        let (_, flags) = MODES[self.mode];
        let verbs = &self.verbs[..];
        let words = [&[init], flags, &["--", witness()], verbs].concat();
        let mut run = Run::called(CALLERS[self.caller], self.place(), &words, &[]);
        let stays = verbs.iter().any(|verb| ["record", "exit", "default"].contains(verb));
        let mut seen = String::new();
        if verbs.contains(&"stop") {
            // It stops before it is ready; what comes meanwhile stays until it goes on.
            run.settle_at("ST");
            for signal in self.signals.iter().filter(|signal| **signal != 18) {
                run.signal(*signal);
                seen += &format!("{signal}:{} ", run.states());
            }
            run.signal(18);
        }
        if stays {
            run.saw("ready").settle();
        }
        for key in &self.keys {
            run.press(&[*key]);
            match key {
                3 | 28 if verbs.contains(&"record") => {
                    run.saw(if *key == 3 { "signal 2\n" } else { "signal 3\n" });
                }
                3 => run.until_children(0),
                // Under one of them nothing happens.
                _ => std::thread::sleep(std::time::Duration::from_millis(200)),
            }
            run.settle();
            seen += &format!("{} ", run.states());
            run.kill_stop();
        }
        let command = run.witness();
        let stopped = verbs.contains(&"stop");
        for signal in self.signals.iter().filter(|_| !stopped) {
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
        if CALLERS[self.caller].contains(&"17") && run.outlasts_its_command() {
            return format!("{seen}| stays | {}", told(&run.written()).join(", "));
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
    let known = ["ready", "signal ", "group ", "blocked ", "ignored ", "continued", "leaving"];
    let lines = output.lines().filter(|line| known.iter().any(|word| line.starts_with(word)));
    lines.collect()
}

/// All signals that can be taken; 32 and 33 are the C library's own.
fn all() -> impl Iterator<Item = i32> {
    (1..=31).chain([34, 40, 64]).filter(|signal| ![9, 19].contains(signal))
}

/// Collects cases of one mode.
struct Cases {
    mode: usize,
    caller: usize,
    all: Vec<Case>,
}

impl Cases {
    fn add(&mut self, place: u8, verbs: &[&'static str], signals: &[i32], keys: &[u8]) {
        let &mut Self { mode, caller, .. } = self;
        let (verbs, signals, keys) = (verbs.to_vec(), signals.to_vec(), keys.to_vec());
        self.all.push(Case { mode, caller, place, verbs, signals, keys });
    }

    /// Every signal, to commands of every kind.
    fn every_signal(&mut self) {
        let (name, _) = MODES[self.mode];
        for place in 0..3 {
            // A fault's signal ends an init that isn't PID 1 and doesn't take it.
            let deadly =
                |signal: &i32| name != "dumb-init" && place != 1 && FAULTS.contains(signal);
            let signals: Vec<i32> = all().filter(|signal| !deadly(signal)).collect();
            self.add(place, &["record"], &signals, &[]);
            self.add(place, &["ignore", EVERY, "default"], &signals, &[]);
            self.add(place, &["block", "stop", "record"], &signals, &[]);
            if name != "dumb-init" {
                // Who leads a session can't lead a group.
                self.add(place, &["group", "record"], &signals, &[]);
            }
            for signal in all() {
                self.add(place, &["default"], &[signal], &[]);
                // An init that dies takes the terminal with it: its HUP gets there or not.
                if place != 2 || !deadly(&signal) {
                    self.add(place, &["exit"], &[signal], &[]);
                }
            }
            self.add(place, &["state", "exit"], &[15], &[]);
            self.add(place, &["leave"], &[], &[]);
        }
    }

    /// What is typed.
    fn keys(&mut self) {
        self.add(2, &["record"], &[15], &[3, 28]);
        self.add(2, &["default"], &[], &[3]);
        self.add(2, &["default"], &[15], &[26]);
    }

    /// Callers that hand on more than the default.
    fn callers(&mut self) {
        for (caller, verbs) in CALLERS.iter().enumerate().skip(1) {
            self.caller = caller;
            for place in [0, 1] {
                self.add(place, &["ignored", "record"], &[1, 2, 3, 15, 34, 18, 28], &[]);
                self.add(place, &["leave"], &[], &[]);
                if verbs.contains(&"17") {
                    continue;
                }
                for signal in [1, 2, 3, 15, 34] {
                    self.add(place, &["default"], &[signal], &[]);
                }
            }
            self.add(2, &["ignored", "state", "exit"], &[1], &[]);
        }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Cases { mode: 0, caller: 0, all: Vec::new() };
    for mode in 0..MODES.len() {
        (cases.mode, cases.caller) = (mode, 0);
        cases.every_signal();
        cases.keys();
        cases.callers();
    }
    cases.all
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
