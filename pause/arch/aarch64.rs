//! aarch64: where the program begins, the instruction that calls the kernel, and
//! the sleep without a stack.

use super::{EINTR, MADV_DONTNEED, Set};
use core::arch::{asm, global_asm};

/// Numbers of the system calls (`asm-generic/unistd.h`).
pub(crate) mod nr {
    pub(crate) const WRITE: usize = 64;
    pub(crate) const CAPSET: usize = 91;
    pub(crate) const EXIT: usize = 93;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const RT_SIGACTION: usize = 134;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 137;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const MADVISE: usize = 233;
    pub(crate) const WAIT4: usize = 260;
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

/// Calls the kernel; argument five is 0, and none of the calls has six.
///
/// # Safety
/// The arguments must be right for that system call: every pointer valid for
/// what the kernel reads or writes there.
pub(crate) unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let value;
    // SAFETY: the kernel keeps all registers but x0, and the stack; the memory
    // that it touches is the caller's promise.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => value,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") 0,
            options(nostack),
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
