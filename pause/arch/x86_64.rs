//! x86_64: where the program begins, and the instruction that calls the kernel.

use core::arch::{asm, global_asm};

/// Numbers of the system calls (`asm/unistd_64.h`).
pub(crate) mod nr {
    pub(crate) const WRITE: usize = 1;
    pub(crate) const RT_SIGACTION: usize = 13;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const EXIT: usize = 60;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const CAPSET: usize = 126;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 128;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const EXIT_GROUP: usize = 231;
}

// The kernel enters with rsp at argc, aligned to 16 bytes: as a call wants it.
// A zero frame pointer marks the outermost frame.
global_asm!(
    ".globl pause_start",
    "pause_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "call {entry}",
    "ud2",
    entry = sym super::entry,
);

/// Calls the kernel; arguments five and six are 0.
///
/// # Safety
/// The arguments must be right for that system call: every pointer valid for
/// what the kernel reads or writes there.
pub(crate) unsafe fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let value;
    // SAFETY: the kernel keeps all registers but rax, rcx and r11, and the stack;
    // the memory that it touches is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => value,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") 0,
            in("r9") 0,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    value
}

/// Ends the process by SIGILL.
pub(crate) fn trap() -> ! {
    // SAFETY: an instruction that is defined to fault touches nothing.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}
