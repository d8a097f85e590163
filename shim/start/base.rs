//! The base that is joined: found on record, and held.

use crate::path::Path;
use crate::sys::{self, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUTS, Fd};
use crate::words::{Wish, behind};

/// Bytes of the largest record that is read here; a longer one is for shim.
const RECORD: usize = 4096;
/// Bytes of /proc/PID/stat.
const STAT: usize = 1024;

/// How the namespaces of each kind stand in a record.
const KINDS: [(usize, [u8; 14]); 4] = [
    (CLONE_NEWNET, *b"\"net\":{\"how\":\""),
    (CLONE_NEWIPC, *b"\"ipc\":{\"how\":\""),
    (CLONE_NEWPID, *b"\"pid\":{\"how\":\""),
    (CLONE_NEWUTS, *b"\"uts\":{\"how\":\""),
];

/// A base that lives.
pub(crate) struct Base {
    /// Its pause.
    pub(crate) process: Fd,
    /// Its /dev/shm, where its ipc namespace is joined; `None`: the caller's.
    pub(crate) shm: Option<Fd>,
}

impl Base {
    /// Finds it. Nothing, if it isn't there, doesn't live, isn't a base with all namespaces
    /// that are wished for its own, or if its record isn't as shim writes it.
    pub(crate) fn find(wish: &Wish) -> Option<Base> {
        let path = Path::of(&[wish.run_dir, b"/pods/", wish.name, b"/container.json"])?;
        let mut buffer = [0; RECORD];
        let record = Record::parse(Fd::open(path.text()).ok()?.read(&mut buffer)?)?;
        for (kind, words) in KINDS {
            if wish.kinds & kind != 0 && !record.has_own(&words) {
                return None;
            }
        }
        let boot = c"/proc/sys/kernel/random/boot_id".as_ptr().cast();
        let mut buffer = [0; 64];
        if !Fd::open(boot).ok()?.read(&mut buffer)?.starts_with(record.boot) {
            return None;
        }
        let process = hold(&record)?;
        let shm = if wish.kinds & CLONE_NEWIPC != 0 {
            let path = Path::of(&[wish.run_dir, b"/ns/", record.id, b"/shm"])?;
            match Fd::of_mount(path.text()) {
                Ok(mount) => Some(mount),
                Err(sys::ENOENT) => None,
                Err(_) => return None,
            }
        } else {
            None
        };
        Some(Base { process, shm })
    }
}

/// Its process, if it is the one on record: no other with its pid has started then.
fn hold(record: &Record<'_>) -> Option<Fd> {
    let pid = number(record.pid)?;
    let process = Fd::of_process(i32::try_from(pid).ok()?).ok()?;
    // Looked at after it was opened: the descriptor is that of this very process.
    let path = Path::of(&[b"/proc/", record.pid, b"/stat"])?;
    let mut buffer = [0; STAT];
    let stat = Fd::open(path.text()).ok()?.read(&mut buffer)?;
    // The name stands in brackets, and may have brackets and blanks in it; the start time is
    // field 22, and the one behind the name the third: proc_pid_stat(5).
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let start = stat.get(end + 2..)?.split(|byte| *byte == b' ').nth(22 - 3)?;
    (start == record.start).then_some(process)
}

/// The fields of a base's record that matter here, as they are written.
struct Record<'a> {
    id: &'a [u8],
    boot: &'a [u8],
    pid: &'a [u8],
    start: &'a [u8],
    /// What comes behind them.
    rest: &'a [u8],
}

impl<'a> Record<'a> {
    /// Not any JSON: the bytes that `Container` of shim is written as, when it is a base
    /// that is ready and has a process.
    fn parse(text: &'a [u8]) -> Option<Record<'a>> {
        let mut at = Cursor(text);
        at.expect(b"{\"phase\":\"ready\",\"id\":\"")?;
        let id = at.until(b'"')?;
        at.expect(b",\"name\":\"")?;
        at.until(b'"')?;
        at.expect(b",\"role\":\"base\",\"pod\":null,\"boot\":\"")?;
        let boot = at.until(b'"')?;
        at.expect(b",\"created\":")?;
        at.until(b',')?;
        at.expect(b"\"process\":{\"pid\":")?;
        let pid = at.until(b',')?;
        at.expect(b"\"start\":")?;
        let start = at.until(b'}')?;
        let whole = boot.len() == 36 && !id.is_empty() && id.iter().all(|byte| *byte != b'/');
        whole.then_some(Record { id, boot, pid, start, rest: at.0 })
    }

    /// Whether its namespace of a kind is its own, in the words of the record. Inside of a
    /// text such words would have backslashes before their quotes.
    fn has_own(&self, words: &[u8]) -> bool {
        let at = self.rest.windows(words.len()).position(|part| part == words);
        let mode = at.and_then(|at| self.rest.get(at + words.len()..));
        mode.is_some_and(|mode| mode.starts_with(b"private\""))
    }
}

/// What is left to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn expect(&mut self, words: &[u8]) -> Option<()> {
        self.0 = behind(self.0, words)?;
        Some(())
    }

    /// What comes before the next such byte, which is left behind.
    fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let size = self.0.iter().position(|byte| *byte == end)?;
        let found = self.0.get(..size)?;
        self.0 = self.0.get(size + 1..)?;
        Some(found)
    }
}

/// A decimal number of at most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit <= 9).then_some(number * 10 + u32::from(digit))
    })
}
