//! Text: read as C has it, put together on the stack, looked up.

use super::arch::{nr, syscall3};
use super::{EACCES, ENOENT, ENOEXEC, write};
use core::ffi::CStr;
use core::mem::MaybeUninit;

/// A string that ends in a zero: by its first byte.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Str<'a>(&'a u8);

impl<'a> Str<'a> {
    pub(crate) const fn new(text: &'a CStr) -> Self {
        // SAFETY: the pointer is that of a string, which has at least the zero.
        Self(unsafe { &*text.as_ptr().cast() })
    }

    /// The one that begins here.
    ///
    /// # Safety
    /// It must end in a zero, and stay as it is as long as this is used.
    pub(super) unsafe fn at(first: *const u8) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { &*first })
    }

    /// The first byte; 0 at the end.
    pub(crate) fn first(self) -> u8 {
        *self.0
    }

    /// What follows the first byte; at the end the same.
    pub(crate) fn rest(self) -> Self {
        if self.first() == 0 {
            return self;
        }
        let next = (&raw const *self.0).wrapping_add(1);
        // SAFETY: this byte isn't the zero, so there is one more.
        Self(unsafe { &*next })
    }

    pub(crate) fn is_empty(self) -> bool {
        self.first() == 0
    }

    /// What follows the prefix, if it begins with it.
    pub(crate) fn after(self, prefix: Str) -> Option<Self> {
        let (mut text, mut prefix) = (self, prefix);
        while !prefix.is_empty() {
            if text.first() != prefix.first() {
                return None;
            }
            (text, prefix) = (text.rest(), prefix.rest());
        }
        Some(text)
    }

    /// What follows the last of this byte; none if it isn't there.
    #[inline(never)]
    pub(crate) fn behind_last(self, byte: u8) -> Option<Self> {
        let (mut text, mut behind) = (self, None);
        while !text.is_empty() {
            let here = text.first() == byte;
            text = text.rest();
            if here {
                behind = Some(text);
            }
        }
        behind
    }

    /// Its address, for the kernel.
    pub(crate) fn address(self) -> usize {
        (&raw const *self.0).addr()
    }

    /// Looks it up in a list of words with a space between each two; it may end in `=`
    /// or `:`, too. Returns the place, 0 for the first and the number of all if it isn't
    /// there, and what follows the word.
    pub(crate) fn place_in(self, list: Str) -> (usize, Self) {
        let (mut place, mut list) = (0, list);
        loop {
            let mut text = self;
            while list.first() > b' ' && text.first() == list.first() {
                (text, list) = (text.rest(), list.rest());
            }
            if list.first() <= b' ' && matches!(text.first(), 0 | b'=' | b':') {
                return (place, text);
            }
            while list.first() > b' ' {
                list = list.rest();
            }
            place += 1;
            if list.is_empty() {
                return (place, text);
            }
            list = list.rest();
        }
    }

    /// The number that it begins with, and what follows.
    pub(crate) fn number(self) -> (usize, Self) {
        let (mut value, mut text) = (0_usize, self);
        while text.first().is_ascii_digit() {
            value = value.wrapping_mul(10).wrapping_add((text.first() - b'0').into());
            text = text.rest();
        }
        (value, text)
    }
}

/// Room for a text.
pub(crate) type Room<const N: usize> = [MaybeUninit<u8>; N];

/// A text in a buffer of its user's; what doesn't fit is left out.
pub(crate) struct Text<'a> {
    room: &'a mut [MaybeUninit<u8>],
    length: usize,
}

impl<'a> Text<'a> {
    pub(crate) fn new(room: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { room, length: 0 }
    }

    #[inline(never)]
    pub(crate) fn byte(&mut self, byte: u8) {
        if let Some(place) = self.room.get_mut(self.length) {
            place.write(byte);
            self.length += 1;
        }
    }

    pub(crate) fn push(&mut self, more: Str) {
        let mut more = more;
        while !more.is_empty() {
            self.byte(more.first());
            more = more.rest();
        }
    }

    /// In decimal.
    pub(crate) fn number(&mut self, number: u32) {
        if number >= 10 {
            self.number(number / 10);
        }
        self.byte(b'0' + (number % 10) as u8);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// With a zero at its end; none if there is no room for all of it.
    pub(crate) fn string(&mut self) -> Option<Str<'_>> {
        self.byte(0);
        // SAFETY: `byte` has written all before `length`.
        let last = unsafe { self.room.get(self.length - 1)?.assume_init() };
        // SAFETY: as above; the last is a zero, so that it ends there.
        (last == 0).then(|| Str(unsafe { self.room[0].assume_init_ref() }))
    }

    /// A template, in which `$` stands for the word, `#` for the number and `!` for what it
    /// means as an errno.
    #[inline(never)]
    pub(crate) fn fill(&mut self, template: Str, word: Str, number: usize) {
        let mut template = template;
        while !template.is_empty() {
            match template.first() {
                b'$' => self.push(word),
                b'!' => {
                    self.push(Str::new(match number as i32 {
                        ENOENT => c"No such file or directory, errno ",
                        ENOEXEC => c"Exec format error, errno ",
                        EACCES => c"Permission denied, errno ",
                        _ => c"errno ",
                    }));
                    self.number(number as u32);
                }
                b'#' => self.number(number as u32),
                byte => self.byte(byte),
            }
            template = template.rest();
        }
    }

    /// Reads it from a file, as far as there is room for it and a zero: read(2).
    pub(super) fn read(&mut self, fd: i32) {
        let (to, most) = (self.room.as_mut_ptr() as usize, self.room.len() - 1);
        // SAFETY: the kernel writes at most so many bytes to the room.
        let length = unsafe { syscall3(nr::READ, fd as usize, to, most) };
        self.length = length.max(0) as usize;
    }

    /// Puts a zero where it has this address, so that it ends there.
    pub(super) fn end_at(&mut self, address: usize) {
        self.length = address.wrapping_sub(self.room.as_ptr().addr());
        self.byte(0);
    }

    /// Writes it to a file descriptor.
    pub(crate) fn write(&self, fd: i32) {
        // SAFETY: `byte` has written all before `length`, and they are in the room.
        let bytes = unsafe { core::slice::from_raw_parts(self.room.as_ptr().cast(), self.length) };
        write(fd, bytes);
    }
}
