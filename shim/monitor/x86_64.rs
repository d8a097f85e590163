//! x86_64: where the program begins, and the instruction that calls the kernel.

use core::arch::{asm, global_asm};

/// Numbers of the system calls (`asm/unistd_64.h`).
pub(crate) mod nr {
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const EXIT_GROUP: usize = 231;
    pub(crate) const EXECVEAT: usize = 322;
}

// The kernel enters with rsp at argc, aligned to 16 bytes: as a call wants it.
global_asm!(
    ".globl monitor_start",
    "monitor_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "call {entry}",
    "ud2",
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
