//! x86_64: the instruction that calls the kernel, and the number of the call that all need.

use core::arch::asm;

/// Number of exit_group(2) (`asm/unistd_64.h`).
pub(crate) const EXIT_GROUP: usize = 231;

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
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    value
}
