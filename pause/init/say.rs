//! Messages of the init, each of one line and written at once.

use crate::name::Name;
use crate::sys::{EACCES, ENOENT, ENOEXEC, Room, STDERR, Str, Text};
use core::ffi::CStr;
use core::mem::MaybeUninit;

/// Longest message, in bytes; of a longer one the end is missing.
const LONGEST: usize = 200;

/// Writes a message to the standard error, behind the name of the init. In the message
/// `$` stands for the word, `#` for the number and `!` for what it means as an errno.
#[inline(never)]
pub(super) fn say(name: Name, message: &'static CStr, word: Str, number: i32) {
    let mut room: Room<LONGEST> = [const { MaybeUninit::uninit() }; LONGEST];
    let mut text = Text::new(&mut room);
    text.push(Str::new(match name {
        Name::Pause => c"pause: ",
        Name::Tini => c"tini: ",
        Name::DumbInit => c"dumb-init: ",
        Name::Catatonit => c"catatonit: ",
    }));
    let mut message = Str::new(message);
    while !message.is_empty() {
        match message.first() {
            b'$' => text.push(word),
            b'#' => text.number(number as u32),
            b'!' => {
                text.push(Str::new(match number {
                    ENOENT => c"No such file or directory, errno ",
                    ENOEXEC => c"Exec format error, errno ",
                    EACCES => c"Permission denied, errno ",
                    _ => c"errno ",
                }));
                text.number(number as u32);
            }
            byte => text.byte(byte),
        }
        message = message.rest();
    }
    text.byte(b'\n');
    text.write(STDERR);
}
