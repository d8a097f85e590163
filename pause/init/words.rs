//! What the init is asked for: its flags, its environment, and what its name implies.

use super::NOTHING;
use super::say::say;
use crate::name::Name;
use crate::sys::{STDOUT, Str, Words, write};

const USAGE: &str = "\
Usage: pause|tini|dumb-init|catatonit [-cgPsvw] [-p SIGNAL] [-r SIGNAL:SIGNAL] [-e CODE]
  [--wait-all] [--grace TIME] [--] COMMAND [ARG]...   (or -h, -l, -V)
";

/// Flags, a letter each: first those that are on or off, then those that are answered
/// at once, then those with a value.
const LETTERS: &[u8] = b"sgcwPaqvhlLVpker";
const ANSWERED: usize = 8;
const VALUED: usize = 12;

/// Long flags.
const LONG: Str = Str::new(c"help version verbose single-child rewrite wait-all grace");

/// Variables that stand for flags.
const VARIABLES: Str = Str::new(
    c"TINI_SUBREAPER TINI_KILL_PROCESS_GROUP TINI_VERBOSITY=0 \
TINI_VERBOSITY=2 TINI_VERBOSITY=3 DUMB_INIT_SETSID=0 DUMB_INIT_DEBUG=1 CATATONIT_DEBUG",
);

/// The names of the signals from 1 on (`asm/signal.h`).
const SIGNALS: Str = Str::new(
    c"HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT \
STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS",
);

/// The last signal that can be rewritten; those behind it are real-time signals.
const LAST: usize = 31;

/// What is asked for.
pub(crate) struct Wishes {
    /// As whom.
    pub(super) name: Name,
    /// The flags that are on: a bit for each of [`LETTERS`].
    on: u32,
    /// The signal at the parent's end; 0 is none.
    pub(super) parent_death: usize,
    /// Milliseconds from TERM to KILL; 0 is never.
    pub(super) grace: usize,
    /// Per signal what is sent in its place, and 1; 0 is the signal itself.
    rewrite: [u8; LAST + 1],
    /// Exit codes that become 0, a bit each.
    to_zero: [u8; 32],
    /// The command.
    pub(super) command: Words,
}

impl Wishes {
    /// None yet.
    pub(super) fn new(name: Name, words: Words) -> Self {
        let (rewrite, to_zero) = ([0; LAST + 1], [0; 32]);
        Self { name, on: 0, parent_death: 0, grace: 0, rewrite, to_zero, command: words }
    }

    /// Reads them. Where there is nothing to run, or nothing to understand, it is said,
    /// and the exit code is returned.
    pub(super) fn read(&mut self, environment: Words) -> Result<(), u8> {
        for variable in environment {
            let (place, _) = variable.place_in(VARIABLES);
            if let Some(letter) = b"sgqvvcvv".get(place) {
                self.turn_on(*letter);
            }
        }
        self.command.next();
        while let Some(word) = self.command.clone().next() {
            let mut letters = word.rest();
            if word.first() != b'-' || letters.is_empty() {
                return Ok(());
            }
            self.command.next();
            if letters.first() != b'-' {
                // Several letters; the value of the last is the rest, or the next word.
                while !letters.is_empty() {
                    if position(letters.first()) == LETTERS.len() {
                        return Err(self.refuse(word));
                    }
                    letters = self.flag(letters.first(), letters.rest())?;
                }
                continue;
            }
            // `--name`, `--name value` or `--name=value`; or the end of the flags.
            let (place, rest) = letters.rest().place_in(LONG);
            match b"hVvcrak".get(place) {
                Some(letter) => drop(self.flag(*letter, rest.rest())?),
                None if letters.rest().is_empty() => break,
                None => return Err(self.refuse(word)),
            }
        }
        let missing = !self.pause() && self.command.clone().next().is_none();
        if missing { Err(self.refuse(Str::new(c"no command"))) } else { Ok(()) }
    }

