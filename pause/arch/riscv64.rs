//! riscv64: where the program begins, the instruction that calls the kernel, and
//! the sleep without a stack.

use super::{EINTR, MADV_DONTNEED, SPAWN, Set};
use crate::init::Job;
use core::arch::{asm, global_asm};

/// Numbers of the system calls (`asm-generic/unistd.h`).
pub(crate) mod nr {
    pub(crate) const IOCTL: usize = 29;
    pub(crate) const CHDIR: usize = 49;
    pub(crate) const OPENAT: usize = 56;
    pub(crate) const GETDENTS64: usize = 61;
    pub(crate) const READ: usize = 63;
    pub(crate) const WRITE: usize = 64;
    pub(crate) const CAPSET: usize = 91;
    pub(crate) const EXIT: usize = 93;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const SETITIMER: usize = 103;
    pub(crate) const KILL: usize = 129;
    pub(crate) const RT_SIGACTION: usize = 134;
    pub(crate) const RT_SIGPROCMASK: usize = 135;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 137;
    pub(crate) const SETPGID: usize = 154;
    pub(crate) const GETPGID: usize = 155;
    pub(crate) const SETSID: usize = 157;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const CLONE: usize = 220;
    pub(crate) const EXECVE: usize = 221;
    pub(crate) const MADVISE: usize = 233;
    pub(crate) const WAIT4: usize = 260;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

// The kernel enters with sp at argc, aligned to 16 bytes: as a call wants it.
// Zero in the frame pointer and the return address marks the outermost frame. The global
// pointer stays unset: nothing is reached by it, as the layout has no `__global_pointer$`.
global_asm!(
    ".globl pause_start",
    "pause_start:",
    "li s0, 0",
    "li ra, 0",
    "mv a0, sp",
    "call {entry}",
    "unimp",
    entry = sym super::entry,
);

/// Calls the kernel with so many arguments; what is in the registers of the others, no
/// system call of that number looks at.
macro_rules! syscalls {
    ($($name:ident($a:ident $(, $more:ident in $register:tt)*))*) => {$(
        /// # Safety
        /// The arguments must be right for that system call: every pointer valid for
        /// what the kernel reads or writes there.
        pub(crate) unsafe fn $name(number: usize, $a: usize $(, $more: usize)*) -> isize {
            let value;
            // SAFETY: the kernel keeps all registers but a0, and the stack; the memory that
            // it touches is the caller's promise.
            unsafe {
                asm!(
                    "ecall",
                    inlateout("a0") $a => value,
                    in("a7") number,
                    $(in($register) $more,)*
                    options(nostack),
                );
            }
            value
        }
    )*};
}

syscalls! {
    syscall1(a)
    syscall2(a, b in "a1")
    syscall3(a, b in "a1", c in "a2")
    syscall4(a, b in "a1", c in "a2", d in "a3")
    syscall5(a, b in "a1", c in "a2", d in "a3", e in "a4")
}

/// Starts a child in this memory and on this stack, below what is in use, and has it
/// begin in `entry`. Goes on when it has executed a program or is gone; returns its
/// process id, or the error. clone(2).
///
/// # Safety
/// The child may do all that `entry` does with the job, while this thread stands still.
pub(crate) unsafe fn spawn(entry: extern "C" fn(&Job) -> !, job: &Job) -> isize {
    let value;
    // SAFETY: the child never comes back from `entry`, so of this function it executes
    // nothing but these instructions. Its stack is below this frame, where nobody has
    // anything, and aligned as for any call. The parent waits in the kernel
    // (CLONE_VFORK) and finds its registers and its part of the stack as they were;
    // what the child has changed through `job` the compiler knows of, for the address
    // of it is an operand.
    unsafe {
        asm!(
            "addi a1, sp, -256",
            "ecall",
            "bnez a0, 2f",
            "li s0, 0",
            "li ra, 0",
            "mv a0, s2",
            "jalr s3",
            "unimp",
            "2:",
            in("a7") nr::CLONE,
            inlateout("a0") SPAWN => value,
            out("a1") _,
            in("a2") 0,
            in("a3") 0,
            in("a4") 0,
            in("s2") job,
            in("s3") entry,
        );
    }
    value
}

/// Gives `size` bytes of the stack from `start` on back to the kernel, sleeps until
/// a signal of `set` is pending or the wait is refused, and goes on in
/// [`super::woken`] with what rt_sigtimedwait(2) returned.
///
/// # Safety
/// What lies there, or below the stack pointer, must be of use to nobody any more:
/// not to a caller either, whose frame it may be. It reads as zeros from then on.
pub(crate) unsafe fn sleep(start: usize, size: usize, set: &'static Set) -> ! {
    // SAFETY: this is the last that any function so far does, so nothing that the
    // compiler may have put on the stack is read again. Until the call the stack
    // isn't touched: no operand is in memory, and the kernel keeps all registers
    // but a0. What madvise takes is the caller's promise. The wait reads `set`,
    // which is in the text; null stands for no siginfo and no timeout. `woken`
    // never returns, and gets the stack aligned, as sp always is.
    unsafe {
        asm!(
            "ecall", // madvise; if it is refused, only memory is lost
            "li a7, {wait}",
            "li a1, 0",
            "li a2, 0",
            "2:",
            "mv a0, s2",
            "ecall",
            // Stopped and continued, frozen and thawed, or a tracer came or left.
            "addi t0, a0, {EINTR}",
            "beqz t0, 2b",
            "call {woken}",
            "unimp",
            wait = const nr::RT_SIGTIMEDWAIT,
            EINTR = const EINTR,
            woken = sym super::woken,
            in("a7") nr::MADVISE,
            in("a0") start,
            in("a1") size,
            in("a2") MADV_DONTNEED,
            in("a3") size_of::<Set>(), // for the wait; madvise has three arguments
            in("s2") set,
            options(noreturn),
        );
    }
}

/// Ends the process by SIGILL.
pub(crate) fn trap() -> ! {
    // SAFETY: an instruction that is defined to fault touches nothing.
    unsafe { asm!("unimp", options(noreturn, nomem, nostack)) }
}
