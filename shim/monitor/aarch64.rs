//! aarch64: where the program begins, and the instruction that calls the kernel.

use core::arch::{asm, global_asm};

/// Numbers of the system calls (`asm-generic/unistd.h`).
pub(crate) mod nr {
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const WAIT4: usize = 260;
    pub(crate) const EXECVEAT: usize = 281;
}

// The kernel enters with sp at argc, aligned to 16 bytes: as a call wants it.
global_asm!(
    ".globl monitor_start",
    "monitor_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {entry}",
    "udf #0",
    entry = sym super::entry,
);

/// Calls the kernel.
///
/// # Safety
/// The arguments must be right for that system call: every pointer valid for
/// what the kernel reads or writes there.
pub(crate) unsafe fn syscall(
    number: usize,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
) -> isize {
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
            in("x4") e,
            options(nostack),
        );
    }
    value
}
