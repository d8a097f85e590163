//! What takes long and nobody need wait for is another process's.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::sys;

/// Has another process close a file for the last time, some time after this one has.
///
/// Of a mount that is nowhere (open_tree(2) with OPEN_TREE_CLONE) the last close waits for an
/// RCU grace period, 10 to 20 ms.
pub fn close(file: OwnedFd) {
    // Without a pair, closing it is for this process.
    let Ok((ours, theirs)) = pair() else { return };
    let _leaving = sys::apart(&[file.as_fd(), theirs.as_fd()], |files| {
        let _ = poll(&mut [PollFd::new(&files[1], PollFlags::IN)], None);
    });
    drop(file);
    drop(ours);
}

/// Two ends, by which each side hears when the other has closed its own, or has ended.
pub(super) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}
