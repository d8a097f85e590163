//! Questions to nftables in one namespace, and transactions.

use std::os::fd::BorrowedFd;

use podkeel_wire::nf::{self, ChainInfo, Elem, ElemInfo, RuleInfo, SetInfo, Table, TableInfo};
use podkeel_wire::{Batch, Message};

use super::socket::{Refusal, Socket, Waiter};
use super::sys;
use crate::error::{Error, Kind, Result};

/// How many elements are asked for in one exchange.
const GETS_AT_ONCE: usize = 64;

/// An nftables socket.
///
/// What a transaction removes is freed after an RCU grace period, 10 ms and more, and the
/// kernel has whoever closes an nfnetlink socket of that namespace in the meantime wait for
/// it (nft_rcv_nl_event). What was removed is closed before that, when the transaction is
/// acknowledged: so that wait, too, is another process's.
#[derive(Debug)]
pub struct Nft {
    // Closed in this order.
    pub(super) socket: Socket,
    /// In the middle of a dump that nobody reads on.
    spent: Vec<Socket>,
    waiter: Option<Waiter>,
    removed: bool,
}

impl Drop for Nft {
    fn drop(&mut self) {
        if self.waits() {
            self.close_apart(&[], |_| {});
        }
    }
}

impl Nft {
    /// Opens one in the calling thread's namespace.
    pub fn open() -> Result<Nft> {
        let socket = Socket::netfilter()?;
        Ok(Nft { socket, spent: Vec::new(), waiter: None, removed: false })
    }

    /// Whether a transaction of this socket removed something.
    pub fn has_removed(&self) -> bool {
        self.removed
    }

    /// Has another process wait where closing this socket would: somebody else may have
    /// removed something right now.
    pub fn expect_wait(&mut self) {
        self.removed = true;
    }

    /// Whether closing this socket will have to wait, which is to be another process's.
    pub(super) fn waits(&self) -> bool {
        self.removed && self.waiter.is_none()
    }

