//! armv7: where the program begins, the instruction that calls the kernel, and
//! the sleep without a stack.

use super::{EINTR, MADV_DONTNEED, SPAWN, Set};
use crate::init::Job;
use core::arch::{asm, global_asm};

/// Numbers of the system calls (`asm/unistd-common.h`).
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
    pub(crate) const GETDENTS64: usize = 217;
    pub(crate) const MADVISE: usize = 220;
    pub(crate) const EXIT_GROUP: usize = 248;
    pub(crate) const OPENAT: usize = 322;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

// The kernel enters with sp at argc, aligned to 8 bytes: as a call wants it.
// Zero in the frame pointer and the link register marks the outermost frame.
global_asm!(
    ".globl pause_start",
    ".type pause_start, %function",
    "pause_start:",
    "mov r11, #0",
    "mov lr, #0",
    "mov r0, sp",
    "bl {entry}",
    "udf #0",
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
            // SAFETY: the kernel keeps all registers but r0, and the stack; the memory that
            // it touches is the caller's promise.
            unsafe {
                asm!(
                    "svc #0",
                    inlateout("r0") $a => value,
                    in("r7") number,
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
    syscall2(a, b in "r1")
    syscall3(a, b in "r1", c in "r2")
    syscall4(a, b in "r1", c in "r2", d in "r3")
    syscall5(a, b in "r1", c in "r2", d in "r3", e in "r4")
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
            "sub r1, sp, #256",
            "bic r1, r1, #7",
            "svc #0",
            "cmp r0, #0",
            "bne 2f",
            "mov r11, #0",
            "mov lr, #0",
            "mov r0, r5",
            "blx r8",
            "udf #0",
            "2:",
            in("r7") nr::CLONE,
            inlateout("r0") SPAWN => value,
            out("r1") _,
            in("r2") 0,
            in("r3") 0,
            in("r4") 0,
            in("r5") job,
            in("r8") entry,
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
    // but r0. What madvise takes is the caller's promise. The wait reads `set`,
    // which is in the text; null stands for no siginfo and no timeout. `woken`
    // never returns, and gets the stack aligned as for any call.
    unsafe {
        asm!(
            "svc #0", // madvise; if it is refused, only memory is lost
            "mov r7, #{wait}",
            "mov r1, #0",
            "mov r2, #0",
            "2:",
            "mov r0, r5",
            "svc #0",
            // Stopped and continued, frozen and thawed, or a tracer came or left.
            "cmn r0, #{EINTR}",
            "beq 2b",
            "bic sp, sp, #7",
            "bl {woken}",
            "udf #0",
            wait = const nr::RT_SIGTIMEDWAIT,
            EINTR = const EINTR,
            woken = sym super::woken,
            in("r7") nr::MADVISE,
            in("r0") start,
            in("r1") size,
            in("r2") MADV_DONTNEED,
            in("r3") size_of::<Set>(), // for the wait; madvise has three arguments
            in("r5") set,
            options(noreturn),
        );
    }
}

/// Ends the process by SIGILL.
pub(crate) fn trap() -> ! {
    // SAFETY: an instruction that is defined to fault touches nothing.
    unsafe { asm!("udf #0", options(noreturn, nomem, nostack)) }
}
