//! add: facts, leases, plan, one record of intent, then the kernel. And
//! explain, which stops before the record.

use podkeel_keep::{self as keep, Lock, Record};

use super::del::release_all;
use super::earlier::{must_be_free, settle_earlier};
use super::{Context, Target, Wanted, reclaim};
use crate::conf::Plugin;
use crate::driver::{self, Request};
use crate::error::{Context as _, Error, Kind, Result};
use crate::facts::{self, Facts};
use crate::ipam::{self, Leases};
use crate::kernel::Rtnl;
use crate::meta::vrf;
use crate::names::Mark;
use crate::plan::{Object, Part, Plan, Pod, Side, Stopped, World, apply};
use crate::record::{Attachment, State, boot_id, kept};
use crate::request::Publish;
use crate::result::{CniResult, of_plan::of_plan};

/// What `add` did.
#[derive(Debug)]
pub enum Outcome {
    /// The attachment is there.
    Added(Box<Added>),
    /// It was there before, in this very namespace, complete.
    Already(Box<Attachment>),
}

/// A new attachment.
#[derive(Debug)]
pub struct Added {
    /// Its record.
    pub attachment: Attachment,
    /// The answer.
    pub result: CniResult,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What would be done, and why.
#[derive(Debug)]
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// The answer, if the plan is applied.
    pub result: CniResult,
    /// What the user should know.
    pub warnings: Vec<String>,
    leases: Leases,
}

/// Attaches a pod to a network: all of it, or nothing.
///
/// # Errors
/// Everything that is wrong with the input is found before anything is
/// changed; what fails afterwards is rolled back.
pub fn add(context: &Context, wanted: &Wanted, target: Target) -> Result<Outcome> {
    context.trust()?;
    let outcome = attempt(context, wanted, target);
    if outcome.is_err() {
        context.tidy_container(&wanted.container);
    }
    outcome
}

fn attempt(context: &Context, wanted: &Wanted, target: Target) -> Result<Outcome> {
    right_place(wanted, &target)?;
    wanted.is_allowed()?;
    let id = wanted.id();
    let process = target.process;
    let mut pod = Pod::open(target.netns)?;
    if let Some(there) = settle_earlier(context, wanted, &mut pod)? {
        return Ok(Outcome::Already(Box::new(there)));
    }
    if wanted.makes_interface() {
        must_be_free(context, wanted, &mut pod)?;
    }
    let mut world = World::new(Rtnl::open()?, Some(pod), new_mark(context, wanted)?);
    for _ in 0..LEASE_TRIES {
        let lock = context.lock_unless_signal()?;
        let prepared = prepare(context, wanted, &mut world)?;
        let mut attachment = describe(wanted, &mut world, &prepared, process)?;
        let record = claim(context, &attachment)?;
        match commit(context, &mut world, &attachment, lock) {
            Ok(()) => {
                attachment.state = State::Complete;
                attachment.nsid = world.nsid;
                attachment.accepts = world.accepts.clone();
                finish(context, &mut world, &attachment, record)?;
                prepared.leases.remember();
                let mut result = prepared.result;
                if wanted.part.is_some() && wanted.network.cni_version == CNI_VERSION {
                    tell_mtus(&mut world, &mut result);
                }
                world.leave(context.removed_lately());
                return Ok(Outcome::Added(Box::new(Added {
                    attachment,
                    result,
                    warnings: prepared.warnings,
                })));
            }
            Err((stopped, lock)) => {
                let taken = lease_was_taken(&stopped, &attachment.plan);
                let holder = stopped.holder.clone();
                let error = roll_back(context, &mut world, &attachment, record, stopped, lock);
                if !taken {
                    reclaim::make_way(context, holder, error)?;
                    // The earlier world's sockets know links that are gone.
                    let pod = world.pod.map(|pod| Pod::open(pod.netns)).transpose()?;
                    world = World::new(Rtnl::open()?, pod, new_mark(context, wanted)?);
                }
            }
        }
    }
    let why = "another program took every address that was tried";
    Err(Error::new(Kind::Taken, format!("lease an address of network {}", id.network), why))
}

