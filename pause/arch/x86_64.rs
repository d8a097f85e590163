//! x86_64: where the program begins, the instruction that calls the kernel, and
//! the sleep without a stack.

use super::{EINTR, MADV_DONTNEED, SPAWN, Set};
use crate::init::Job;
use core::arch::{asm, global_asm};

/// Numbers of the system calls (`asm/unistd_64.h`).
pub(crate) mod nr {
    pub(crate) const READ: usize = 0;
    pub(crate) const WRITE: usize = 1;
    pub(crate) const RT_SIGACTION: usize = 13;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const IOCTL: usize = 16;
    pub(crate) const MADVISE: usize = 28;
    pub(crate) const SETITIMER: usize = 38;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const CLONE: usize = 56;
    pub(crate) const EXECVE: usize = 59;
    pub(crate) const EXIT: usize = 60;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const KILL: usize = 62;
    pub(crate) const CHDIR: usize = 80;
    pub(crate) const SETPGID: usize = 109;
    pub(crate) const SETSID: usize = 112;
    pub(crate) const GETPGID: usize = 121;
    pub(crate) const CAPSET: usize = 126;
    pub(crate) const RT_SIGTIMEDWAIT: usize = 128;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const GETDENTS64: usize = 217;
    pub(crate) const EXIT_GROUP: usize = 231;
    pub(crate) const OPENAT: usize = 257;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

// The kernel enters with rsp at argc, aligned to 16 bytes: as a call wants it.
// A zero frame pointer marks the outermost frame.
global_asm!(
    ".globl pause_start",
    "pause_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "call {entry}",
    "ud2",
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
            // SAFETY: the kernel keeps all registers but rax, rcx and r11, and the
            // stack; the memory that it touches is the caller's promise.
            unsafe {
                asm!(
                    "syscall",
                    inlateout("rax") number => value,
                    in("rdi") $a,
                    $(in($register) $more,)*
                    lateout("rcx") _,
                    lateout("r11") _,
                    options(nostack),
                );
            }
            value
        }
    )*};
}

syscalls! {
    syscall1(a)
    syscall2(a, b in "rsi")
    syscall3(a, b in "rsi", c in "rdx")
    syscall4(a, b in "rsi", c in "rdx", d in "r10")
    syscall5(a, b in "rsi", c in "rdx", d in "r10", e in "r8")
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
    // nothing but these instructions. Its stack is below the red zone of this frame,
    // where nobody has anything, and aligned as for any call. The parent waits in the
    // kernel (CLONE_VFORK) and finds its registers and its part of the stack as they
    // were; what the child has changed through `job` the compiler knows of, for the
    // address of it is an operand.
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
            in("rdi") SPAWN,
            out("rsi") _,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            in("r12") job,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
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
    // but rax, rcx and r11. What madvise takes is the caller's promise. The wait
    // reads `set`, which is in the text; null stands for no siginfo and no timeout.
    // `woken` never returns, and gets the stack aligned as for any call.
    unsafe {
        asm!(
            "syscall", // madvise; if it is refused, only memory is lost
            "2:",
            "mov eax, {wait}",
            "mov rdi, r12",
            "xor esi, esi",
            "xor edx, edx",
            "syscall",
            // Stopped and continued, frozen and thawed, or a tracer came or left.
            "cmp eax, -{EINTR}",
            "je 2b",
            "mov rdi, rax",
            "and rsp, -16",
            "call {woken}",
            "ud2",
            wait = const nr::RT_SIGTIMEDWAIT,
            EINTR = const EINTR,
            woken = sym super::woken,
            in("rax") nr::MADVISE,
            in("rdi") start,
            in("rsi") size,
            in("rdx") MADV_DONTNEED,
            in("r10") size_of::<Set>(), // for the wait; madvise has three arguments
            in("r12") set,
            options(noreturn),
        );
    }
}

/// Ends the process by SIGILL.
pub(crate) fn trap() -> ! {
    // SAFETY: an instruction that is defined to fault touches nothing.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}
