//! x86_64: where the program begins, and the numbers of its system calls.

use core::arch::global_asm;

/// Numbers of the system calls (`asm/unistd_64.h`).
pub(crate) mod nr {
    pub(crate) const WAIT4: usize = 61;
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