/// The mtus that the kernel chose; the answer of the newest version tells them. All is made by
/// now: one that can't be read is left out.
fn tell_mtus(world: &mut World, result: &mut CniResult) {
    for interface in result.interfaces.iter_mut().filter(|i| i.mtu.is_none()) {
        let side = if interface.sandbox.is_empty() { Side::Host } else { Side::Pod };
        let link = world.rtnl(side).and_then(|rtnl| rtnl.link(&interface.name));
        interface.mtu = link.ok().flatten().map(|link| link.mtu);
    }
}

/// The version of the specification that answers are written in.
const CNI_VERSION: &str = "1.1.0";

/// How often an address that another program takes first is replaced by the next.
const LEASE_TRIES: u32 = 50;

/// What `add` would do, without doing it.
pub fn explain(context: &Context, wanted: &Wanted, target: Target) -> Result<Prepared> {
    right_place(wanted, &target)?;
    wanted.is_allowed()?;
    let mut pod = Pod::open(target.netns)?;
    if wanted.makes_interface() {
        must_be_free(context, wanted, &mut pod)?;
    }
    let mut world = World::new(Rtnl::open()?, Some(pod), new_mark(context, wanted)?);
    prepare(context, wanted, &mut world)
}

/// Facts, leases, plan.
pub(super) fn prepare(context: &Context, wanted: &Wanted, world: &mut World) -> Result<Prepared> {
    let sysctls = wanted.sysctls();
    let leases = addresses(context, wanted)?;
    let mut facts = Facts::read(&wanted.network, &leases, &world.mark, &mut world.host)?;
    if wanted.part.is_none() {
        facts.read_reach(&wanted.network, &mut world.host)?;
        tell_ours(context, &mut facts, wanted)?;
        if wanted.wishes.ports.iter().any(Publish::is_loopbacks) {
            facts.expect_localnet(&wanted.network, &world.mark, &mut world.host)?;
            tell_localnet(context, &mut facts)?;
        }
    } else if !wanted.wishes.ports.is_empty() {
        facts.read_localnet(&leases, &mut world.host)?;
        tell_localnet(context, &mut facts)?;
    }
    if wanted.network.firewall().is_some() {
        facts.read_forward(world.nft()?)?;
    }
    if let Some(chain) = wanted.asks_for_marks_of() {
        facts.read_set_mark(chain, &leases, world.nft()?)?;
    }
    facts.pins = context.roots.pins();
    let has_vrf = wanted.network.plugins.iter().any(|plugin| matches!(plugin, Plugin::Vrf(_)));
    if let Some(pod) = &mut world.pod {
        facts.read_pod(pod)?;
        if let Some(conf) = wanted.network.interface() {
            facts.read_links(conf, &mut world.host, pod, &world.mark.shared())?;
        }
        if has_vrf {
            facts.read_vrfs(pod, &wanted.ifname)?;
            facts.pod_cookie = pod.id()?.cookie.unwrap_or_default();
        }
        if !wanted.makes_interface() {
            facts.read_pod_link(pod, &wanted.ifname)?;
        }
        let set = sysctls.iter().map(|setting| setting.path.clone());
        let kept = has_vrf.then(|| vrf::keeps_addresses(&wanted.ifname));
        facts.read_sysctls(world, set.chain(kept).collect())?;
    }
    let request = Request {
        network: wanted.network.clone(),
        container: wanted.container.clone(),
        ifname: wanted.ifname.clone(),
        wishes: wanted.wishes.clone(),
        sysctls,
        default_route: wanted.default_route,
        as_plugin: wanted.part.is_some(),
        bridge_stays: wanted.part.is_some(),
        mark: world.mark.clone(),
    };
    let plan = driver::plan(&request, &facts, &leases)?;
    // A runtime keeps a port for its pod by listening there itself, and the reference
    // leaves what is forwarded to another plugin.
    let mut warnings = Vec::new();
    if wanted.part.is_none() {
        crate::ports::free(&plan)?;
        if wanted.network.forwards() && wanted.network.firewall().is_none() {
            warnings = facts::forward_drops(world.nft()?, &wanted.network)?;
        }
        warnings.extend(kept_default_route(wanted, &facts, &leases));
    }
    let sandbox =
        world.pod.as_ref().map(|p| p.netns.path.display().to_string()).unwrap_or_default();
    let dns = wanted.network.dns().or(leases.dns.as_ref()).cloned().unwrap_or_default();
    let mut result = of_plan(&plan, &leases, &sandbox, dns);
    if wanted.part.is_some() {
        result.routes = driver::wanted_routes(&request, &leases);
    }
    Ok(Prepared { plan, result, warnings, leases })
}

