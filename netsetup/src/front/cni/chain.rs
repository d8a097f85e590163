//! portmap, firewall, tuning and vrf: what is added to what a plugin before them has made.

use std::path::PathBuf;

use podkeel_keep::fnv1a64;
use serde_json::{Value, json};

use super::env::Verb;
use super::failure::{Answer, Failure, code};
use super::{Work, pretty};
use crate::conf::{self, Plugin};
use crate::ipam::{Assigned, Leases};

use crate::record::Id;
use crate::result::CniResult;
use crate::verbs::{self, Outcome, Part, Remains, TheirRules};

/// How many tuning plugins one chain may have.
const PARTS_MAX: u32 = 64;

impl Work<'_> {
    pub(super) fn chained(&mut self, verb: Verb) -> Result<Option<Answer>, Failure> {
        match verb {
            Verb::Add => self.add_to().map(Some),
            Verb::Check => self.check_chained().map(|()| None),
            _ => self.take_off().map(|()| None),
        }
    }

    fn add_to(&mut self) -> Result<Answer, Failure> {
        let Some(prev) = self.prev()? else {
            return Err(Failure::new(code::CONFIG, "must be called as chained plugin"));
        };
        // Before anything is made: it may not go into the configuration's version.
        let mut result = self.hand_on(&prev)?;
        if self.asks_for_nothing() {
            // A repeated ADD may ask for less than the first.
            self.take_off()?;
        } else {
            self.make_part(&prev)?;
            self.note_settings(&mut result);
        }
        Ok(Answer(pretty(&result)))
    }

    fn make_part(&mut self, prev: &CniResult) -> Result<(), Failure> {
        let given = Some(self.addresses(prev));
        let asked = format!("a call of {}, {:016x}", self.kind, fnv1a64(self.stdin.as_bytes()));
        for number in 1..=PARTS_MAX {
            let part = Part {
                name: self.part(number),
                asked: asked.clone(),
                given: given.clone(),
                prev: None,
            };
            let wanted = self.wanted(part);
            match verbs::add(self.context, &wanted, self.target()?)? {
                Outcome::Added(added) => {
                    self.warn(&added.warnings);
                    return Ok(());
                }
                Outcome::Already(there) if there.source == asked => return Ok(()),
                // Other ports or addresses than before, in place of them.
                Outcome::Already(_) if self.kind != "tuning" => {
                    verbs::del(self.context, &wanted.id())?;
                    verbs::add(self.context, &wanted, self.target()?)?;
                    return Ok(());
                }
                // A second plugin of the same kind in one chain.
                Outcome::Already(_) => {}
            }
        }
        Err(Failure::new(
            code::OWN + 4,
            format!("more than {PARTS_MAX} {} plugins in one chain", self.kind),
        ))
    }

    /// DEL names no part but the plugin: all of them go, the last one first.
    fn take_off(&self) -> Result<(), Failure> {
        let last = (1..=PARTS_MAX).take_while(|n| self.has(*n)).last().unwrap_or(1);
        let mut failed = None;
        for number in (1..=last).rev() {
            // Without a record something may be left of a lost run directory, or of the
            // reference's plugin.
            if self.has(number) || self.leaves_marks() {
                let id = self.id(&self.part(number));
                failed = failed.or(verbs::detach(self.context, &id, &self.remains()).err());
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn check_chained(&self) -> Result<(), Failure> {
        let told = self.told()?;
        let Some(netns) = &self.input.netns else { return Ok(()) };
        self.must_be_a_pods()?;
        for number in (1..=PARTS_MAX).take_while(|n| self.has(*n)) {
            verbs::check_part(self.context, &self.id(&self.part(number)), netns, &told)?;
        }
        Ok(())
    }

    /// A part's name: "tuning", "tuning.2".
    fn part(&self, number: u32) -> String {
        match number {
            1 => self.kind.to_owned(),
            n => format!("{}.{n}", self.kind),
        }
    }

    fn has(&self, number: u32) -> bool {
        let id: Id = self.id(&self.part(number));
        verbs::has_record(self.context, &id)
    }

    /// Nothing asked for: no record, no socket, no lock.
    fn asks_for_nothing(&self) -> bool {
        match self.call.network.plugins.first() {
            Some(Plugin::Portmap(_)) => self.call.ports.is_empty(),
            Some(Plugin::Tuning(conf)) => {
                let plain = crate::conf::Tuning {
                    capabilities: conf.capabilities.clone(),
                    ..Default::default()
                };
                *conf == plain && self.call.mac.is_none()
            }
            _ => false,
        }
    }

    /// Whether it makes what is known again without a record: ports, accepts, and in the
    /// reference's case settings.
    fn leaves_marks(&self) -> bool {
        match self.kind {
            "portmap" | "firewall" => !self.asks_for_nothing(),
            "tuning" => !self.asks_for_nothing() && self.settings().is_some_and(|dir| dir.exists()),
            _ => false,
        }
    }

    /// What the reference's plugin of this name leaves.
    fn remains(&self) -> Remains {
        let netns = self.input.netns.clone();
        let rules = match self.kind {
            "portmap" => Some(TheirRules::Ports),
            // As there: without a result nothing is known of its addresses.
            "firewall" => self.prev().ok().flatten().map(|prev| {
                let addrs = self.addresses(&prev).addrs;
                TheirRules::Accepts(addrs.iter().map(|a| a.address.addr()).collect())
            }),
            _ => None,
        };
        Remains { netns, rules, settings: self.settings(), ..Remains::default() }
    }

    /// Where the reference's tuning keeps what it is to put back.
    fn settings(&self) -> Option<PathBuf> {
        let given = || conf::data_dir_of(self.value);
        (self.kind == "tuning").then(|| given().unwrap_or_else(|| "/run/cni/tuning".into()))
    }

    /// The pod's addresses on this interface; for ports the first of each family.
    fn addresses(&self, prev: &CniResult) -> Leases {
        // A routing domain takes the routes along.
        let routes = if self.kind == "vrf" { prev.routes.clone() } else { Vec::new() };
        let mut leases = Leases { routes, ..Leases::default() };
        for ip in &prev.ips {
            let interface = ip.interface.and_then(|index| prev.interfaces.get(index));
            let is_pods =
                interface.is_none_or(|i| i.name == self.input.ifname && !i.sandbox.is_empty());
            let v4 = ip.address.addr().is_ipv4();
            let is_first =
                !leases.addrs.iter().any(|a: &Assigned| a.address.addr().is_ipv4() == v4);
            if is_pods && (is_first || self.kind == "firewall") {
                leases.addrs.push(Assigned { address: ip.address, gateway: ip.gateway });
            }
        }
        leases
    }

    /// The result tells what tuning has given the interface: its address, and where the version
    /// has it, its mtu.
    fn note_settings(&self, result: &mut Value) {
        let Some(Plugin::Tuning(conf)) = self.call.network.plugins.first() else { return };
        let mac = conf.asked_mac.or(self.call.mac).or(conf.mac).map(|mac| mac.to_string());
        let mtu = conf.link.mtu.filter(|_| self.call.network.cni_version == "1.1.0");
        // The oldest versions have none, and are not to get the key.
        let interfaces = result.get_mut("interfaces").and_then(Value::as_array_mut);
        let interfaces = interfaces.into_iter().flatten();
        for interface in interfaces.filter(|i| i["name"] == self.input.ifname.as_str()) {
            if let Some(mac) = &mac {
                interface["mac"] = json!(mac);
            }
            if let Some(mtu) = mtu {
                interface["mtu"] = json!(mtu);
            }
        }
    }
}
