//! aarch64: where the program begins, and the numbers of its system calls.

use core::arch::global_asm;

/// Numbers of the system calls (`asm-generic/unistd.h`).
pub(crate) mod nr {
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
