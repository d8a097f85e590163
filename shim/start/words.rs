//! The words of a plain join, and what it takes from the environment.

use core::slice;

use crate::sys::{CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUTS, Text};

/// Where records are, unless the environment says so: `Roots` of netsetup.
const RUN_DIR: &[u8] = b"/run/podkeel";
/// The variable that says so.
const RUN_DIR_VARIABLE: &[u8] = b"PODKEEL_RUN_DIR=";
/// The longest name of a container: `record` of shim.
const NAME_MAX: usize = 128;

/// A plain join.
pub(crate) struct Wish {
    /// The base.
    pub(crate) name: &'static [u8],
    /// The namespaces, as flags of setns(2); one of them at least.
    pub(crate) kinds: usize,
    /// The program and its words, a null behind them; one of them at least.
    pub(crate) words: *const Text,
    /// The environment, a null behind it.
    pub(crate) environment: *const Text,
    /// Where to look for the program.
    pub(crate) path: Option<&'static [u8]>,
    /// Where records are.
    pub(crate) run_dir: &'static [u8],
}

impl Wish {
    /// Reads what the kernel has laid on the stack; nothing if it isn't a plain join.
    ///
    /// # Safety
    /// `stack` points to argc, argv and the environment as the kernel has laid them out.
    pub(crate) unsafe fn read(stack: *const usize) -> Option<Wish> {
        // SAFETY: argc is there, argv and its null behind it, and behind that the environment.
        let (argc, argv) = unsafe { (*stack, stack.add(1).cast::<Text>()) };
        // SAFETY: argc says how many there are.
        let argv = unsafe { slice::from_raw_parts(argv, argc) };
        let mut wish = Wish {
            name: b"",
            kinds: 0,
            words: argv.as_ptr(),
            environment: argv.as_ptr_range().end.wrapping_add(1),
            path: None,
            run_dir: RUN_DIR,
        };
        wish.options(argv)?;
        wish.variables();
        Some(wish)
    }

    /// The name of the program.
    pub(crate) fn program(&self) -> Text {
        // SAFETY: there is a first word.
        unsafe { *self.words }
    }

    fn options(&mut self, argv: &[Text]) -> Option<()> {
        let mut at = 1;
        let mut next = || {
            let word = argv.get(at).map(|word| bytes(*word));
            at += 1;
            word
        };
        if next()? != b"join" {
            return None;
        }
        let command = loop {
            let word = next()?;
            if word == b"--" {
                break next()?;
            }
            if word.first() != Some(&b'-') {
                break word;
            }
            let sign = word.iter().position(|byte| *byte == b'=');
            let (option, mode) = match sign {
                Some(sign) => (word.get(..sign)?, word.get(sign + 1..)?),
                None => (word, next()?),
            };
            self.option(option, mode)?;
        };
        self.words = argv.get(at - 1..)?.as_ptr();
        (!command.is_empty() && self.kinds != 0).then_some(())
    }

    fn option(&mut self, option: &[u8], mode: &'static [u8]) -> Option<()> {
        let kind = if option == b"--net" || option == b"--network" {
            CLONE_NEWNET
        } else if option == b"--ipc" {
            CLONE_NEWIPC
        } else if option == b"--pid" {
            CLONE_NEWPID
        } else if option == b"--uts" {
            CLONE_NEWUTS
        } else {
            return None;
        };
        let name = behind(mode, b"container:")?;
        let first = self.kinds == 0;
        if self.kinds & kind != 0 || !(first && is_name(name) || name == self.name) {
            return None;
        }
        self.name = name;
        self.kinds |= kind;
        Some(())
    }

    fn variables(&mut self) {
        let mut at = self.environment;
        loop {
            // SAFETY: the environment ends with a null, where this stops.
            let variable = unsafe { *at };
            if variable.is_null() {
                return;
            }
            let variable = bytes(variable);
            if let Some(path) = behind(variable, b"PATH=") {
                self.path = Some(path);
            } else if let Some(dir) = behind(variable, RUN_DIR_VARIABLE)
                && !dir.is_empty()
            {
                self.run_dir = dir;
            }
            at = at.wrapping_add(1);
        }
    }
}

/// Whether a container can be called so: it becomes part of paths.
fn is_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.len() <= NAME_MAX
        && name.iter().all(plain)
}

/// What comes behind a beginning. (`strip_prefix` brings along a panic and its place in the
/// source, which is an address.)
pub(crate) fn behind<'a>(text: &'a [u8], beginning: &[u8]) -> Option<&'a [u8]> {
    if text.starts_with(beginning) { text.get(beginning.len()..) } else { None }
}

/// A word without its end.
pub(crate) fn bytes(word: Text) -> &'static [u8] {
    let mut size = 0;
    // Volatile: of a plain loop the compiler would make a call of the C library's strlen.
    // SAFETY: the word ends with a zero byte, where this stops.
    while unsafe { word.wrapping_add(size).read_volatile() } != 0 {
        size += 1;
    }
    // SAFETY: so many bytes are there, and nobody writes to the words of a program.
    unsafe { slice::from_raw_parts(word, size) }
}
