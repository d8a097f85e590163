//! Rules: made, asked for, deleted.

use super::attr::*;
use super::{APPEND, DUMP, ENSURE, Expr, REQUEST, Table, udata_text};
use crate::Batch;

/// Flags of a rule that goes to the end of its chain, and that the kernel tells of.
const TOLD: u16 = APPEND | libc::NLM_F_ECHO as u16;

impl Table<'_> {
    /// Appends a rule to a chain.
    pub fn make_rule(
        &self,
        batch: &mut Batch,
        chain: &str,
        exprs: &[Expr<'_>],
        comment: Option<&str>,
    ) -> u32 {
        self.rule(batch, APPEND, chain, exprs, comment)
    }

    /// Makes a rule as [`Table::make_rule`] does; the kernel answers with the rule as it is then,
    /// its handle too.
    pub fn make_told_rule(
        &self,
        batch: &mut Batch,
        chain: &str,
        exprs: &[Expr<'_>],
        comment: Option<&str>,
    ) -> u32 {
        self.rule(batch, TOLD, chain, exprs, comment)
    }

    /// Puts a rule at the top of a chain.
    pub fn insert_rule(
        &self,
        batch: &mut Batch,
        chain: &str,
        exprs: &[Expr<'_>],
        comment: &str,
    ) -> u32 {
        self.rule(batch, ENSURE, chain, exprs, Some(comment))
    }

    /// Deletes a rule by its handle.
    pub fn delete_rule(&self, batch: &mut Batch, chain: &str, handle: u64) -> u32 {
        self.add(batch, libc::NFT_MSG_DELRULE, REQUEST, |m| {
            m.text(NFTA_RULE_TABLE, self.name);
            m.text(NFTA_RULE_CHAIN, chain);
            m.attr(NFTA_RULE_HANDLE, &handle.to_be_bytes());
        })
    }

    /// Deletes all rules of a chain.
    pub fn delete_rules(&self, batch: &mut Batch, chain: &str) -> u32 {
        self.add(batch, libc::NFT_MSG_DELRULE, REQUEST, |m| {
            m.text(NFTA_RULE_TABLE, self.name);
            m.text(NFTA_RULE_CHAIN, chain);
        })
    }

    fn rule(
        &self,
        batch: &mut Batch,
        flags: u16,
        chain: &str,
        exprs: &[Expr<'_>],
        comment: Option<&str>,
    ) -> u32 {
        self.add(batch, libc::NFT_MSG_NEWRULE, flags, |m| {
            m.text(NFTA_RULE_TABLE, self.name);
            m.text(NFTA_RULE_CHAIN, chain);
            m.nest(NFTA_RULE_EXPRESSIONS, |m| exprs.iter().for_each(|e| e.write(m)));
            if let Some(text) = comment {
                m.attr(NFTA_RULE_USERDATA, &udata_text(0, text));
            }
        })
    }

    /// Asks for one rule by its handle; ENOENT where it isn't.
    pub fn get_rule(&self, batch: &mut Batch, chain: &str, handle: u64) -> u32 {
        self.add(batch, libc::NFT_MSG_GETRULE, REQUEST, |m| {
            m.text(NFTA_RULE_TABLE, self.name);
            m.text(NFTA_RULE_CHAIN, chain);
            m.attr(NFTA_RULE_HANDLE, &handle.to_be_bytes());
        })
    }

    /// Asks for all rules of the table.
    pub fn dump_rules(&self, batch: &mut Batch) -> u32 {
        self.add(batch, libc::NFT_MSG_GETRULE, DUMP, |m| m.text(NFTA_RULE_TABLE, self.name))
    }

    /// Asks for all rules of a chain; ENOENT where it isn't.
    pub fn dump_rules_of(&self, batch: &mut Batch, chain: &str) -> u32 {
        self.add(batch, libc::NFT_MSG_GETRULE, DUMP, |m| {
            m.text(NFTA_RULE_TABLE, self.name);
            m.text(NFTA_RULE_CHAIN, chain);
        })
    }
}
