//! What the kernel has laid on the stack: the arguments, the environment, and where
//! they end; and the sleep that gives the rest of it back.

use super::{MADV_DONTNEED, Set, Str, arch};
use arch::{nr, syscall3};

/// The stack as the kernel left it, from the top down (`copy_strings` and
/// `create_elf_tables` in the kernel's exec.c and binfmt_elf.c). While pause
/// sleeps it needs none of this, and others need one thing:
///
/// ```text
///         path of the program
///         strings of the environment
///   keep  strings of the arguments: /proc/PID/cmdline shows them
///         a gap of chance, less than 8 KiB (arch_align_stack)
///         random bytes, name of the CPU
///         auxiliary vector: pairs, null
///         pointers to the environment, null
///         pointers to the arguments, null
///         argc                     <- stack pointer at the start
///         pause's own frames
/// ```
pub(crate) struct Stack {
    pointer: *const *const u8,
}

impl Stack {
    /// The stack pointer as the kernel left it.
    pub(super) fn new(pointer: *const *const u8) -> Self {
        Self { pointer }
    }

    /// The arguments of the program, its own name first.
    pub(crate) fn args(&self) -> Words {
        // SAFETY: argv follows argc.
        Words { next: unsafe { self.pointer.add(1).cast() } }
    }

    /// The environment: words of the form `NAME=value`.
    pub(crate) fn environment(&self) -> Words {
        let mut words = self.args();
        while words.next().is_some() {}
        // SAFETY: the pointers to the environment follow the null that ends argv.
        Words { next: unsafe { words.next.add(1) } }
    }

    /// Sleeps until one of the (blocked) signals of `set` is pending, takes it and
    /// ends with the code that [`crate::leave`] returns: rt_sigtimedwait(2),
    /// without a timeout. Before that, each page of the stack that holds no byte of
    /// the arguments is given back to the kernel: madvise(2), MADV_DONTNEED.
    pub(crate) fn sleep(self, set: &'static Set) -> ! {
        /// Ample for the frames: some hundred bytes, also without optimisation.
        const FRAMES: usize = 0x4000;
        let layout = self.layout();
        // Both give 0 if no size of a page is known; nothing is dropped then.
        let floor = |address: usize| address & layout.page.wrapping_neg();
        let ceiling = |address: usize| floor(address.wrapping_add(layout.page).wrapping_sub(1));

        let start = ceiling(layout.environment);
        let size = ceiling(layout.end).wrapping_sub(start);
        // SAFETY: no byte of an argument is here. Nothing but `layout`, which is
        // over, ever looks at the environment and the path.
        unsafe { syscall3(nr::MADVISE, start, size, MADV_DONTNEED) };

        let start = floor(self.pointer.addr().wrapping_sub(FRAMES));
        let size = floor(layout.arguments).saturating_sub(start);
        // SAFETY: no byte of an argument is here. What the kernel has put here was
        // read by `layout` and by `args`, which are over, and no function with a
        // frame here is returned to. Below the stack there is nothing to lose: but
        // for the stack, all memory of pause is a file's.
        unsafe { arch::sleep(start, size, set) }
    }

    /// Reads where the strings are.
    #[inline(always)] // smaller: the caller, which never returns, counts as cold
    fn layout(&self) -> Layout {
        // `linux/auxvec.h`: the end, the size of a page, the path of the program.
        const AT_NULL: usize = 0;
        const AT_PAGESZ: usize = 6;
        const AT_EXECFN: usize = 31;
        // `linux/limits.h`
        const PATH_MAX: usize = 4096;

        let mut word = self.pointer;
        let mut next = || {
            // SAFETY: the calls below end with the null of the auxiliary vector.
            word = unsafe { word.add(1) };
            // SAFETY: as above.
            unsafe { *word }
        };
        let mut list = || {
            let first = next();
            let mut last = first;
            while !last.is_null() {
                last = next();
            }
            first.addr()
        };
        let (arguments, environment) = (list(), list());
        let (mut page, mut path) = (0, core::ptr::null());
        loop {
            match (next().addr(), next()) {
                (AT_NULL, _) => break,
                (AT_PAGESZ, value) => page = value.addr(),
                (AT_EXECFN, value) => path = value,
                _ => {}
            }
        }
        if path.is_null() {
            return Layout { arguments, environment: 0, end: 0, page };
        }
        // SAFETY: a string that ends in a zero.
        let end = path.addr() + unsafe { length(path, PATH_MAX) };
        // Without an environment, the path follows upon the arguments.
        let environment = if environment == 0 { path.addr() } else { environment };
        Layout { arguments, environment, end, page }
    }
}

/// Addresses on the initial stack: the first byte of each kind of string, and the
/// last zero of all. And the size of a page, in bytes. 0 for what isn't known.
struct Layout {
    arguments: usize,
    environment: usize,
    end: usize,
    page: usize,
}

/// The length of a string, or `most` if it is longer than that.
///
/// # Safety
/// The string must end in a zero.
unsafe fn length(string: *const u8, most: usize) -> usize {
    let mut length = 0;
    while length < most {
        // SAFETY: all bytes up to here were not the terminating zero.
        let byte = unsafe { string.add(length) };
        // SAFETY: as above: the byte belongs to the string.
        if unsafe { *byte } == 0 {
            break;
        }
        length += 1;
    }
    length
}

/// The words of argv or of the environment that are still to come. Each is a string
/// on the stack, where it stays as long as the program runs: only the last sleep gives
/// pages back, and it keeps those of the arguments.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// A null ends the list.
    next: *const Option<Str<'static>>,
}

impl Words {
    /// Where the pointers to the words are, as execve(2) takes them.
    pub(super) fn pointers(self) -> *const Option<Str<'static>> {
        self.next
    }
}

impl Iterator for Words {
    type Item = Str<'static>;

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: `next` points into the list, at or before its terminating null; what
        // isn't null points to a string.
        let word = unsafe { *self.next }?;
        // SAFETY: this entry wasn't the null, so there is one more.
        self.next = unsafe { self.next.add(1) };
        Some(word)
    }
}
