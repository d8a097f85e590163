//! aarch64: numbers of system calls, a child in the same memory, and what the compiler
//! expects of every program.

use core::arch::{asm, naked_asm};

/// Numbers of the system calls (`asm-generic/unistd.h`).
pub(crate) mod nr {
    pub(crate) const MOUNT: usize = 40;
    pub(crate) const OPENAT: usize = 56;
    pub(crate) const CLOSE: usize = 57;
    pub(crate) const READ: usize = 63;
    pub(crate) const KILL: usize = 129;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 137;
    pub(crate) const GETPGID: usize = 155;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const CLONE: usize = 220;
    pub(crate) const EXECVE: usize = 221;
    pub(crate) const WAIT4: usize = 260;
    pub(crate) const SETNS: usize = 268;
    pub(crate) const OPEN_TREE: usize = 428;
    pub(crate) const MOVE_MOUNT: usize = 429;
    pub(crate) const PIDFD_OPEN: usize = 434;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

/// Starts a child in this memory and on this stack, below what is in use, and has it begin
/// in `entry` with `argument`. Goes on when it has executed a program or is gone; returns its
/// process id, or the error. clone(2).
///
/// # Safety
/// The flags have CLONE_VFORK; `entry` is a function of one word that never returns, and may
/// do all that it does with the argument while this thread stands still.
pub(crate) unsafe fn spawn(flags: usize, entry: usize, argument: usize) -> isize {
    let value;
    // SAFETY: the child never comes back from `entry`, so of this function it executes
    // nothing but these instructions. Its stack is below this frame, where nobody has
    // anything, and aligned as for any call. The parent waits in the kernel and finds its
    // registers and its part of the stack as they were.
    unsafe {
        asm!(
            "sub x1, sp, #256",
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "udf #0",
            "2:",
            in("x8") nr::CLONE,
            inlateout("x0") flags => value,
            out("x1") _,
            in("x2") 0,
            in("x3") 0,
            in("x4") 0,
            in("x20") argument,
            in("x21") entry,
            lateout("x30") _,
        );
    }
    value
}

/// Copies memory that doesn't overlap: the compiler calls it by this name.
// SAFETY: no other object of this program defines the symbol.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, size: usize) -> *mut u8 {
    naked_asm!(
        "mov x3, x0",
        "cbz x2, 3f",
        "2:",
        "ldrb w4, [x1], #1",
        "strb w4, [x3], #1",
        "subs x2, x2, #1",
        "b.ne 2b",
        "3:",
        "ret",
    )
}

/// Fills memory with one byte: the compiler calls it by this name.
// SAFETY: no other object of this program defines the symbol.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, size: usize) -> *mut u8 {
    naked_asm!(
        "mov x3, x0",
        "cbz x2, 3f",
        "2:",
        "strb w1, [x3], #1",
        "subs x2, x2, #1",
        "b.ne 2b",
        "3:",
        "ret",
    )
}

/// 0 where memory is equal: the compiler calls it by this name.
// SAFETY: no other object of this program defines the symbol.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, size: usize) -> i32 {
    naked_asm!(
        "mov x3, x0",
        "mov w0, #0",
        "cbz x2, 3f",
        "2:",
        "ldrb w4, [x3], #1",
        "ldrb w5, [x1], #1",
        "eor w4, w4, w5",
        "orr w0, w0, w4",
        "subs x2, x2, #1",
        "b.ne 2b",
        "3:",
        "ret",
    )
}