    /// One flag; `rest` is its value, if it wants one, and if it isn't empty. Returns
    /// what is left of the rest.
    fn flag(&mut self, letter: u8, rest: Str<'static>) -> Result<Str<'static>, u8> {
        let place = position(letter);
        if place < ANSWERED {
            self.turn_on(letter);
            return Ok(rest);
        }
        if place < VALUED {
            return Err(answer(letter));
        }
        let value = if rest.is_empty() { self.command.next().unwrap_or(rest) } else { rest };
        self.set(letter, value).map(|()| NOTHING).ok_or_else(|| self.refuse(value))
    }

    /// A flag with a value; none if there is no such flag, or if the value makes no sense.
    fn set(&mut self, letter: u8, value: Str) -> Option<()> {
        let (number, rest) = value.number();
        match letter {
            b'p' => self.parent_death = signal(value)?.0,
            b'k' => {
                let (unit, _) = rest.place_in(Str::new(c" s ms"));
                self.grace = number.wrapping_mul(*[1000, 1000, 1].get(unit)?);
            }
            b'e' => *self.to_zero.get_mut(number / 8)? |= 1 << (number % 8),
            b'r' => {
                let (from, rest) = signal(value)?;
                let (to, _) = signal(rest.rest())?;
                *self.rewrite.get_mut(from)? = to as u8 + 1;
            }
            _ => return None,
        }
        Some(())
    }

    fn turn_on(&mut self, letter: u8) {
        self.on |= 1 << position(letter);
    }

    /// Whether a flag is on.
    fn is(&self, letter: u8) -> bool {
        self.on & 1 << position(letter) != 0
    }

    /// Nothing to do: hold a pod.
    pub(super) fn pause(&self) -> bool {
        self.is(b'P')
    }

    /// Adopt orphans.
    pub(super) fn adopt(&self) -> bool {
        matches!(self.name, Name::Pause | Name::Catatonit) || self.is(b's')
    }

    /// The child has a session of its own.
    pub(super) fn session(&self) -> bool {
        self.name == Name::DumbInit && !self.is(b'c')
    }

    /// Signals go to the process group of the child.
    pub(super) fn group(&self) -> bool {
        self.is(b'g') || self.session()
    }

    /// All others are waited for.
    pub(super) fn wait_all(&self) -> bool {
        self.is(b'a')
    }

    /// What was reaped is told.
    pub(super) fn warn(&self) -> bool {
        self.is(b'w')
    }

    /// Only errors are told.
    pub(super) fn quiet(&self) -> bool {
        self.is(b'q')
    }

    /// What happens is told.
    pub(super) fn verbose(&self) -> bool {
        self.is(b'v')
    }

    /// What is sent when this signal comes; 0 is nothing.
    pub(super) fn rewritten(&self, signal: i32) -> i32 {
        match self.rewrite.get(signal as usize) {
            Some(to) if *to > 0 => i32::from(*to) - 1,
            _ => signal,
        }
    }

    /// The exit code that the caller gets for the child's.
    pub(super) fn exit_code(&self, code: i32) -> u8 {
        let zero = self.to_zero.get(code as usize / 8);
        if zero.is_some_and(|bits| bits & 1 << (code % 8) != 0) { 0 } else { code as u8 }
    }

    fn refuse(&self, word: Str) -> u8 {
        say(self.name, c"cannot make sense of $; see -h", word, 0);
        1
    }
}

/// The place of a letter; behind the last if there is no such flag.
#[inline(never)]
fn position(letter: u8) -> usize {
    LETTERS.iter().take_while(|other| **other != letter).count()
}

/// What is asked for instead of a command; the exit code is 0.
fn answer(letter: u8) -> u8 {
    /// docker looks for "tini version", whichever init it is.
    const VERSION: &str = concat!("tini version ", env!("CARGO_PKG_VERSION"), "_podkeel-pause\n");
    write(
        STDOUT,
        match letter {
            b'h' => USAGE,
            b'V' => VERSION,
            _ => "Apache-2.0 OR MIT\n",
        },
    );
    0
}

/// A signal by its number, or by its name with or without SIG, and what follows; 0 is
/// none.
fn signal(text: Str) -> Option<(usize, Str)> {
    let (mut signal, mut rest) = text.number();
    if rest.address() == text.address() {
        (signal, rest) = text.after(Str::new(c"SIG")).unwrap_or(text).place_in(SIGNALS);
        signal += 1;
    }
    (signal <= LAST).then_some((signal, rest))
}
