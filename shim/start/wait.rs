//! In the foreground: signals go on to the program, and its exit code comes back. As
//! `foreground` of shim does it.

use crate::sys::{self, News, SIGCHLD, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};

/// Signals that aren't passed on, by number (`asm-generic/signal.h`): what the kernel says of
/// shim itself (ILL, TRAP, ABRT, BUS, FPE, SEGV, PIPE, XCPU, XFSZ, SYS), and what is the
/// terminal's own affair (TTIN, TTOU).
const KEPT: [i32; 12] = [4, 5, 6, 7, 8, 11, 13, SIGTTIN, SIGTTOU, 24, 25, 31];

/// What is blocked, and fetched: all others, the real-time ones and CHLD among them.
pub(crate) const FETCHED: u64 = {
    let mut set = u64::MAX;
    let mut at = 0;
    while at < KEPT.len() {
        set &= !(1 << (KEPT[at] - 1));
        at += 1;
    }
    set
};

/// Waits for the child's end. Returns the exit code, as a shell tells it.
pub(crate) fn attend(child: i32) -> i32 {
    // A ^C from before the child was made came to this process alone.
    while let Some(info) = sys::fetch_now(FETCHED) {
        if info.signal != SIGCHLD {
            sys::kill(child, info.signal);
        }
    }
    loop {
        match sys::news(None) {
            News::Of(pid, status) if pid == child => {
                if let Some(code) = ended(status) {
                    return code;
                }
                // It stopped by the terminal: so does this, and the shell that started it
                // sees it. Not by SIGSTOP: who continues it then knows of it alone.
                if matches!((status >> 8) as i32, SIGTSTP | SIGTTIN | SIGTTOU) {
                    sys::kill(sys::own_pid(), SIGSTOP);
                }
            }
            // Another one, that whoever executed this program has left to it.
            News::Of(..) => {}
            News::None => forward(child),
            // The caller has it that children leave no status (SIGCHLD ignored).
            News::NoChild => return 125,
        }
    }
}

/// The exit code, if that is what the status tells: wait(2).
fn ended(status: u32) -> Option<i32> {
    match status & 0x7f {
        0 => Some((status >> 8 & 0xff) as i32),
        0x7f => None,
        signal => Some(128 + signal as i32),
    }
}

/// Waits for a signal, and sends it on.
fn forward(child: i32) {
    let Some(info) = sys::fetch(FETCHED) else { return };
    // ^C goes to all of the terminal's foreground group, the child among it.
    let has_it = info.code == sys::SI_KERNEL && sys::group(child) == sys::group(0);
    if info.signal != SIGCHLD && !has_it {
        // It is there, or not waited for yet.
        sys::kill(child, info.signal);
    }
}
