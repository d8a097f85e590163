//! x86_64: numbers of system calls, a child in the same memory, and what the compiler
//! expects of every program.

use core::arch::{asm, naked_asm};

/// Numbers of the system calls (`asm/unistd_64.h`).
pub(crate) mod nr {
    pub(crate) const READ: usize = 0;
    pub(crate) const CLOSE: usize = 3;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const CLONE: usize = 56;
    pub(crate) const EXECVE: usize = 59;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const KILL: usize = 62;
    pub(crate) const GETPGID: usize = 121;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 128;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const MOUNT: usize = 165;
    pub(crate) const OPENAT: usize = 257;
    pub(crate) const SETNS: usize = 308;
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
    // nothing but these instructions. Its stack is below the red zone of this frame, where
    // nobody has anything, and aligned as for any call. The parent waits in the kernel and
    // finds its registers and its part of the stack as they were.
    unsafe {
        asm!(
            "lea rsi, [rsp - 256]",
            "and rsi, -16",
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") nr::CLONE => value,
            in("rdi") flags,
            out("rsi") _,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            in("r12") argument,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    value
}

/// Copies memory that doesn't overlap: the compiler calls it by this name.
// SAFETY: no other object of this program defines the symbol.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, size: usize) -> *mut u8 {
    naked_asm!("mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret")
}

/// Fills memory with one byte: the compiler calls it by this name.
// SAFETY: no other object of this program defines the symbol.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, size: usize) -> *mut u8 {
    naked_asm!("mov r8, rdi", "mov eax, esi", "mov rcx, rdx", "rep stosb", "mov rax, r8", "ret")
}

/// 0 where memory is equal: the compiler calls it by this name.
// SAFETY: no other object of this program defines the symbol.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, size: usize) -> i32 {
    // Without a byte to compare, the flags are those of the first instruction: equal.
    naked_asm!("xor eax, eax", "mov rcx, rdx", "repe cmpsb", "setne al", "ret")
}