    /// Has another process close this socket, and wait for that, after a job for which it
    /// keeps these files open.
    pub(super) fn close_apart(&mut self, keep: &[BorrowedFd<'_>], job: impl sys::Job) {
        let sockets = self.spent.iter().chain([&self.socket]);
        self.waiter = Socket::close_apart(sockets, keep, job);
    }

    /// The generation id of the namespace's whole ruleset: every commit of anybody changes it.
    pub fn generation(&mut self) -> Result<u32> {
        let mut batch = self.socket.batch();
        nf::get_generation(&mut batch);
        let found =
            self.one(batch, nf::generation, "read the generation of the nftables ruleset")?;
        found.ok_or_else(|| {
            Error::new(
                Kind::Failed,
                "read the generation of the nftables ruleset",
                "the kernel gave none",
            )
        })
    }

    /// A table, if it is there.
    pub fn table(&mut self, table: Table<'_>) -> Result<Option<TableInfo>> {
        let mut batch = self.socket.batch();
        table.get(&mut batch);
        self.one(batch, TableInfo::read, &format!("find nftables table {}", table.name))
    }

    /// All tables of the namespace, of every family.
    pub fn tables(&mut self) -> Result<Vec<TableInfo>> {
        self.list(|b| _ = nf::dump_tables(b), TableInfo::read, "list nftables tables")
    }

    /// A chain, if it is there.
    pub fn chain(&mut self, table: Table<'_>, chain: &str) -> Result<Option<ChainInfo>> {
        let mut batch = self.socket.batch();
        table.get_chain(&mut batch, chain);
        self.one(
            batch,
            ChainInfo::read,
            &format!("find nftables chain {chain} of table {}", table.name),
        )
    }

    /// Elements by key: for each of `wanted` what is there, in order. A set of
    /// ranges looks a key up by its start: what holds it but isn't it doesn't count.
    pub fn elems<S: AsRef<str>>(
        &mut self,
        table: Table<'_>,
        wanted: &[(S, Elem)],
    ) -> Result<Vec<Option<Elem>>> {
        let mut found = Vec::with_capacity(wanted.len());
        // The answers of one exchange wait in the socket's buffer.
        for part in wanted.chunks(GETS_AT_ONCE) {
            found.extend(self.some_elems(table, part)?);
        }
        for ((_, wanted), slot) in wanted.iter().zip(&mut found) {
            slot.take_if(|f| f.key != wanted.key || f.key_end != wanted.key_end);
        }
        Ok(found)
    }

    fn some_elems<S: AsRef<str>>(
        &mut self,
        table: Table<'_>,
        wanted: &[(S, Elem)],
    ) -> Result<Vec<Option<Elem>>> {
        let mut batch = self.socket.batch();
        let first = batch.next_seq();
        for (set, key) in wanted {
            table.get_elem(&mut batch, set.as_ref(), key);
        }
        let mut found = vec![None; wanted.len()];
        let refused = self.socket.exchange(batch, |message| {
            let at = message.seq.wrapping_sub(first) as usize;
            if let (Some(slot), Some(info)) = (found.get_mut(at), ElemInfo::read(message)) {
                *slot = info.elems.into_iter().next();
            }
        })?;
        match refused.iter().find(|r| r.errno != libc::ENOENT) {
            Some(refusal) => Err(refusal.error("find elements of nftables sets")),
            None => Ok(found),
        }
    }

    /// All elements of a set; none where the set or the table isn't.
    pub fn all_elems(&mut self, table: Table<'_>, set: &str) -> Result<Vec<Elem>> {
        let found = self.list(
            |b| _ = table.dump_elems(b, set),
            ElemInfo::read,
            "list elements of an nftables set",
        )?;
        Ok(found.into_iter().flat_map(|info| info.elems).collect())
    }

    /// All rules of a table, in order.
    pub fn rules(&mut self, table: Table<'_>) -> Result<Vec<RuleInfo>> {
        self.list(|b| _ = table.dump_rules(b), RuleInfo::read, "list nftables rules")
    }

    /// All rules of a chain, in order; none where it isn't.
    pub fn rules_of(&mut self, table: Table<'_>, chain: &str) -> Result<Vec<RuleInfo>> {
        let request = |b: &mut Batch| _ = table.dump_rules_of(b, chain);
        let found = self.list(request, RuleInfo::read, "list nftables rules")?;
        Ok(found.into_iter().filter(|rule| rule.chain == chain).collect())
    }

    /// Whether a chain has a rule like this. It is listed as far as to the first one, and so costs
    /// the same however many are behind that.
    pub fn has_rule(
        &mut self,
        table: Table<'_>,
        chain: &str,
        like: impl Fn(&RuleInfo) -> bool,
    ) -> Result<bool> {
        let mut socket = Socket::netfilter()?;
        let is_like = |rule: &RuleInfo| rule.chain == chain && like(rule);
        let found = socket.search(
            |batch| _ = table.dump_rules_of(batch, chain),
            |message| RuleInfo::read(message).filter(is_like),
        )?;
        self.spent.push(socket);
        match found {
            Ok(found) => Ok(found.is_some()),
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(false),
            Err(refusal) => Err(refusal.error(format!("list the rules of chain {chain}"))),
        }
    }

    /// Rules of a chain by their handles, as far as they are there.
    pub fn rules_at(
        &mut self,
        table: Table<'_>,
        chain: &str,
        handles: &[u64],
    ) -> Result<Vec<RuleInfo>> {
        let mut batch = self.socket.batch();
        for handle in handles {
            table.get_rule(&mut batch, chain, *handle);
        }
        let mut found = Vec::new();
        let refused = self.socket.exchange(batch, |m| found.extend(RuleInfo::read(m)))?;
        match refused.iter().find(|r| r.errno != libc::ENOENT) {
            Some(refusal) => Err(refusal.error("find nftables rules by their handles")),
            None => Ok(found),
        }
    }

    /// All chains of a table.
    pub fn chains(&mut self, table: Table<'_>) -> Result<Vec<ChainInfo>> {
        let all =
            self.list(|b| _ = table.dump_chains(b), ChainInfo::read, "list nftables chains")?;
        Ok(all.into_iter().filter(|c| c.table == table.name && c.family == table.family).collect())
    }

    /// All sets of a table.
    pub fn sets(&mut self, table: Table<'_>) -> Result<Vec<SetInfo>> {
        self.list(|b| _ = table.dump_sets(b), SetInfo::read, "list nftables sets")
    }

    /// One transaction, filled by `fill`. With a generation it fails with
    /// ERESTART if anybody changed the ruleset since. Returns the refusals;
    /// where there is one, nothing was committed.
    pub fn commit(
        &mut self,
        generation: Option<u32>,
        fill: impl FnOnce(&mut Batch),
    ) -> Result<Vec<Refusal>> {
        let mut batch = self.socket.batch();
        nf::begin(&mut batch, generation);
        let before = batch.next_seq();
        fill(&mut batch);
        if batch.next_seq() == before {
            return Ok(Vec::new());
        }
        self.removed |= nf::removes(&batch);
        self.socket.transaction(batch)
    }

    /// One transaction of rules that the kernel tells of (see [`Table::make_told_rule`]).
    /// Returns the refusals, and the handles of the rules.
    pub fn commit_told(
        &mut self,
        fill: impl FnOnce(&mut Batch),
    ) -> Result<(Vec<Refusal>, Vec<u64>)> {
        let mut batch = self.socket.batch();
        nf::begin(&mut batch, None);
        fill(&mut batch);
        let mut handles = Vec::new();
        let told = |m: &Message<'_>| handles.extend(RuleInfo::read(m).map(|rule| rule.handle));
        let refused = self.socket.transaction_told(batch, told)?;
        Ok((refused, handles))
    }

    fn one<T>(
        &mut self,
        batch: Batch,
        read: impl Fn(&Message<'_>) -> Option<T>,
        what: &str,
    ) -> Result<Option<T>> {
        let mut found = None;
        let refused = self.socket.exchange(batch, |m| found = found.take().or_else(|| read(m)))?;
        match refused.first() {
            Some(refusal) if refusal.errno == libc::ENOENT => Ok(None),
            Some(refusal) => Err(refusal.error(what)),
            None => Ok(found),
        }
    }

    fn list<T>(
        &mut self,
        request: impl Fn(&mut Batch),
        read: impl Fn(&Message<'_>) -> Option<T>,
        what: &str,
    ) -> Result<Vec<T>> {
        match self.socket.dump(request, read)? {
            Ok(found) => Ok(found),
            Err(refusal) if refusal.errno == libc::ENOENT => Ok(Vec::new()),
            Err(refusal) => Err(refusal.error(what)),
        }
    }
}