/// The addresses that come with the call, or those that the network's list gives.
fn addresses(context: &Context, wanted: &Wanted) -> Result<Leases> {
    if let Some(given) = wanted.part.as_ref().and_then(|part| part.given.as_ref()) {
        let mut leases = given.clone();
        if wanted.network.has_gateway() {
            leases.know_gateways();
        }
        return Ok(leases);
    }
    let asked = ipam::Asked {
        network: &wanted.network,
        container: &wanted.container,
        ifname: &wanted.ifname,
        ips: &wanted.wishes.ips,
    };
    ipam::lease(asked, &context.roots)
}

/// A pod has one default route a family. One that it has already stays.
fn kept_default_route(wanted: &Wanted, facts: &Facts, leases: &Leases) -> Option<String> {
    let gateway = wanted.network.bridge().is_some_and(|bridge| bridge.is_default_gateway);
    let has = (facts.pod_default_v4 && leases.wants_default(gateway, false))
        || (facts.pod_default_v6 && leases.wants_default(gateway, true));
    (wanted.default_route && has).then(|| {
        format!(
            "the pod has a default route already and keeps it; it gets none over {}",
            wanted.ifname
        )
    })
}

/// Before Linux 5.18 an address carries no mark: what an attachment holds is ours.
fn tell_ours(context: &Context, facts: &mut Facts, wanted: &Wanted) -> Result<()> {
    let Some((bridge, conf)) = facts.bridge.as_mut().zip(wanted.network.bridge()) else {
        return Ok(());
    };
    if bridge.foreign.is_empty() {
        return Ok(());
    }
    let held = keep::keys(&context.held()?).map_err(|e| kept("list what is held", &e))?;
    bridge.foreign.retain(|address| {
        let object =
            Object::Addr { link: conf.gateway_link(), address: *address, route: true, dad: false };
        !held.contains(&keep::file_name(&object.key()))
    });
    Ok(())
}

/// What an attachment of ours holds nobody else has turned on.
fn tell_localnet(context: &Context, facts: &mut Facts) -> Result<()> {
    let Some(localnet) = facts.localnet.as_mut().filter(|localnet| localnet.foreign) else {
        return Ok(());
    };
    let held = keep::keys(&context.held()?).map_err(|e| kept("list what is held", &e))?;
    let key = Object::Localnet { link: localnet.link.clone() }.key();
    localnet.foreign = !held.contains(&keep::file_name(&key));
    Ok(())
}

/// A pod has its own namespace, but for the network whose pods have the host's.
fn right_place(wanted: &Wanted, target: &Target) -> Result<()> {
    let what = format!("attach {}", target.netns.path.display());
    let (is_host, host) = (target.is_host()?, wanted.network.is_host());
    if host && !is_host {
        let why = format!("network {} is the host's own, and this isn't", wanted.network.name);
        return Err(Error::input(what, why)
            .hint("start the container without a network namespace of its own"));
    }
    if is_host && !host {
        return Err(Error::input(what, "it is the host's own network namespace")
            .hint("the container must have a network namespace of its own"));
    }
    Ok(())
}

