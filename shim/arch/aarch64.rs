//! aarch64: the instruction that calls the kernel, and the number of the call that all need.

use core::arch::asm;

/// Number of exit_group(2) (`asm-generic/unistd.h`).
pub(crate) const EXIT_GROUP: usize = 94;

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
