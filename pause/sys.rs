//! The system calls that pause makes, each by its name, and all of its `unsafe`
//! but the instruction itself.
//!
//! The whole list, for a seccomp filter: write, rt_sigprocmask, rt_sigaction,
//! rt_sigtimedwait, getpid, wait4, prctl (PR_SET_NO_NEW_PRIVS), capset,
//! madvise (MADV_DONTNEED), exit_group, and exit where exit_group is refused.
//! Numbers and layouts are those of the kernel's own headers (`asm/unistd.h`,
//! `asm/signal.h`, `linux/capability.h`), not of a C library.

#![allow(unsafe_code)]

#[cfg_attr(target_arch = "x86_64", path = "arch/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arch/aarch64.rs")]
mod arch;

use arch::{nr, syscall};

/// Interrupted by a signal (`asm-generic/errno-base.h`).
const EINTR: i32 = 4;
/// Advice: the contents are of no use any more (`asm-generic/mman-common.h`).
const MADV_DONTNEED: usize = 4;

/// Interrupt from the keyboard (`asm/signal.h`).
pub(crate) const SIGINT: i32 = 2;
/// Request to end (`asm/signal.h`).
pub(crate) const SIGTERM: i32 = 15;
/// A child has changed its state (`asm/signal.h`).
pub(crate) const SIGCHLD: i32 = 17;

/// File descriptor 1.
pub(crate) const STDOUT: i32 = 1;
/// File descriptor 2.
pub(crate) const STDERR: i32 = 2;

/// A set of signals as the kernel has it: signal n is bit n - 1.
pub(crate) type Set = u64;

/// What a system call gave: its value, or the errno.
pub(crate) type Result<T = ()> = core::result::Result<T, i32>;

/// The set that holds one signal.
pub(crate) const fn set(signal: i32) -> Set {
    1 << (signal - 1)
}

/// Blocks the signals of `set` and no others: rt_sigprocmask(2), SIG_SETMASK.
pub(crate) fn block_only(set: &'static Set) -> Result {
    const SIG_SETMASK: usize = 2;
    // SAFETY: the kernel reads the 8 bytes of `set`; a null old set is allowed.
    let value = unsafe {
        syscall(nr::RT_SIGPROCMASK, SIG_SETMASK, &raw const *set as usize, 0, size_of::<Set>())
    };
    check(value).map(drop)
}

/// Ignores a signal: rt_sigaction(2) with SIG_IGN.
pub(crate) fn ignore(signal: i32) -> Result {
    /// The kernel's `struct sigaction`: handler, flags, restorer, mask.
    static ACTION: [usize; 4] = [SIG_IGN, 0, 0, 0];
    const SIG_IGN: usize = 1;
    let action = &raw const ACTION as usize;
    // SAFETY: the kernel reads at most the 32 bytes of the action; null for the
    // old one is allowed. An ignored signal runs no code, so no restorer is needed.
    let value = unsafe { syscall(nr::RT_SIGACTION, signal as usize, action, 0, size_of::<Set>()) };
    check(value).map(drop)
}

/// Collects one zombie child of any kind, if there is one: wait4(2), WNOHANG.
pub(crate) fn reap_one() -> bool {
    const ANY: usize = usize::MAX; // -1
    const WNOHANG: usize = 1;
    const WALL: usize = 0x4000_0000;
    // SAFETY: null for the status and for the usage: the kernel writes nothing.
    let value = unsafe { syscall(nr::WAIT4, ANY, 0, WNOHANG | WALL, 0) };
    value > 0
}

/// The process id, in the PID namespace of the process: getpid(2).
pub(crate) fn getpid() -> i32 {
    // SAFETY: takes nothing and touches nothing.
    unsafe { syscall(nr::GETPID, 0, 0, 0, 0) as i32 }
}

/// No exec gains privileges from now on: prctl(2), PR_SET_NO_NEW_PRIVS.
pub(crate) fn no_new_privs() -> Result {
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    // SAFETY: takes numbers only. The fifth argument, which must be 0, is passed
    // as 0 by `syscall`.
    let value = unsafe { syscall(nr::PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0, 0) };
    check(value).map(drop)
}

