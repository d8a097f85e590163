//! As an address manager, for a plugin that calls ours. A lease's file is all the record
//! that there is, as with the reference: the attachment is somebody else's.

use super::env::Verb;
use super::failure::{Answer, Failure, code};
use super::{Work, delegate};
use crate::conf::{self, Ipam};
use crate::error::{Error, Kind};
use crate::ipam::{self, Asked, Leases, host_local};
use crate::result::{CniResult, Ip};

/// How often an address that another program takes first is replaced by the next.
const TRIES: u32 = 50;

impl Work<'_> {
    pub(super) fn ipam(&mut self, verb: Verb) -> Result<Option<Answer>, Failure> {
        match verb {
            Verb::Add => {
                let leases = self.claim()?;
                let result = of_leases(&leases);
                self.answer(&result).map(Some).inspect_err(|_| give_back(&leases))
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
            self.has_none_yet(&leases)?;
            match make_all(&leases) {
                Ok(()) => {
                    leases.remember();
                    return Ok(leases);
                }
                // Somebody was faster; an address that was asked for stays taken.
                Err(error) if error.kind == Kind::Taken => {}
                Err(error) => return Err(error.into()),
            }
        }
        let what = format!("lease an address of network {}", asked.network.name);
        let why = "another program took every address that was tried";
        Err(Error::new(Kind::Taken, what, why).into())
    }

    /// An interface has one address of a set: a second ADD is a mistake of the caller's. One
    /// that is asked for is refused by its file.
    fn has_none_yet(&self, leases: &Leases) -> Result<(), Failure> {
        let Some(ipam) = self.call.network.ipam().and_then(Ipam::host_local) else { return Ok(()) };
        let (container, ifname) = (&self.input.container, &self.input.ifname);
        let mut there = Vec::new();
        for dir in self.lease_dirs() {
            there.extend(host_local::leases_of(&dir, container, ifname)?);
        }
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
        Ok(())
    }

    fn release(&self) -> Result<(), Failure> {
        for dir in self.lease_dirs() {
            for lease in host_local::leases_of(&dir, &self.input.container, &self.input.ifname)? {
                lease.drop()?;
            }
        }
        Ok(())
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
                let mut any = false;
                for dir in self.lease_dirs() {
                    any |= !host_local::leases_of(&dir, container, ifname)?.is_empty();
                }
                if !any {
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

fn give_back(leases: &Leases) {
    for lease in &leases.claims {
        // The runtime's DEL tries once more.
        let _ = lease.drop();
    }
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