fn new_mark(context: &Context, wanted: &Wanted) -> Result<Mark> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .ctx(|| "choose a random attachment id".into())?;
    let (root, random) = (context.root()?, u64::from_ne_bytes(bytes));
    Ok(wanted.id().mark(root, random))
}

fn describe(
    wanted: &Wanted,
    world: &mut World,
    prepared: &Prepared,
    process: Option<crate::record::Process>,
) -> Result<Attachment> {
    let pod = world
        .pod
        .as_mut()
        .ok_or_else(|| Error::new(Kind::Missing, "describe the attachment", "there is no pod"))?;
    Ok(Attachment {
        state: State::Adding,
        id: wanted.id(),
        source: wanted.source(),
        mark: world.mark.clone(),
        boot: boot_id()?,
        netns: pod.id()?,
        nsid: None,
        process,
        bundle: wanted.bundle.clone(),
        wishes: wanted.wishes.clone(),
        plan: prepared.plan.clone(),
        result: prepared.result.to_json(CNI_VERSION)?,
        accepts: Default::default(),
        chain: None,
    })
}

fn claim(context: &Context, attachment: &Attachment) -> Result<Record> {
    let id = &attachment.id;
    Record::create(&context.roots.net(), &id.relative(), &attachment.to_bytes()?).map_err(|e| {
        let error = kept(format!("record the attachment {id}"), &e);
        if e.is_taken() {
            error.kind(Kind::Taken).hint("another netsetup is adding the same attachment")
        } else {
            error
        }
    })
}

/// Everything after the record. On failure the lock comes back if it was still held.
fn commit(
    context: &Context,
    world: &mut World,
    attachment: &Attachment,
    lock: Lock,
) -> std::result::Result<(), (Stopped, Option<Lock>)> {
    let go_on = || context.go_on();
    let locked = hold_all(context, attachment)
        .map_err(Stopped::from)
        .and_then(|()| apply(world, &attachment.plan, Part::Locked, &go_on));
    if let Err(stopped) = locked {
        return Err((stopped, Some(lock)));
    }
    drop(lock);
    apply(world, &attachment.plan, Part::Free, &go_on)
        .and_then(|()| Ok(go_on()?))
        .map_err(|stopped| (stopped, None))
}

fn hold_all(context: &Context, attachment: &Attachment) -> Result<()> {
    let target = context.roots.net().join(attachment.id.relative());
    for object in attachment.shared() {
        keep::hold(
            &context.held()?,
            &object.key(),
            &attachment.holder(),
            &target.to_string_lossy(),
        )
        .map_err(|e| kept(format!("hold {object}"), &e))?;
    }
    Ok(())
}

fn lease_was_taken(stopped: &Stopped, plan: &Plan) -> bool {
    let is_lease = |i: &usize| matches!(plan.steps[*i].what, Object::Lease(_));
    stopped.error.kind == Kind::Taken && stopped.foreign.first().is_some_and(is_lease)
}

/// Marks the record complete. If that fails, all is rolled back.
fn finish(
    context: &Context,
    world: &mut World,
    attachment: &Attachment,
    mut record: Record,
) -> Result<()> {
    let written = attachment.to_bytes().and_then(|bytes| {
        record
            .replace(&bytes)
            .map_err(|e| kept(format!("record the attachment {}", attachment.id), &e))
    });
    match written {
        Ok(()) => Ok(()),
        Err(error) => Err(roll_back(context, world, attachment, record, error.into(), None)),
    }
}

/// Undoes what was done; the error says so if something of it stayed.
fn roll_back(
    context: &Context,
    world: &mut World,
    attachment: &Attachment,
    record: Record,
    stopped: Stopped,
    lock: Option<Lock>,
) -> Error {
    let mut left = release_all(context, world, attachment, &stopped.foreign, lock);
    if left.is_empty() {
        left.extend(record.remove().err().map(|e| kept("remove the record", &e)));
    }
    let mut error = stopped.error;
    if let Some(first) = left.first() {
        error.why = format!("{}; and the way back failed too: {first}", error.why);
        error.hint = Some("netsetup gc takes away what is left".into());
    }
    error
}
