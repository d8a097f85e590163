//! As an address manager, for a plugin that calls ours. A lease's file is all the record
//! that there is, as with the reference: the attachment is somebody else's.

use std::path::Path;

use super::env::Verb;
use super::failure::{Answer, Failure, code};
use super::{Work, delegate};
use crate::conf::{self, Ipam};
use crate::error::{Error, Kind};
use crate::ipam::noted::Notes;
use crate::ipam::{self, Asked, Lease, Leases, host_local};
use crate::result::{CniResult, Ip};
use crate::verbs;

/// How often an address that another program takes first is replaced by the next.
const TRIES: u32 = 50;

impl Work<'_> {
    pub(super) fn ipam(&mut self, verb: Verb) -> Result<Option<Answer>, Failure> {
        self.context.trust()?;
        match verb {
            Verb::Add => {
                let leases = self.claim()?;
                let result = of_leases(&leases);
                // The runtime's DEL tries once more.
                self.answer(&result).map(Some).inspect_err(|_| _ = self.release())
            }
            Verb::Check => self.check_leases().map(|()| None),
            _ => self.release().map(|()| None),
        }
    }

    /// Chooses addresses and claims them, all or none.
    fn claim(&self) -> Result<Leases, Failure> {
        let asked = Asked {
            network: &self.call.network,
            container: &self.input.container,
            ifname: &self.input.ifname,
            ips: &self.call.ips,
        };
        for _ in 0..TRIES {
            let leases = ipam::lease(asked, &self.context.roots)?;
            let there = self.has_none_yet(&leases)?;
            let dirs = self.lease_dirs();
            let of = |dir: &Path, leases: &[Lease]| {
                let its = leases.iter().filter(|lease| lease.dir == dir);
                its.map(|lease| lease.ip).collect::<Vec<_>>()
            };
            for dir in &dirs {
                self.notes(dir).make([of(dir, &there), of(dir, &leases.claims)].concat())?;
            }
            let error = match make_all(&leases) {
                Ok(()) => {
                    leases.remember();
                    return Ok(leases);
                }
                Err(error) => error,
            };
            for dir in &dirs {
                self.notes(dir).drop();
                self.notes(dir).make(of(dir, &there))?;
            }
            // Somebody was faster; an address that was asked for stays taken.
            if error.kind != Kind::Taken {
                return Err(error.into());
            }
        }
        let what = format!("lease an address of network {}", asked.network.name);
        let why = "another program took every address that was tried";
        Err(Error::new(Kind::Taken, what, why).into())
    }

    /// An interface has one address of a set: a second ADD is a mistake of the caller's. One
    /// that is asked for is refused by its file. Returns what it has of other sets.
    fn has_none_yet(&self, leases: &Leases) -> Result<Vec<Lease>, Failure> {
        let Some(ipam) = self.call.network.ipam().and_then(Ipam::host_local) else {
            return Ok(Vec::new());
        };
        let (container, ifname) = (&self.input.container, &self.input.ifname);
        // A bridge of ours leases without a note: its record tells.
        let recorded = verbs::has_record(self.context, &self.id(""));
        let there = self.own_leases(&|dir| recorded || host_local::is_shared(dir))?;
        let asked = |ip| self.call.ips.contains(ip) || ipam.ips.contains(ip);
        let sets = ipam.sets.iter().zip(&leases.claims).filter(|(_, claim)| !asked(&claim.ip));
        for (set, _) in sets {
            let second = there.iter().find(|lease| set.iter().any(|range| range.holds(lease.ip)));
            if let Some(lease) = second {
                let what = format!("lease a second address for {container}/{ifname}");
                let why = format!("{} has been allocated to it", lease.ip);
                return Err(Error::new(Kind::Taken, what, why).into());
            }
        }
        Ok(there)
    }

    fn release(&self) -> Result<(), Failure> {
        for lease in self.own_leases(&|_| true)? {
            lease.drop()?;
        }
        self.lease_dirs().iter().for_each(|dir| self.notes(dir).drop());
        self.context.tidy();
        Ok(())
    }

    /// The interface's leases: those that are noted, or without notes those that say so
    /// themselves. To find them all leases are read, if that `may` be of use.
    fn own_leases(&self, may: &dyn Fn(&Path) -> bool) -> Result<Vec<Lease>, Failure> {
        let (container, ifname) = (&self.input.container, &self.input.ifname);
        let mut found = Vec::new();
        for dir in self.lease_dirs() {
            let noted = self.notes(&dir).leases()?;
            if noted.is_empty() && may(&dir) {
                found.extend(host_local::leases_of(&dir, container, ifname)?);
            }
            found.extend(noted);
        }
        Ok(found)
    }

    fn notes<'b>(&'b self, dir: &'b Path) -> Notes<'b> {
        Notes::of(&self.context.roots, dir, &self.input.container, &self.input.ifname)
    }

    fn check_leases(&self) -> Result<(), Failure> {
        let told = self.prev()?.unwrap_or_default();
        let (container, ifname) = (&self.input.container, &self.input.ifname);
        let lost = |why: String| {
            let what = format!("check {}/{container}/{ifname}", self.call.network.name);
            Failure::from(Error::new(Kind::Differs, what, why))
        };
        match self.call.network.ipam() {
            Some(Ipam::HostLocal(_)) => {
                let there = self.own_leases(&|_| true)?;
                if there.is_empty() {
                    return Err(lost("it has no lease".into()));
                }
            }
            Some(Ipam::Static(ipam)) => {
                let is_told = |net| told.ips.iter().any(|ip| ip.address == net);
                if let Some(addr) = ipam.addrs.iter().find(|addr| !is_told(addr.address)) {
                    return Err(lost(format!("prevResult has no address {}", addr.address)));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Where the network's leases lie.
    pub(super) fn lease_dirs(&self) -> Vec<std::path::PathBuf> {
        let network = &self.call.network;
        let local = network.ipam().and_then(Ipam::host_local);
        local
            .map(|ipam| ipam::lease_dir(&network.name, ipam, &self.context.roots))
            .into_iter()
            .collect()
    }

    /// The addresses of an address manager that isn't ours, if the network has one.
    pub(super) fn foreign(&self) -> Option<&str> {
        match self.call.network.ipam() {
            Some(Ipam::Foreign(kind)) => Some(kind),
            _ => None,
        }
    }

    /// Calls it, if there is one.
    pub(super) fn delegate(&self, verb: &str) -> Result<Option<Leases>, Failure> {
        let Some(kind) = self.foreign() else { return Ok(None) };
        let answer = delegate::run(kind, verb, self.input, self.stdin)?;
        if verb != "ADD" {
            return Ok(Some(Leases::default()));
        }
        let result = conf::result(&answer, &format!("the answer of {kind}"))
            .map_err(|e| Failure::of(code::DECODE, &e))?;
        if result.ips.is_empty() {
            let why = format!("{kind} gave no address");
            return Err(Failure::new(code::OWN + 1, why));
        }
        Ok(Some(leases_of(&result)))
    }
}

fn make_all(leases: &Leases) -> crate::error::Result<()> {
    for (made, lease) in leases.claims.iter().enumerate() {
        if let Err(error) = lease.make() {
            for earlier in &leases.claims[..made] {
                // What can't be given back is found by its owner's next DEL.
                let _ = earlier.drop();
            }
            return Err(error);
        }
    }
    Ok(())
}

/// What an address manager answers: addresses that are no interface's yet.
fn of_leases(leases: &Leases) -> CniResult {
    let ip = |a: &ipam::Assigned| Ip { interface: None, address: a.address, gateway: a.gateway };
    CniResult {
        ips: leases.addrs.iter().map(ip).collect(),
        routes: leases.routes.clone(),
        dns: leases.dns.clone().unwrap_or_default(),
        ..CniResult::default()
    }
}

fn leases_of(result: &CniResult) -> Leases {
    let assigned = |ip: &Ip| ipam::Assigned { address: ip.address, gateway: ip.gateway };
    Leases {
        addrs: result.ips.iter().map(assigned).collect(),
        routes: result.routes.clone(),
        dns: Some(result.dns.clone()),
        ..Leases::default()
    }
}
