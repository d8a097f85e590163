//! monitor: the parent of a detached container, while there is nothing to do.
//!
//! Somebody has to stay and wait: only a parent learns how a process ended, and a joined
//! one that nobody reaps keeps pause from ending. That somebody sleeps for days, once per
//! container, so it isn't shim but this: one page of text, one or two of stack. When the
//! container has ended, it becomes shim again, which writes down how.
//!
//! ```text
//!   shim ──fork──► shim ── starts the container ──exec──► monitor ── wait4(PID)
//!                                                            │
//!                                         exec fd 3: shim ... STATUS
//! ```
//!
//! ```text
//!   argv   "shim-monitor"  PID  "shim"  words of shim ...  "##########"
//!   fd 3   shim's own file, so that another shim in its place doesn't matter
//! ```
//!
//! The last word is overwritten with the status, in wait(2)'s encoding. All signals but
//! KILL are blocked by shim beforehand. Exit code 1: PID isn't a child, or shim's file
//! can't be executed; then nobody knows how the container ended.

#![no_std]
#![no_main]
#![allow(unsafe_code)]

#[path = "../arch/mod.rs"]
mod arch;
#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod own;

use arch::{exit, syscall};
use own::nr;

/// Interrupted by a signal (`asm-generic/errno-base.h`).
const EINTR: isize = 4;
/// execveat(2): the descriptor itself is the file (`linux/fcntl.h`).
const AT_EMPTY_PATH: usize = 0x1000;
/// wait4(2): any child.
const ANY: usize = usize::MAX;
/// Where shim's own file is open.
const SHIM: usize = 3;
/// Words before those of shim: the program's name and PID.
const OWN_WORDS: usize = 2;

/// Where `monitor_start` arrives, with the stack pointer as the kernel left it: argc,
/// argv, null, envp, null.
extern "C" fn entry(stack: *mut usize) -> ! {
    // SAFETY: the kernel has put argc there, and argc words and a null behind it.
    let (argc, argv) = unsafe { (*stack, stack.add(1)) };
    if argc > OWN_WORDS + 1 {
        // SAFETY: both indices are less than argc.
        let (pid, last) = unsafe { (*argv.add(1), *argv.add(argc - 1)) };
        let status = wait(number(pid as *const u8));
        if let Some(status) = status {
            write(last as *mut u8, status);
            // SAFETY: behind argv comes its null, and behind that envp.
            let (words, env) = unsafe { (argv.add(OWN_WORDS), argv.add(argc + 1)) };
            let path = c"".as_ptr() as usize;
            // SAFETY: all are pointers to what the kernel itself has laid out so.
            unsafe {
                syscall(nr::EXECVEAT, SHIM, path, words as usize, env as usize, AT_EMPTY_PATH);
            }
        }
    }
    exit(1)
}

/// Waits for the end of one child: wait4(2). Others, which a runtime's hooks may have left
/// behind for us, are reaped on the way.
fn wait(pid: usize) -> Option<u32> {
    let mut status = 0u32;
    loop {
        // SAFETY: the kernel writes the four bytes of `status`; null for the usage.
        let got = unsafe { syscall(nr::WAIT4, ANY, &raw mut status as usize, 0, 0, 0) };
        match got {
            got if got == -EINTR => {}
            got if got < 0 => return None,
            got if got as usize == pid => return Some(status),
            _ => {}
        }
    }
}

/// Reads a decimal number.
fn number(text: *const u8) -> usize {
    let mut value = 0usize;
    let mut at = text;
    loop {
        // SAFETY: the text ends with a zero byte, where this stops.
        let digit = unsafe { *at }.wrapping_sub(b'0');
        if digit > 9 {
            return value;
        }
        value = value.wrapping_mul(10).wrapping_add(digit as usize);
        at = at.wrapping_add(1);
    }
}

/// Writes a number in ten decimal digits over a word, which is that long or shorter.
fn write(word: *mut u8, mut value: u32) {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    for (i, digit) in digits.into_iter().enumerate() {
        let at = word.wrapping_add(i);
        // SAFETY: the word ends with a zero byte, where this stops.
        if unsafe { *at } == 0 {
            return;
        }
        // SAFETY: the kernel has put the words of a program on its stack, to be written to.
        unsafe { *at = digit };
    }
}