/// Empties the permitted, effective and inheritable capabilities: capset(2).
/// The kernel drops from the ambient set what is no longer in the other two.
pub(crate) fn drop_capabilities() -> Result {
    /// `struct __user_cap_header_struct`: _LINUX_CAPABILITY_VERSION_3, self.
    static HEADER: [u32; 2] = [0x2008_0522, 0];
    /// Two `struct __user_cap_data_struct`: the low 32 capabilities, the high 32.
    static NONE: [u32; 6] = [0; 6];
    // SAFETY: the kernel reads the 24 bytes that version 3 stands for. It writes
    // to the header only to correct an unknown version, and 3 is known since
    // Linux 2.6.26; a header that can't be written would give EFAULT.
    let value =
        unsafe { syscall(nr::CAPSET, &raw const HEADER as usize, &raw const NONE as usize, 0, 0) };
    check(value).map(drop)
}

/// Writes a message: write(2). Whether anyone reads it is not pause's business.
pub(crate) fn write(fd: i32, message: &str) {
    // SAFETY: the kernel reads `len` bytes from the string and no others.
    unsafe { syscall(nr::WRITE, fd as usize, message.as_ptr() as usize, message.len(), 0) };
}

/// Ends the process: exit_group(2), exit(2) if that is refused, and a trap if
/// that is refused as well: the kernel turns it into a SIGILL that kills even
/// PID 1, where a loop around the exit would spin.
fn exit(code: u8) -> ! {
    // SAFETY: takes a number only.
    unsafe { syscall(nr::EXIT_GROUP, code as usize, 0, 0, 0) };
    // SAFETY: takes a number only.
    unsafe { syscall(nr::EXIT, code as usize, 0, 0, 0) };
    arch::trap()
}

/// Tells a value from an error: the kernel returns errnos as -1 to -4095.
fn check(value: isize) -> Result<usize> {
    if value < 0 { Err(-value as i32) } else { Ok(value as usize) }
}

/// Where `pause_start` arrives, with the stack pointer as the kernel left it.
extern "C" fn entry(pointer: *const *const u8) -> ! {
    exit(crate::main(Stack { pointer }))
}

/// Where the sleep ends, with what rt_sigtimedwait(2) returned, on a stack that
/// holds nothing but zeros.
extern "C" fn woken(value: isize) -> ! {
    exit(crate::leave(check(value).map(|signal| signal as i32)))
}

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
    /// The arguments of the program.
    pub(crate) fn args(&self) -> Args {
        // SAFETY: argv follows argc.
        Args { next: unsafe { self.pointer.add(1) } }
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
        unsafe { syscall(nr::MADVISE, start, size, MADV_DONTNEED, 0) };

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

/// The arguments of the program, each cut after its third byte: no more is
/// needed to know `-v` from all others, and no length has to be searched for.
pub(crate) struct Args {
    next: *const *const u8,
}

impl Iterator for Args {
    type Item = &'static [u8];

    fn next(&mut self) -> Option<Self::Item> {
        // SAFETY: `next` points into argv, at or before its terminating null.
        let arg = unsafe { *self.next };
        if arg.is_null() {
            return None;
        }
        // SAFETY: this entry wasn't the null, so there is one more.
        self.next = unsafe { self.next.add(1) };
        // SAFETY: an argument is a string that ends in a zero.
        let length = unsafe { length(arg, 3) };
        // SAFETY: these bytes were just read, nobody ever writes to them, and the
        // pages of the arguments are kept.
        Some(unsafe { core::slice::from_raw_parts(arg, length) })
    }
}

/// Unreachable: nothing here panics. The language asks for it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    arch::trap()
}

/// The unwind tables of the prebuilt `core` name this symbol, and a build
/// without optimisation keeps the reference. Nothing ever calls it.
// SAFETY: no other object of this program defines the symbol.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
