//! Messages of the init, each of one line and written at once.

use super::Wishes;
use crate::sys::{Room, STDERR, Str, Text};
use core::ffi::CStr;
use core::mem::MaybeUninit;

/// Longest message, in bytes; of a longer one the end is missing.
const LONGEST: usize = 200;

/// Writes a message to the standard error, behind the name that the init was called by.
/// What stands for what in the message: see [`Text::fill`].
#[inline(never)]
pub(super) fn say(wishes: &Wishes, message: &'static CStr, word: Str, number: i32) {
    let mut room: Room<LONGEST> = [const { MaybeUninit::uninit() }; LONGEST];
    let mut text = Text::new(&mut room);
    text.fill(Str::new(c"$: "), wishes.called, 0);
    text.fill(Str::new(message), word, number as usize);
    text.byte(b'\n');
    text.write(STDERR);
}
