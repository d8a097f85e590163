//! s390x: where the program begins, the instruction that calls the kernel, and
//! the sleep without a stack.

use super::{EINTR, MADV_DONTNEED, SPAWN, Set};
use crate::init::Job;
use core::arch::{asm, global_asm};

/// Numbers of the system calls (`asm/unistd_64.h`).
pub(crate) mod nr {
    pub(crate) const EXIT: usize = 1;
    pub(crate) const READ: usize = 3;
    pub(crate) const WRITE: usize = 4;
    pub(crate) const EXECVE: usize = 11;
    pub(crate) const CHDIR: usize = 12;
    pub(crate) const GETPID: usize = 20;
    pub(crate) const KILL: usize = 37;
    pub(crate) const IOCTL: usize = 54;
    pub(crate) const SETPGID: usize = 57;
    pub(crate) const SETSID: usize = 66;
    pub(crate) const SETITIMER: usize = 104;
    pub(crate) const WAIT4: usize = 114;
    pub(crate) const CLONE: usize = 120;
    pub(crate) const GETPGID: usize = 132;
    pub(crate) const PRCTL: usize = 172;
    pub(crate) const RT_SIGACTION: usize = 174;
    pub(crate) const RT_SIGPROCMASK: usize = 175;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 177;
    pub(crate) const CAPSET: usize = 185;
    pub(crate) const MADVISE: usize = 219;
    pub(crate) const GETDENTS64: usize = 220;
    pub(crate) const EXIT_GROUP: usize = 248;
    pub(crate) const OPENAT: usize = 288;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

// The kernel enters with r15 at argc, aligned to 8 bytes: as a call wants it, but for the
// 160 bytes above it in which the called one saves registers. Zero in the first of them
// marks the outermost frame.
global_asm!(
    ".globl pause_start",
    "pause_start:",
    "lgr %r2, %r15",
    "aghi %r15, -160",
    "xc 0(8,%r15), 0(%r15)",
    "brasl %r14, {entry}",
    ".short 0",
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
            // SAFETY: the kernel keeps all registers but r2, and the stack; the memory that
            // it touches is the caller's promise.
            unsafe {
                asm!(
                    "svc 0",
                    inlateout("r2") $a => value,
                    in("r1") number,
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
    syscall2(a, b in "r3")
    syscall3(a, b in "r3", c in "r4")
    syscall4(a, b in "r3", c in "r4", d in "r5")
    syscall5(a, b in "r3", c in "r4", d in "r5", e in "r6")
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
            // Of this CPU alone the stack comes before the flags.
            "lay %r2, -512(%r15)",
            "svc 0",
            "ltgr %r2, %r2",
            "jne 2f",
            "xc 0(8,%r15), 0(%r15)",
            "lgr %r2, %r8",
            "basr %r14, %r9",
            ".short 0",
            "2:",
            in("r1") nr::CLONE,
            lateout("r2") value,
            in("r3") SPAWN,
            in("r4") 0,
            in("r5") 0,
            in("r6") 0,
            in("r8") job,
            in("r9") entry,
            lateout("r14") _,
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
    // but r2. What madvise takes is the caller's promise. The wait reads `set`,
    // which is in the text; null stands for no siginfo and no timeout. `woken`
    // never returns, and gets the stack aligned, as r15 always is.
    unsafe {
        asm!(
            "svc 0", // madvise; if it is refused, only memory is lost
            "lghi %r1, {wait}",
            "lghi %r3, 0",
            "lghi %r4, 0",
            "2:",
            "lgr %r2, %r8",
            "svc 0",
            // Stopped and continued, frozen and thawed, or a tracer came or left.
            "cghi %r2, -{EINTR}",
            "je 2b",
            // Room for the registers that the called one saves.
            "aghi %r15, -160",
            "brasl %r14, {woken}",
            ".short 0",
            wait = const nr::RT_SIGTIMEDWAIT,
            EINTR = const EINTR,
            woken = sym super::woken,
            in("r1") nr::MADVISE,
            in("r2") start,
            in("r3") size,
            in("r4") MADV_DONTNEED,
            in("r5") size_of::<Set>(), // for the wait; madvise has three arguments
            in("r8") set,
            options(noreturn),
        );
    }
}

/// Ends the process by SIGILL.
pub(crate) fn trap() -> ! {
    // SAFETY: an instruction that is defined to fault touches nothing.
    unsafe { asm!(".short 0", options(noreturn, nomem, nostack)) }
}
