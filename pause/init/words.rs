//! What the init is asked for: its flags, its environment, and what its name implies.

use super::NOTHING;
use super::say::say;
use crate::name::Name;
use crate::sys::{STDOUT, Str, Words, write};

const USAGE: &str = "\
Usage: pause|tini|dumb-init|catatonit [-cgPsvw] [-p SIGNAL] [-r SIGNAL:SIGNAL] [-e CODE]
  [--wait-all] [--grace TIME] [--] COMMAND [ARG]...   (or -h, -l, -V)
";

/// Flags, a letter each: those that are on or off, those that are answered at once, and
/// those with a value.
const SWITCHES: u64 = bits(b"sgcwPaqv");
const ANSWERED: u64 = bits(b"hlLV");
const VALUED: u64 = bits(b"pker");

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
pub(super) const LAST: usize = 31;

/// What is asked for.
pub(crate) struct Wishes {
    /// As whom.
    pub(super) name: Name,
    /// The word for that.
    pub(super) called: Str<'static>,
    /// The flags that are on, a [`bit`] each.
    on: u64,
    /// The signal at the parent's end; 0 is none.
    pub(super) parent_death: usize,
    /// Milliseconds from TERM to KILL; 0 is never.
    pub(super) grace: usize,
    /// Per signal what is sent in its place, and 1; 0 is the signal itself.
    rewrite: [u8; LAST + 1],
    /// Exit codes that become 0, a bit each.
    to_zero: [u8; 32],
    /// The exit code where there is nothing to run.
    pub(super) code: u8,
    /// The command.
    pub(super) command: Words,
}

impl Wishes {
    /// None yet.
    pub(super) fn new(name: Name, called: Str<'static>, words: Words) -> Self {
        let (rewrite, to_zero) = ([0; LAST + 1], [0; 32]);
        Self {
            name,
            called,
            on: 0,
            parent_death: 0,
            grace: 0,
            rewrite,
            to_zero,
            code: 0,
            command: words,
        }
    }

    /// Reads them. None if there is nothing to run, or nothing to understand: it was said,
    /// and [`Self::code`] is the exit code.
    pub(super) fn read(&mut self, environment: Words) -> Option<()> {
        for variable in environment {
            let (place, _) = variable.place_in(VARIABLES);
            if let Some(letter) = b"sgqvvcvv".get(place) {
                self.on |= bit(*letter);
            }
        }
        self.command.next();
        while let Some(word) = self.command.clone().next() {
            let mut letters = word.rest();
            if word.first() != b'-' || letters.is_empty() {
                return Some(());
            }
            self.command.next();
            if letters.first() != b'-' {
                // Several letters; the value of the last is the rest, or the next word.
                while !letters.is_empty() {
                    if bit(letters.first()) & (SWITCHES | ANSWERED | VALUED) == 0 {
                        return self.refuse(word);
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
                None => return self.refuse(word),
            }
        }
        let missing = !self.pause() && self.command.clone().next().is_none();
        if missing { self.refuse(Str::new(c"no command")) } else { Some(()) }
    }

    /// One flag; `rest` is its value, if it wants one, and if it isn't empty. Returns
    /// what is left of the rest; none if that was all.
    fn flag(&mut self, letter: u8, rest: Str<'static>) -> Option<Str<'static>> {
        if bit(letter) & SWITCHES != 0 {
            self.on |= bit(letter);
            return Some(rest);
        }
        if bit(letter) & ANSWERED != 0 {
            return answer(letter);
        }
        let value = if rest.is_empty() { self.command.next().unwrap_or(rest) } else { rest };
        match self.set(letter, value) {
            Some(()) => Some(NOTHING),
            None => self.refuse(value),
        }
    }

    /// A flag with a value; none if there is no such flag, or if the value makes no sense.
    fn set(&mut self, letter: u8, value: Str) -> Option<()> {
        let (number, rest) = value.number();
        match letter {
            b'p' => self.parent_death = signal(value)?.0,
            b'k' => {
                let (unit, _) = rest.place_in(Str::new(c" s ms"));
                self.grace = number.wrapping_mul(usize::from(*[1000_u16, 1000, 1].get(unit)?));
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

    /// Whether a flag is on.
    fn is(&self, letter: u8) -> bool {
        self.on & bit(letter) != 0
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

    fn refuse<T>(&mut self, word: Str) -> Option<T> {
        say(self, c"cannot make sense of $; see -h", word, 0);
        self.code = 1;
        None
    }
}

/// The bit of a letter; none of what is no letter.
const fn bit(letter: u8) -> u64 {
    // ASCII has 64 characters from `@` on, all letters among them.
    if (letter as i8) < 64 { 0 } else { 1 << (letter & 0x3f) }
}

const fn bits(letters: &[u8]) -> u64 {
    match letters {
        [] => 0,
        [letter, others @ ..] => bit(*letter) | bits(others),
    }
}

/// What is asked for instead of a command.
fn answer<T>(letter: u8) -> Option<T> {
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
    None
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
