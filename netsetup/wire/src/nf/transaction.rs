//! What holds a transaction together, and what can be told of it.

use super::{REQUEST, genmsg, kind};
use crate::{Batch, messages};

/// Opens a transaction. With a generation id it fails with ERESTART, and
/// nothing of it is applied, when any table of the namespace has changed since
/// that id was read.
pub fn begin(batch: &mut Batch, generation: Option<u32>) {
    batch.add(libc::NFNL_MSG_BATCH_BEGIN as u16, REQUEST, |m| {
        m.body(&genmsg(libc::AF_UNSPEC as u8, libc::NFNL_SUBSYS_NFTABLES as u16));
        if let Some(id) = generation {
            m.be32(libc::NFNL_BATCH_GENID as u16, id);
        }
    });
}

/// Closes a transaction: all that came since [`begin`] is committed, or nothing.
pub fn end(batch: &mut Batch) {
    batch.add(libc::NFNL_MSG_BATCH_END as u16, REQUEST, |m| {
        m.body(&genmsg(libc::AF_UNSPEC as u8, libc::NFNL_SUBSYS_NFTABLES as u16));
    });
}

/// Whether a transaction removes something.
pub fn removes(batch: &Batch) -> bool {
    const REMOVALS: [u16; 5] = [
        kind(libc::NFT_MSG_DELTABLE),
        kind(libc::NFT_MSG_DELCHAIN),
        kind(libc::NFT_MSG_DELRULE),
        kind(libc::NFT_MSG_DELSET),
        kind(libc::NFT_MSG_DELSETELEM),
    ];
    messages(batch.bytes()).flatten().any(|message| REMOVALS.contains(&message.kind))
}
