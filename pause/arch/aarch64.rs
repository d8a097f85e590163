//! aarch64: where the program begins, the instruction that calls the kernel, and
//! the sleep without a stack.

use super::{EINTR, MADV_DONTNEED, SPAWN, Set};
use crate::init::Job;
use core::arch::{asm, global_asm};

/// Numbers of the system calls (`asm-generic/unistd.h`).
pub(crate) mod nr {
    pub(crate) const IOCTL: usize = 29;
    pub(crate) const CHDIR: usize = 49;
    pub(crate) const OPENAT: usize = 56;
    pub(crate) const GETDENTS64: usize = 61;
    pub(crate) const READ: usize = 63;
    pub(crate) const WRITE: usize = 64;
    pub(crate) const CAPSET: usize = 91;
    pub(crate) const EXIT: usize = 93;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const SETITIMER: usize = 103;
    pub(crate) const KILL: usize = 129;
    pub(crate) const RT_SIGACTION: usize = 134;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 137;
    pub(crate) const SETPGID: usize = 154;
    pub(crate) const GETPGID: usize = 155;
    pub(crate) const SETSID: usize = 157;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const CLONE: usize = 220;
    pub(crate) const EXECVE: usize = 221;
    pub(crate) const MADVISE: usize = 233;
    pub(crate) const WAIT4: usize = 260;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

// The kernel enters with sp at argc, aligned to 16 bytes: as a call wants it.
// Zero in the frame pointer and the link register marks the outermost frame.
global_asm!(
    ".globl pause_start",
    "pause_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {entry}",
    "udf #0",
    entry = sym super::entry,
);

/// Calls the kernel with so many arguments; what is in the registers of the others, no
/// system call of that number looks at.
macro_rules! syscalls {
    ($($name:ident($a:ident $(, $more:ident in $register:tt)*))*) => {$(
        /// # Safety
        /// The arguments must be right for that system call: every pointer valid for
        /// what the kernel reads or writes there.
        pub(crate) unsafe fn $name(number: usize, $a: usize $(, $more: usize)*) -> isize {
            let value;
            // SAFETY: the kernel keeps all registers but x0, and the stack; the memory that it touches is the caller's promise.
            unsafe {
                asm!(
                    "svc #0",
                    inlateout("x0") $a => value,
                    in("x8") number,
                    $(in($register) $more,)*
                    options(nostack),
                );
            }
            value
        }
    )*};
}

syscalls! {
    syscall1(a)
    syscall2(a, b in "x1")
    syscall3(a, b in "x1", c in "x2")
    syscall4(a, b in "x1", c in "x2", d in "x3")
    syscall5(a, b in "x1", c in "x2", d in "x3", e in "x4")
}

/// Starts a child in this memory and on this stack, below what is in use, and has it
/// begin in `entry`. Goes on when it has executed a program or is gone; returns its
/// process id, or the error. clone(2).
///
/// # Safety
/// The child may do all that `entry` does with the job, while this thread stands still.
pub(crate) unsafe fn spawn(entry: extern "C" fn(&Job) -> !, job: &Job) -> isize {
    let value;
    // SAFETY: the child never comes back from `entry`, so of this function it executes
    // nothing but these instructions. Its stack is below this frame, where nobody has
    // anything, and aligned as for any call. The parent waits in the kernel
    // (CLONE_VFORK) and finds its registers and its part of the stack as they were;
    // what the child has changed through `job` the compiler knows of, for the address
    // of it is an operand.
    unsafe {
        asm!(
            "sub x1, sp, #256",
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x20",
            "blr x21",
            "udf #0",
            "2:",
            in("x8") nr::CLONE,
            inlateout("x0") SPAWN => value,
            out("x1") _,
            in("x2") 0,
            in("x3") 0,
            in("x4") 0,
            in("x20") job,
            in("x21") entry,
        );
    }
    value
}

/// Gives `size` bytes of the stack from `start` on back to the kernel, sleeps until
/// a signal of `set` is pending or the wait is refused, and goes on in
/// [`super::woken`] with what rt_sigtimedwait(2) returned.
///
/// # Safety
/// What lies there, or below the stack pointer, must be of use to nobody any more:
/// not to a caller either, whose frame it may be. It reads as zeros from then on.
pub(crate) unsafe fn sleep(start: usize, size: usize, set: &'static Set) -> ! {
    // SAFETY: this is the last that any function so far does, so nothing that the
    // compiler may have put on the stack is read again. Until the call the stack
    // isn't touched: no operand is in memory, and the kernel keeps all registers
    // but x0. What madvise takes is the caller's promise. The wait reads `set`,
    // which is in the text; null stands for no siginfo and no timeout. `woken`
    // never returns, and gets the stack aligned, as sp always is.
    unsafe {
        asm!(
            "svc #0", // madvise; if it is refused, only memory is lost
            "mov x8, #{wait}",
            "mov x1, xzr",
            "mov x2, xzr",
            "2:",
            "mov x0, x20",
            "svc #0",
            // Stopped and continued, frozen and thawed, or a tracer came or left.
            "cmn x0, #{EINTR}",
            "b.eq 2b",
            "bl {woken}",
            "udf #0",
            wait = const nr::RT_SIGTIMEDWAIT,
            EINTR = const EINTR,
            woken = sym super::woken,
            in("x8") nr::MADVISE,
            in("x0") start,
            in("x1") size,
            in("x2") MADV_DONTNEED,
            in("x3") size_of::<Set>(), // for the wait; madvise has three arguments
            in("x20") set,
            options(noreturn),
        );
    }
}

/// Ends the process by SIGILL.
pub(crate) fn trap() -> ! {
    // SAFETY: an instruction that is defined to fault touches nothing.
    unsafe { asm!("udf #0", options(noreturn, nomem, nostack)) }
}
