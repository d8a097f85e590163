//! Questions to rtnetlink in one namespace.

use std::collections::HashMap;

use podkeel_wire::rt::{self, AddrInfo, LinkInfo, Neigh, RouteInfo};
use podkeel_wire::{Batch, Message};

use super::socket::{Apart, Refusal, Socket};
use crate::error::{Error, Kind, Result};

/// A route socket and the link indices it has seen.
#[derive(Debug)]
pub struct Rtnl {
    /// The socket.
    pub socket: Socket,
    index: HashMap<String, u32>,
    /// During [`Rtnl::look`]: what was seen of links.
    seen: Option<HashMap<String, Option<LinkInfo>>>,
}

impl Rtnl {
    /// Opens one in the calling thread's namespace.
    pub fn open() -> Result<Rtnl> {
        Ok(Rtnl { socket: Socket::route()?, index: HashMap::new(), seen: None })
    }

    /// From now on, or until now, several questions about one link are one look at it: nothing
    /// is changed meanwhile, and whatever others change might as well come right after the look.
    pub fn look(&mut self, on: bool) {
        self.seen = on.then(HashMap::new);
    }

    /// The link of this name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<LinkInfo>> {
        if let Some(link) = self.seen.as_ref().and_then(|seen| seen.get(name)) {
            return Ok(link.clone());
        }
        let link = self.ask(name)?;
        if let Some(seen) = &mut self.seen {
            seen.insert(name.to_owned(), link.clone());
        }
        Ok(link)
    }

    fn ask(&mut self, name: &str) -> Result<Option<LinkInfo>> {
        let mut batch = self.socket.batch();
        rt::get_link(&mut batch, name);
        let mut found = None;
        let refused =
            self.socket.exchange(batch, |m| found = found.take().or(LinkInfo::read(m)))?;
        match refused.first() {
            Some(refusal) if refusal.errno == libc::ENODEV => {
                self.index.remove(name);
                Ok(None)
            }
            Some(refusal) => Err(refusal.error(format!("find link {name}"))),
            None => {
                if let Some(link) = &found {
                    self.index.insert(name.to_owned(), link.index);
                }
                Ok(found)
            }
        }
    }

    /// The link of this index, if there is one.
    pub fn link_at(&mut self, index: u32) -> Result<Option<LinkInfo>> {
        let mut batch = self.socket.batch();
        rt::get_link_at(&mut batch, index);
        let mut found = None;
        let refused =
            self.socket.exchange(batch, |m| found = found.take().or(LinkInfo::read(m)))?;
        match refused.first() {
            Some(refusal) if refusal.errno == libc::ENODEV => Ok(None),
            Some(refusal) => Err(refusal.error(format!("find link {index}"))),
            None => Ok(found),
        }
    }

    /// The index of a link that must be there.
    pub fn index(&mut self, name: &str) -> Result<u32> {
        if let Some(index) = self.index.get(name) {
            return Ok(*index);
        }
        match self.link(name)? {
            Some(link) => Ok(link.index),
            None => {
                Err(Error::new(Kind::Missing, format!("find link {name}"), "there is no such link"))
            }
        }
    }

    /// The index of a link, if it was seen before.
    pub fn known_index(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }

    /// Notes the index of a link that an exchange showed.
    pub fn learn(&mut self, name: &str, index: u32) {
        self.index.insert(name.to_owned(), index);
    }

    /// Forgets a link's index: it has left, or has another name.
    pub fn forget(&mut self, name: &str) {
        self.index.remove(name);
    }

    /// The neighbours of a family that stay; of AF_BRIDGE: what stays in forwarding tables.
    pub fn neighs(&mut self, family: i32) -> Result<Vec<Neigh>> {
        let found = self.socket.dump(|b| _ = rt::dump_neighs(b, family as u8), Neigh::read)?;
        found.map_err(|r| r.error("list neighbours"))
    }

    /// All links.
    pub fn links(&mut self) -> Result<Vec<LinkInfo>> {
        let found = self.socket.dump(|b| _ = rt::dump_links(b), LinkInfo::read)?;
        found.map_err(|r| r.error("list links"))
    }

    /// The VLANs of a bridge's port.
    pub fn vlans(&mut self, index: u32) -> Result<Vec<rt::Carried>> {
        let found = self.socket.dump(|b| _ = rt::dump_vlans(b), rt::read_vlans)?;
        let ports = found.map_err(|r| r.error("list the VLANs of bridges' ports"))?;
        Ok(ports.into_iter().filter(|(port, _)| *port == index).flat_map(|(_, v)| v).collect())
    }

    /// The addresses of one link, or of all with index 0.
    pub fn addrs(&mut self, index: u32) -> Result<Vec<AddrInfo>> {
        let found = self.socket.dump(|b| _ = rt::dump_addrs(b, index), AddrInfo::read)?;
        match found {
            Ok(addrs) => Ok(addrs.into_iter().filter(|a| index == 0 || a.index == index).collect()),
            Err(r) if r.errno == libc::ENODEV => Ok(Vec::new()),
            Err(r) => Err(r.error("list addresses")),
        }
    }

    /// The routes of a family (AF_INET, AF_INET6), of all tables.
    pub fn routes(&mut self, family: i32) -> Result<Vec<RouteInfo>> {
        let found = self.socket.dump(|b| _ = rt::dump_routes(b, family as u8), RouteInfo::read)?;
        match found {
            Ok(routes) => Ok(routes),
            // A kernel booted with ipv6.disable=1 knows no such family.
            Err(r) if r.errno == libc::EOPNOTSUPP || r.errno == libc::EAFNOSUPPORT => {
                Ok(Vec::new())
            }
            Err(r) => Err(r.error("list routes")),
        }
    }

    /// The ids of the namespaces that this one knows. The kernel takes an id
    /// out when the namespace dies, and may give it to another later.
    pub fn nsids(&mut self) -> Result<Vec<u32>> {
        let found = self.socket.dump(|b| _ = rt::dump_nsids(b), rt::read_nsid)?;
        found.map_err(|r| r.error("list the ids of network namespaces"))
    }

    /// Whether a family is forwarded: net.ipv4.ip_forward or net.ipv6.conf.all.forwarding.
    /// `None` where the kernel runs without the family.
    pub fn forwarding(&mut self, family: i32) -> Result<Option<u32>> {
        let mut batch = self.socket.batch();
        rt::get_forwarding(&mut batch, family);
        let mut found = None;
        let refused = self.socket.exchange(batch, |m| found = found.or(rt::read_forwarding(m)))?;
        match refused.first() {
            Some(r) if [libc::EOPNOTSUPP, libc::EAFNOSUPPORT].contains(&r.errno) => Ok(None),
            Some(r) => Err(r.error("find out whether packets are forwarded")),
            None => Ok(found),
        }
    }

    /// The value of a sysctl that rtnetlink tells as well; `None` of any other, and where
    /// there is no such link.
    pub fn sysctl(&mut self, path: &[String]) -> Result<Option<u32>> {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        match parts[..] {
            ["net", "ipv4", "ip_forward"] => self.forwarding(libc::AF_INET),
            ["net", "ipv6", "conf", "all", "forwarding"] => self.forwarding(libc::AF_INET6),
            ["net", "ipv4", "conf", link, "route_localnet"] => {
                Ok(self.link(link)?.and_then(|link| link.switches.route_localnet))
            }
            ["net", "ipv6", "conf", link, "accept_ra"] => {
                Ok(self.link(link)?.and_then(|link| link.switches.accept_ra))
            }
            _ => Ok(None),
        }
    }

    /// Sets a link up.
    pub fn set_up(&mut self, name: &str) -> Result<()> {
        let mut batch = self.socket.batch();
        let link = rt::Link { name: Some(name), up: Some(true), ..rt::Link::default() };
        rt::new_link(&mut batch, rt::REQUEST, &link);
        let refused = self.socket.exchange(batch, |_| {})?;
        refused.first().map_or(Ok(()), |r| Err(r.error(format!("set link {name} up"))))
    }

    /// Makes a pair of Ethernet devices, both here.
    pub fn make_pair(&mut self, name: &str, peer: &str) -> Result<()> {
        let other = rt::Link { name: Some(peer), ..rt::Link::default() };
        let link =
            rt::Link { name: Some(name), kind: rt::Kind::Veth(&other), ..rt::Link::default() };
        let mut batch = self.socket.batch();
        rt::new_link(&mut batch, rt::CREATE, &link);
        let refused = self.socket.exchange(batch, |_| {})?;
        refused.first().map_or(Ok(()), |r| Err(r.error(format!("add veth {name}"))))
    }

    /// Deletes a link by index. Returns false where it was gone already.
    ///
    /// The kernel has whoever asks wait for an RCU grace period, about 20 ms, after the
    /// link is gone and its name is free: that wait is another process's, and this returns
    /// when the removal is announced, within a millisecond. Where no process can be made,
    /// it waits.
    pub fn delete_link(&mut self, link: &LinkInfo) -> Result<bool> {
        self.index.remove(&link.name);
        match self.delete_apart(|batch| _ = rt::del_link(batch, link.index), &[link.index])? {
            None => Ok(true),
            Some(refusal) if refusal.errno == libc::ENODEV => Ok(false),
            Some(refusal) => Err(refusal.error(format!("delete link {}", link.name))),
        }
    }

    /// Deletes several links at once, as one group: what the kernel does once for each
    /// request, it does once for all of them. Waits as [`Rtnl::delete_link`] does; what is
    /// gone already is no error.
    ///
    /// `group` is the number that these links get for it, and that no other has.
    pub fn delete_links(&mut self, links: &[LinkInfo], group: u32) -> Result<()> {
        let mut batch = self.socket.batch();
        for link in links {
            self.index.remove(&link.name);
            let change = rt::Link { index: link.index, group: Some(group), ..rt::Link::default() };
            rt::new_link(&mut batch, rt::REQUEST, &change);
        }
        let what = || format!("delete {} links as group {group}", links.len());
        let first = batch.next_seq() - links.len() as u32;
        let mut gone = Vec::new();
        for refusal in self.socket.exchange(batch, |_| {})? {
            match refusal.errno {
                libc::ENODEV => gone.push(refusal.seq - first),
                _ => return Err(refusal.error(what())),
            }
        }
        let there = links.iter().zip(0u32..).filter(|(_, at)| !gone.contains(at));
        let there: Vec<u32> = there.map(|(link, _)| link.index).collect();
        if there.is_empty() {
            return Ok(());
        }
        match self.delete_apart(|batch| _ = rt::del_group(batch, group), &there)? {
            Some(refusal) if refusal.errno != libc::ENODEV => Err(refusal.error(what())),
            _ => Ok(()),
        }
    }

    /// Has another process ask for a deletion, and returns once these links are gone, or
    /// why the kernel refused.
    fn delete_apart(
        &mut self,
        ask: impl Fn(&mut Batch),
        indices: &[u32],
    ) -> Result<Option<Refusal>> {
        let mut batch = self.socket.batch();
        ask(&mut batch);
        let mut left = indices.to_vec();
        let gone = |message: &Message<'_>| {
            left.retain(|index| rt::read_gone(message) != Some(*index));
            left.is_empty()
        };
        match self.socket.send_apart(batch, rt::GROUP_LINK, gone)? {
            Apart::Done => {
                // A veth's other end goes right after it, under the same lock of the
                // kernel's (RTNL), which this question waits for.
                if let Some(index) = indices.last() {
                    let _ = self.link_at(*index)?;
                }
                Ok(None)
            }
            Apart::Refused(refusal) => Ok(Some(refusal)),
            Apart::Unknown => {
                let mut batch = self.socket.batch();
                ask(&mut batch);
                Ok(self.socket.exchange(batch, |_| {})?.into_iter().next())
            }
        }
    }
}
