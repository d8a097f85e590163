//! By which a network namespace is known for good: a number that no later one gets.
//!
//! From Linux 5.14 on the kernel has one, SO_NETNS_COOKIE. Before, nothing that the kernel
//! gives out by itself will do: inode numbers and the ids of namespaces in each other are
//! given out again at once, and both at the same time; links may be moved, renamed, deleted and
//! get other addresses, and not every attachment has one.
//!
//! But each namespace keeps a table of the ids that it has given to namespaces, and may
//! give one to itself (RTM_NEWNSID, Linux 4.0). The kernel itself never does, for it gives
//! an id where a link leads to another namespace. So whoever asks first gives it a number at
//! random, and that is a cookie:
//!
//! - it can't be changed or taken away: a second RTM_NEWNSID is refused with EEXIST, and there
//!   is no RTM_DELNSID (rtnl_net_newid of net/core/net_namespace.c);
//! - it ends with the namespace, whose own table it is in;
//! - of two that have one inode number one after the other, both have the same with a
//!   probability of 2^-30. It is in the upper half, where the kernel, which gives out the lowest
//!   that is free, doesn't come to.
//!
//! A number that another program has given there before counts as well: for the same
//! reasons it stays. `ip netns list-id` shows it, inside, beside those of others.

use std::os::fd::{AsRawFd, BorrowedFd};

use podkeel_wire::rt;

use super::Rtnl;
use crate::error::{Context, Error, Kind, Result};

/// How often is asked again because somebody else was faster, or has the number.
const TRIES: u32 = 10;

/// The cookie of a namespace; `inside` is a socket that was opened in it.
///
/// # Errors
/// Before Linux 5.14: EPERM without CAP_NET_ADMIN in there.
pub(super) fn cookie(netns: BorrowedFd<'_>, inside: &mut Rtnl) -> Result<u64> {
    match inside.socket.netns_cookie()? {
        Some(cookie) => Ok(cookie),
        None => number(netns, inside).map(u64::from),
    }
}

/// The id that a namespace has given to itself; it gets one where it has none.
fn number(netns: BorrowedFd<'_>, inside: &mut Rtnl) -> Result<u32> {
    let what = "number a network namespace";
    let fd = netns.as_raw_fd();
    for _ in 0..TRIES {
        let mut batch = inside.socket.batch();
        rt::get_nsid(&mut batch, fd);
        let mut found = None;
        let refused = inside.socket.exchange(batch, |m| found = found.or(rt::read_nsid(m)))?;
        if let Some(refusal) = refused.first() {
            return Err(refusal.error(what));
        }
        if let Some(number) = found {
            return Ok(number);
        }
        let mut batch = inside.socket.batch();
        rt::new_nsid(&mut batch, fd, at_random()?);
        match inside.socket.exchange(batch, |_| {})?.first() {
            Some(refusal) if refusal.errno != libc::EEXIST => return Err(refusal.error(what)),
            _ => {}
        }
    }
    Err(Error::new(Kind::Failed, what, format!("none of {TRIES} numbers was free")))
}

/// Below the largest, whose successor, which the kernel reckons with, would be negative.
fn at_random() -> Result<u32> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .ctx(|| "choose a number for a network namespace".into())?;
    let number = 1 << 30 | u32::from_ne_bytes(bytes) >> 2;
    Ok(number.min(i32::MAX as u32 - 1))
}
