//! aarch64: where the program begins, and the instruction that calls the kernel.

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

/// Calls the kernel; arguments five and six are 0.
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
            in("x5") 0,
            options(nostack),
        );
    }
    value
}

/// Ends the process by SIGILL.
pub(crate) fn trap() -> ! {
    // SAFETY: an instruction that is defined to fault touches nothing.
    unsafe { asm!("udf #0", options(noreturn, nomem, nostack)) }
}
