//! Those who are left when the child has ended.

use crate::sys;

/// They, or what is known of them.
pub(super) struct Others {
    /// The process group that the child has led.
    group: i32,
    /// Whether none is left.
    pub(super) gone: bool,
}

impl Others {
    pub(super) fn of(child: i32) -> Self {
        Self { group: child, gone: false }
    }

    /// Sends a signal to all of them. PID 1 knows that everybody is its own: -1 is all
    /// that it can see. Elsewhere that would be the whole machine: there it is the
    /// child's process group, and whoever is a child of this process.
    pub(super) fn signal(&self, signal: i32) {
        if sys::getpid() == 1 {
            let _ = sys::kill(-1, signal);
            return;
        }
        let _ = sys::kill(-self.group, signal);
        sys::children(|pid| {
            let _ = sys::kill(pid, signal);
        });
    }

    pub(super) fn kill(&self) {
        self.signal(9);
    }
}
