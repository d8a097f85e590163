//! bridge, ptp, macvlan and the like, and loopback: the pod's interface. And what all plugins do alike at GC
//! and STATUS.

use super::env::Verb;
use super::failure::{Answer, Failure, code};
use super::{Work, pretty};
use crate::conf::Plugin;
use crate::error::{Error, Kind};
use crate::ipam::{Assigned, Leases};

use crate::record::Id;
use crate::request::Wishes;
use crate::result::{CniResult, Interface, Ip};
use crate::verbs::{self, Outcome, Part, Remains, Target, TheirLink, TheirRules, Wanted};

impl Work<'_> {
    pub(super) fn main(&mut self, verb: Verb) -> Result<Option<Answer>, Failure> {
        match verb {
            Verb::Add => self.attach().map(Some),
            Verb::Check => self.check_main().map(|()| None),
            _ => self.detach().map(|()| None),
        }
    }

    fn attach(&mut self) -> Result<Answer, Failure> {
        let target = self.target()?;
        // It doesn't hang on what is made: what can't be answered is refused before.
        let of_loopback = (self.kind == "loopback").then(|| self.answer_loopback()).transpose()?;
        let given = match self.call.network.plugins.first() {
            Some(Plugin::Loopback) => Some(loopback()),
            // In a chain an ipvlan without ipam has the addresses of the link below.
            Some(Plugin::Interface(conf)) if conf.ipam.is_none() => self.addresses_before()?,
            _ => self.delegate("ADD")?,
        };
        let part = Part { given, asked: self.call.network.source.to_string(), ..Part::default() };
        let wanted = self.wanted(part);
        let added = verbs::add(self.context, &wanted, target).map_err(Failure::from);
        let answer = added.and_then(|outcome| match outcome {
            Outcome::Added(added) => {
                self.warn(&added.warnings);
                of_loopback.map_or_else(|| self.answer(&added.result), Ok).inspect_err(|_| {
                    // Nobody will ever know of it but the record, and the runtime's DEL.
                    let _ = verbs::del(self.context, &wanted.id());
                })
            }
            Outcome::Already(there) => of_loopback.ok_or_else(|| {
                let why = format!("it has {} already", there.id.ifname);
                Error::new(Kind::Taken, format!("attach {}", there.id), why).into()
            }),
        });
        if answer.is_err() {
            // What the runtime's DEL would do, for those that call none after a failure.
            let _ = self.delegate("DEL");
        }
        answer
    }

    fn addresses_before(&self) -> Result<Option<Leases>, Failure> {
        let Some(prev) = self.prev()?.filter(|_| self.kind == "ipvlan") else { return Ok(None) };
        let addrs = prev.ips.iter().map(|ip| Assigned { address: ip.address, gateway: ip.gateway });
        Ok(Some(Leases { addrs: addrs.collect(), routes: prev.routes, ..Leases::default() }))
    }

    fn detach(&self) -> Result<(), Failure> {
        let remains = match self.kind {
            "loopback" => Remains::default(),
            _ => Remains {
                leases: self.lease_dirs(),
                netns: self.input.netns.clone(),
                link: Some(self.their_link()),
                rules: matches!(self.kind, "bridge" | "ptp").then_some(TheirRules::Masquerade),
                settings: None,
            },
        };
        let ours = verbs::detach(self.context, &self.id(""), &remains);
        // Addresses are given back when nothing has them any more.
        let theirs = self.delegate("DEL");
        ours?;
        theirs.map(|_| ())
    }

    /// What the reference plugin of this name would have made.
    fn their_link(&self) -> TheirLink {
        match self.kind {
            "macvlan" => TheirLink::Made("macvlan"),
            "ipvlan" => TheirLink::Made("ipvlan"),
            "vlan" => TheirLink::Made("vlan"),
            "dummy" => TheirLink::Made("dummy"),
            "tap" => TheirLink::Made("tun"),
            "host-device" => TheirLink::Lent,
            _ => TheirLink::Made("veth"),
        }
    }

    fn check_main(&self) -> Result<(), Failure> {
        let told = self.told()?;
        let Some(netns) = &self.input.netns else { return Ok(()) };
        self.must_be_a_pods()?;
        self.delegate("CHECK")?;
        Ok(verbs::check_part(self.context, &self.id(""), netns, &told)?)
    }

    /// prevResult, which CHECK always has.
    pub(super) fn told(&self) -> Result<CniResult, Failure> {
        self.prev()?.ok_or_else(|| Failure::new(code::CONFIG, "Required prevResult missing"))
    }

    /// The pod. The host's own namespace is refused before anything is done.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        let path = self.input.netns.as_deref().unwrap_or(std::path::Path::new(""));
        let target = Target::of_path(path).map_err(|e| match e.kind {
            Kind::Missing => Failure::of(code::NO_CONTAINER, &e),
            Kind::Input => Failure::of(code::ENVIRONMENT, &e),
            _ => Failure::from(e),
        })?;
        self.must_not_be_the_hosts(&target)?;
        Ok(target)
    }

    /// CHECK compares nothing of the host's with what a pod is to have. That there is no such
    /// namespace is for the comparison to say.
    pub(super) fn must_be_a_pods(&self) -> Result<(), Failure> {
        let target = self.input.netns.as_deref().map(Target::of_path);
        target.and_then(|t| t.ok()).map_or(Ok(()), |target| self.must_not_be_the_hosts(&target))
    }

    fn must_not_be_the_hosts(&self, target: &Target) -> Result<(), Failure> {
        if !target.is_host()? {
            return Ok(());
        }
        let path = target.netns.path.display();
        let why = format!("CNI_NETNS: {path} is the host's own network namespace");
        Err(Failure::new(code::ENVIRONMENT, why))
    }

    /// This call as an attachment, or a part of one.
    pub(super) fn wanted(&self, part: Part) -> Wanted {
        Wanted {
            network: self.call.network.clone(),
            container: self.input.container.clone(),
            ifname: self.input.ifname.clone(),
            wishes: Wishes {
                ports: self.call.ports.clone(),
                ips: self.call.ips.clone(),
                mac: self.call.mac,
                ..Wishes::default()
            },
            default_route: true,
            bundle: None,
            part: Some(part),
        }
    }

    pub(super) fn id(&self, part: &str) -> Id {
        Id {
            network: self.call.network.name.clone(),
            container: self.input.container.clone(),
            ifname: self.input.ifname.clone(),
            part: part.to_owned(),
        }
    }

    /// The names of this plugin's parts, as a record's part begins.
    fn parts(&self) -> &[&str] {
        match self.kind {
            "portmap" => &["portmap"],
            "firewall" => &["firewall"],
            "tuning" => &["tuning"],
            "vrf" => &["vrf"],
            "host-local" | "static" => &[],
            _ => &[""],
        }
    }

    pub(super) fn gc(&self) -> Result<(), Failure> {
        let Some(valid) = &self.call.valid else {
            let why = "cni.dev/valid-attachments: is missing: without it everything would go";
            return Err(Failure::new(code::CONFIG, why));
        };
        let valid = valid.iter().cloned().collect();
        let ours = verbs::collect(self.context, &self.call.network, self.parts(), &valid);
        let theirs = self.delegate("GC");
        ours?;
        theirs.map(|_| ())
    }

    pub(super) fn status(&self) -> Result<(), Failure> {
        verbs::status(self.context, &self.call.network).map_err(|unable| {
            let code = if unable.limits_pods { code::LIMITED } else { code::UNAVAILABLE };
            Failure::of(code, &unable.error)
        })?;
        self.delegate("STATUS").map(|_| ())
    }

    /// `lo` and its addresses, or what the plugins before have made.
    fn answer_loopback(&self) -> Result<Answer, Failure> {
        if let Some(prev) = self.prev()? {
            return Ok(Answer(pretty(&self.hand_on(&prev)?)));
        }
        let sandbox = self.input.netns.as_ref().map(|path| path.display().to_string());
        let ip = |a: &Assigned| Ip { interface: Some(0), address: a.address, gateway: None };
        self.answer(&CniResult {
            interfaces: vec![Interface {
                name: self.input.ifname.clone(),
                mac: "00:00:00:00:00:00".into(),
                sandbox: sandbox.unwrap_or_default(),
                ..Interface::default()
            }],
            ips: loopback().addrs.iter().map(ip).collect(),
            ..CniResult::default()
        })
    }
}

/// The addresses that the kernel gives every `lo` itself, when it comes up.
fn loopback() -> Leases {
    let v6 = std::path::Path::new("/proc/sys/net/ipv6").exists();
    let addrs = ["127.0.0.1/8", "::1/128"].into_iter().take(if v6 { 2 } else { 1 });
    let assigned = |text: &str| Some(Assigned { address: text.parse().ok()?, gateway: None });
    Leases { addrs: addrs.filter_map(assigned).collect(), ..Leases::default() }
}
