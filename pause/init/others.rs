//! The other processes: those who are left when the child has ended, and those who leave
//! zombies.

use super::Wishes;
use super::say::say;
use crate::sys::{self, STAT, process, processes, title};

/// Sends a signal to all who are left when the child has ended. PID 1 knows that everybody
/// is its own: -1 is all that it can see. Elsewhere that would be the whole machine: there
/// it is the child's process group, and whoever is a child of this process.
pub(super) fn signal(wishes: &Wishes, child: i32, signal: i32) {
    if sys::getpid() == 1 {
        let _ = sys::kill(-1, signal);
        return;
    }
    let _ = sys::kill(-child, signal);
    look_around(wishes, signal);
}

/// Tells of a process that has a zombie and doesn't wait for it, if there is one; returns
/// whether there was.
///
/// No init can reap such a zombie, and who sees it takes it for the init's fault. Such a
/// parent is one that sleeps while it has a zombie: one that waits, or has a handler, was
/// woken by the child's end before anybody can see the zombie.
pub(super) fn told_of_neglect(wishes: &Wishes) -> bool {
    look_around(wishes, 0)
}

/// Both are one loop, as it is the smaller file: sends the signal to the children of this
/// process, or looks for neglect if it is 0.
#[inline(never)]
fn look_around(wishes: &Wishes, signal: i32) -> bool {
    let own = sys::getpid() as usize;
    processes(|pid, state, parent, stat| {
        if signal != 0 {
            if parent == own {
                let _ = sys::kill(pid as i32, signal);
            }
            return false;
        }
        // The zombies of the init are on their way.
        let neglected = state == b'Z' && parent > 1 && process(STAT, parent, stat).0 == b'S';
        if neglected {
            let text = c"$ does not wait for its zombies, and only it can: mend it, or end it";
            say(wishes, text, title(stat), 0);
        }
        neglected
    })
}
