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
#[cfg_attr(target_arch = "riscv64", path = "arch/riscv64.rs")]
#[cfg_attr(target_arch = "arm", path = "arch/arm.rs")]
#[cfg_attr(target_arch = "powerpc64", path = "arch/powerpc64.rs")]
#[cfg_attr(target_arch = "s390x", path = "arch/s390x.rs")]
mod arch;
mod memory;
mod proc;
mod process;
mod stack;
mod text;

use arch::{nr, syscall1, syscall2, syscall3, syscall4, syscall5};
pub(crate) use proc::*;
pub(crate) use process::*;
pub(crate) use stack::{Stack, Words};
pub(crate) use text::{Room, Str, Text};

/// Interrupted by a signal (`asm-generic/errno-base.h`).
pub(crate) const EINTR: i32 = 4;
/// Advice: the contents are of no use any more (`asm-generic/mman-common.h`).
const MADV_DONTNEED: usize = 4;

/// What a child shares and how it is waited for (`linux/sched.h`): CLONE_VM,
/// CLONE_VFORK, SIGCHLD at its end.
const SPAWN: usize = 0x100 | 0x4000 | SIGCHLD as usize;

/// The action of an ignored signal (`asm-generic/signal-defs.h`).
const SIG_IGN: usize = 1;

/// Interrupt from the keyboard (`asm/signal.h`).
pub(crate) const SIGINT: i32 = 2;
/// Request to end (`asm/signal.h`).
pub(crate) const SIGTERM: i32 = 15;
/// A child has changed its state (`asm/signal.h`).
pub(crate) const SIGCHLD: i32 = 17;

/// File descriptor 0.
pub(crate) const STDIN: i32 = 0;
/// File descriptor 1.
pub(crate) const STDOUT: i32 = 1;
/// File descriptor 2.
pub(crate) const STDERR: i32 = 2;

/// A set of signals as the kernel has it: signal n is bit n - 1.
pub(crate) type Set = u64;

/// What a system call gave: its value, or the errno.
pub(crate) type Result<T = ()> = core::result::Result<T, i32>;

/// What the kernel reads: first the action that ignores a signal, SIG_IGN and no more; and
/// behind this one word all that is nothing. Each in a place of its own would be a larger
/// file.
static WORDS: [usize; 1 + 32 / size_of::<usize>()] = {
    let mut words = [0; _];
    words[0] = SIG_IGN;
    words
};

/// Whatever is nothing: no time, no capabilities, the default action.
fn zeros() -> usize {
    (&raw const WORDS).wrapping_byte_add(size_of::<usize>()) as usize
}

/// The set that holds one signal.
pub(crate) const fn set(signal: i32) -> Set {
    1 << (signal - 1)
}

/// Ignores a signal: rt_sigaction(2) with SIG_IGN.
pub(crate) fn ignore(signal: i32) -> Result {
    // The kernel's `struct sigaction`: handler, flags, restorer, mask; on some CPUs in
    // another order behind the handler. The mask has 8 bytes everywhere.
    let action = &raw const WORDS as usize;
    // SAFETY: the kernel reads at most the 32 bytes of the action; null for the
    // old one is allowed. An ignored signal runs no code, so no restorer is needed.
    let value = unsafe { syscall4(nr::RT_SIGACTION, signal as usize, action, 0, size_of::<Set>()) };
    check(value).map(drop)
}

/// Collects one zombie child of any kind, if there is one: wait4(2), WNOHANG.
pub(crate) fn reap_one() -> bool {
    const ANY: usize = usize::MAX; // -1
    const WNOHANG: usize = 1;
    const WALL: usize = 0x4000_0000;
    // SAFETY: null for the status and for the usage: the kernel writes nothing.
    let value = unsafe { syscall4(nr::WAIT4, ANY, 0, WNOHANG | WALL, 0) };
    value > 0
}

/// The process id, in the PID namespace of the process: getpid(2).
pub(crate) fn getpid() -> i32 {
    // SAFETY: takes nothing and touches nothing.
    unsafe { syscall1(nr::GETPID, 0) as i32 }
}

/// No exec gains privileges from now on: prctl(2), PR_SET_NO_NEW_PRIVS.
pub(crate) fn no_new_privs() -> Result {
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    // SAFETY: takes numbers only. Those behind the second must be 0.
    let value = unsafe { syscall5(nr::PRCTL, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    check(value).map(drop)
}

/// Empties the permitted, effective and inheritable capabilities: capset(2).
/// The kernel drops from the ambient set what is no longer in the other two.
pub(crate) fn drop_capabilities() -> Result {
    /// `struct __user_cap_header_struct`: _LINUX_CAPABILITY_VERSION_3, self.
    static HEADER: [u32; 2] = [0x2008_0522, 0];
    // SAFETY: the kernel reads the 24 bytes that version 3 stands for, two `struct
    // __user_cap_data_struct` for the low and the high 32 capabilities. It writes
    // to the header only to correct an unknown version, and 3 is known since
    // Linux 2.6.26; a header that can't be written would give EFAULT.
    let value = unsafe { syscall2(nr::CAPSET, &raw const HEADER as usize, zeros()) };
    check(value).map(drop)
}

/// Writes a message: write(2). Whether anyone reads it is not pause's business.
pub(crate) fn write(fd: i32, message: impl AsRef<[u8]>) {
    let message = message.as_ref();
    // SAFETY: the kernel reads `len` bytes of the message and no others.
    unsafe { syscall3(nr::WRITE, fd as usize, message.as_ptr() as usize, message.len()) };
}

/// Ends the process: exit_group(2), exit(2) if that is refused, and a trap if
/// that is refused as well: the kernel turns it into a SIGILL that kills even
/// PID 1, where a loop around the exit would spin.
fn exit(code: u8) -> ! {
    // SAFETY: takes a number only.
    unsafe { syscall1(nr::EXIT_GROUP, code as usize) };
    // SAFETY: takes a number only.
    unsafe { syscall1(nr::EXIT, code as usize) };
    arch::trap()
}

/// Tells a value from an error: the kernel returns errnos as -1 to -4095.
fn check(value: isize) -> Result<usize> {
    if value < 0 { Err(-value as i32) } else { Ok(value as usize) }
}

/// Where `pause_start` arrives, with the stack pointer as the kernel left it.
extern "C" fn entry(pointer: *const *const u8) -> ! {
    exit(crate::main(Stack::new(pointer)))
}

/// Where the sleep ends, with what rt_sigtimedwait(2) returned, on a stack that
/// holds nothing but zeros.
extern "C" fn woken(value: isize) -> ! {
    exit(crate::leave(check(value).map(|signal| signal as i32)))
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
