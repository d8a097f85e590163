//! What the kernel tells of other processes: /proc (proc(5)).

use super::{Room, Str, Text, arch, close, getpid, open};
use arch::{nr, syscall3};
use core::mem::MaybeUninit;

/// The file about a process, whose number stands for the `#`.
pub(crate) const STAT: Str = Str::new(c"/proc/#/stat");

/// Room for the beginning of that file: as far as the parent.
pub(crate) type Stat = Room<96>;

/// Reads about a process: the letter of its state, `S` for one that sleeps, `Z` for a
/// zombie, and the number of its parent. The state is 0 if there is no such process.
/// What [`title`] tells is in the room then.
#[inline(never)]
pub(crate) fn process(path: Str, pid: usize, room: &mut Stat) -> (u8, usize) {
    let mut text = Text::new(room);
    text.fill(path, path, pid);
    let Some(path) = text.string() else { return (0, 0) };
    let Ok(fd) = open(path, 0) else { return (0, 0) };
    text.read(fd);
    close(fd, fd);
    // `PID (NAME) STATE PARENT ...`, and the name may have any letter.
    let behind = text.string().and_then(|stat| stat.behind_last(b')'));
    let Some(behind) = behind else { return (0, 0) };
    let state = behind.rest();
    let seen = (state.first(), state.rest().rest().number().0);
    let end = behind.address();
    text.end_at(end);
    seen
}

/// Of the process that was read about last its number and, in brackets, 15 letters of
/// its program's name.
pub(crate) fn title(room: &Stat) -> Str<'_> {
    // SAFETY: `process` has put a text with a zero at its end there, whatever came of it.
    unsafe { Str::at(room.as_ptr().cast()) }
}

/// Calls `each` with the number, the state and the parent of every process of this PID
/// namespace, and with what [`title`] reads, until it has found what it looks for.
/// Returns whether it has. There are none where there is no /proc, or where /proc is that
/// of another namespace, whose numbers stand for other processes.
pub(crate) fn processes(mut each: impl FnMut(usize, u8, usize, &mut Stat) -> bool) -> bool {
    /// `struct linux_dirent64` (`linux/dirent.h`): where the length of an entry stands, in
    /// two bytes, and its name, which ends in a zero.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    let mut stat = [const { MaybeUninit::uninit() }; 96];
    process(Str::new(c"/proc/self/stat"), 0, &mut stat);
    if title(&stat).number().0 != getpid() as usize {
        return false;
    }
    let Ok(fd) = open(Str::new(c"/proc"), 0) else { return false };
    let mut room = MaybeUninit::<[u64; 64]>::uninit();
    let start = room.as_mut_ptr().cast::<u8>();
    let mut found = false;
    while !found {
        let (to, most) = (start.addr(), size_of_val(&room));
        // SAFETY: the kernel writes at most so many bytes to the room.
        let length = unsafe { syscall3(nr::GETDENTS64, fd as usize, to, most) };
        if length <= 0 {
            break;
        }
        let mut at = 0;
        while at < length as usize && !found {
            let entry = start.wrapping_add(at);
            // SAFETY: here an entry begins, and the kernel writes whole ones only.
            let name = unsafe { Str::at(entry.wrapping_add(NAME)) };
            // What is no process has no number, and 0 is none.
            let pid = name.number().0;
            let (state, parent) = process(STAT, pid, &mut stat);
            found = each(pid, state, parent, &mut stat);
            // SAFETY: as above; entries are aligned to 8 bytes.
            at += usize::from(unsafe { entry.wrapping_add(LENGTH).cast::<u16>().read() });
        }
    }
    close(fd, fd);
    found
}
