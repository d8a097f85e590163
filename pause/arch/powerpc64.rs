//! ppc64le (ELFv2): where the program begins, the instruction that calls the kernel, and
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
    pub(crate) const PRCTL: usize = 171;
    pub(crate) const RT_SIGACTION: usize = 173;
    pub(crate) const RT_SIGPROCMASK: usize = 174;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 176;
    pub(crate) const CAPSET: usize = 184;
    pub(crate) const GETDENTS64: usize = 202;
    pub(crate) const MADVISE: usize = 205;
    pub(crate) const EXIT_GROUP: usize = 234;
    pub(crate) const OPENAT: usize = 286;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

// The kernel enters with r1 at argc, aligned to 16 bytes, and with r12 at this place, from
// which the table of contents is found. A frame of no caller comes first.
global_asm!(
    ".globl pause_start",
    "pause_start:",
    "addis 2, 12, .TOC.-pause_start@ha",
    "addi 2, 2, .TOC.-pause_start@l",
    "mr 3, 1",
    "li 0, 0",
    "stdu 0, -32(1)",
    "mtlr 0",
    "bl {entry}",
    "nop",
    ".long 0",
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
            // SAFETY: the kernel keeps the stack and all registers but those that a function
            // may change, too; the memory that it touches is the caller's promise. An error
            // is told by a bit beside the number.
            unsafe {
                asm!(
                    "sc",
                    "bns+ 2f",
                    "neg 3, 3",
                    "2:",
                    inlateout("r0") number => _,
                    inlateout("r3") $a => value,
                    $(inlateout($register) $more => _,)*
                    clobber_abi("C"),
                    options(nostack),
                );
            }
            value
        }
    )*};
}

syscalls! {
    syscall1(a)
    syscall2(a, b in "r4")
    syscall3(a, b in "r4", c in "r5")
    syscall4(a, b in "r4", c in "r5", d in "r6")
    syscall5(a, b in "r4", c in "r5", d in "r6", e in "r7")
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
    // nothing but these instructions. Its stack is below the red zone of this frame, where nobody has
    // anything, and aligned as for any call. The parent waits in the kernel
    // (CLONE_VFORK) and finds its registers and its part of the stack as they were;
    // what the child has changed through `job` the compiler knows of, for the address
    // of it is an operand.
    unsafe {
        asm!(
            "addi 4, 1, -512",
            "sc",
            "bns+ 2f",
            "neg 3, 3",
            "2:",
            "cmpdi 3, 0",
            "bne 3f",
            "li 0, 0",
            "std 0, 0(1)",
            "mr 3, 14",
            "mr 12, 15",
            "mtctr 12",
            "bctrl",
            ".long 0",
            "3:",
            inlateout("r0") nr::CLONE => _,
            inlateout("r3") SPAWN => value,
            out("r4") _,
            inlateout("r5") 0_usize => _,
            inlateout("r6") 0_usize => _,
            inlateout("r7") 0_usize => _,
            in("r14") job,
            in("r15") entry,
            clobber_abi("C"),
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
    // but those that a function may
    // change, too. What madvise takes is the caller's promise. The wait reads `set`,
    // which is in the text; null stands for no siginfo and no timeout. `woken`
    // never returns, and gets the stack aligned, as r1 always is.
    unsafe {
        asm!(
            "sc", // madvise; if it is refused, only memory is lost
            "2:",
            "li 0, {wait}",
            "mr 3, 14",
            "li 4, 0",
            "li 5, 0",
            "li 6, {size}",
            "sc",
            "bns+ 3f",
            "cmpwi 3, {EINTR}",
            // Stopped and continued, frozen and thawed, or a tracer came or left.
            "beq 2b",
            "neg 3, 3",
            "3:",
            "bl {woken}",
            "nop",
            ".long 0",
            wait = const nr::RT_SIGTIMEDWAIT,
            EINTR = const EINTR,
            woken = sym super::woken,
            size = const size_of::<Set>(),
            in("r0") nr::MADVISE,
            in("r3") start,
            in("r4") size,
            in("r5") MADV_DONTNEED,
            in("r14") set,
            options(noreturn),
        );
    }
}

/// Ends the process by SIGILL.
pub(crate) fn trap() -> ! {
    // SAFETY: an instruction that is defined to fault touches nothing.
    unsafe { asm!(".long 0", options(noreturn, nomem, nostack)) }
}
