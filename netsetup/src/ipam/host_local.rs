//! Leases in the files of the CNI reference plugin host-local, beside it or without it.
//!
//! ```text
//! /var/lib/cni/networks/<network>/
//!   10.1.0.5              "web\r\neth0": the container's id and the interface, nothing else
//!   fd00::5               the same for IPv6
//!   last_reserved_ip.0    "10.1.0.5": where the search in the first set of ranges goes on
//!   lock                  empty; held (flock) by host-local during each of its commands
//! ```
//!
//! # Safe beside host-local
//!
//! host-local creates a lease with O_EXCL and fills it while it holds `lock`. We link
//! a finished file, which O_EXCL and link(2) decide between us without any lock. What
//! needs `lock` is to judge a file and act on the verdict:
//!
//! - **Taking over** a file without an owner (left by a power cut, or by host-local
//!   between its create and its write): `lock` is made if it is missing, and stays, as
//!   host-local leaves it. It can't be removed: host-local opens it long before it locks it.
//! - **Dropping** a lease: under `lock` if it is there, and always under the flock of
//!   the lease itself. Without a `lock` no host-local has ever run in this directory;
//!   a first one would have to start, drop *our* attachment and lease its address
//!   anew within two of our system calls. That doesn't warrant a file that stays.
//!
//! After the last lease is dropped, `last_reserved_ip.N` and the directory remain.
//!
//! # Which address
//!
//! The one after the last that was leased, through all ranges of the set and around,
//! so that an address rests before it comes again. Each is looked at by its name; only
//! after [`PROBES`] taken ones in a row the directory is read, once. The gateway is
//! never leased, nor the subnet's own address, nor IPv4's broadcast address: host-local
//! leaves the two out of its default range, we also where `start` or `end` names them.
//! Subnets of one or two addresses (RFC 3021, RFC 6164) have neither.

use std::{
    collections::BTreeSet,
    fmt, fs,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use podkeel_keep::{self as keep, Lock, Modes, Wait};

use super::{Candidate, Lease, Range, RangeSet};
use crate::error::{Error, Kind, Result};

/// The directory as host-local makes it. Its files are 0644; ours can't be read by
/// everybody, for whoever can open a file can flock it and so keep us from dropping it.
const MODES: Modes = Modes { dir: 0o755, file: 0o600 };
/// How long host-local may hold its lock; it reads every lease under it.
const LOCK_WAIT: Wait = Wait::Until(Duration::from_secs(30));
/// How many taken addresses are met before the directory is read.
const PROBES: usize = 64;
/// How many addresses a caller may skip before the set counts as exhausted.
const SKIPS: usize = 1 << 20;
/// How often a lease may appear and vanish again while it is being claimed.
const ROUNDS: usize = 100;

/// Whose a lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    id: String,
    ifname: String,
}

/// A lease as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The address.
    pub ip: IpAddr,
    /// The container.
    pub id: String,
    /// The interface; empty in leases of old host-locals.
    pub ifname: String,
    /// When it was written.
    pub since: SystemTime,
}

/// The next free address of `set`, or `requested` if that is free; nothing is changed.
///
/// `index` is the set's place in the configuration, `skip` says which addresses aren't
/// wanted (in use elsewhere, or lost to somebody in an earlier attempt). Fails with
/// [`Kind::Taken`], naming the owner of `requested` or the exhausted ranges, and with
/// [`Kind::Input`] if `requested` isn't in the set.
pub fn candidate(
    dir: &Path,
    index: usize,
    set: &RangeSet,
    id: &str,
    ifname: &str,
    requested: Option<IpAddr>,
    skip: &dyn Fn(IpAddr) -> bool,
) -> Result<Candidate> {
    let found = match requested {
        Some(ip) => (usable(dir, set, ip.to_canonical(), skip)?, ip.to_canonical()),
        None => next_free(dir, set, last(dir, index), skip)?,
    };
    let (range, ip) = found;
    let address = IpNet::new(ip, range.subnet.prefix_len())
        .map_err(|e| Error::input(format!("lease {ip} of {}", range.subnet), e.to_string()))?;
    let lease =
        Lease { dir: dir.to_owned(), ip, id: id.to_owned(), ifname: ifname.to_owned(), set: index };
    Ok(Candidate { address, gateway: range.gateway, lease })
}

/// The range of a requested address, if it can be had.
fn usable<'a>(
    dir: &Path,
    set: &'a RangeSet,
    ip: IpAddr,
    skip: &dyn Fn(IpAddr) -> bool,
) -> Result<&'a Range> {
    let what = || format!("lease {ip}");
    let Some(range) = set.iter().find(|range| range.holds(ip)) else {
        return Err(Error::input(what(), format!("it isn't in {}", text(set))));
    };
    if range.gateway == Some(ip) {
        return Err(Error::new(
            Kind::Taken,
            what(),
            format!("it is the gateway of {}", range.subnet),
        ));
    }
    if !range.leases(ip) {
        return Err(Error::input(
            what(),
            format!("it is the network or broadcast address of {}", range.subnet),
        ));
    }
    match owner(dir, ip)? {
        Some(owner) => Err(taken(ip, &owner)),
        None if skip(ip) => {
            Err(Error::new(Kind::Taken, what(), format!("{ip} is in use outside the leases")))
        }
        None => Ok(range),
    }
}

fn next_free<'a>(
    dir: &Path,
    set: &'a RangeSet,
    last: Option<IpAddr>,
    skip: &dyn Fn(IpAddr) -> bool,
) -> Result<(&'a Range, IpAddr)> {
    let (mut met, mut skipped) = (0, 0);
    let mut names: Option<BTreeSet<IpAddr>> = None;
    for (range, ip) in walk(set, last).filter(|(range, ip)| range.leases(*ip)) {
        if skip(ip) {
            skipped += 1;
            if skipped == SKIPS {
                break;
            }
            continue;
        }
        let free = match &names {
            Some(names) => !names.contains(&ip),
            None => owner(dir, ip)?.is_none(),
        };
        if free {
            return Ok((range, ip));
        }
        met += 1;
        if met == PROBES && names.is_none() {
            names = Some(read_names(dir)?);
        }
    }
    // All names are there; one without an owner is free all the same.
    for ip in names.into_iter().flatten() {
        let range = set.iter().find(|range| range.holds(ip) && range.leases(ip));
        if let Some(range) = range.filter(|_| !skip(ip))
            && owner(dir, ip)?.is_none()
        {
            return Ok((range, ip));
        }
    }
    let other = if skipped > 0 {
        format!(", {skipped} are in use outside the leases")
    } else {
        String::new()
    };
    Err(Error::new(
        Kind::Taken,
        format!("lease an address of {}", text(set)),
        format!("none is free; leased: {met}{other}"),
    )
    .hint("`netsetup gc` gives back the leases of containers that are gone"))
}

/// Every address of the set once, from the one after `last` on and around to `last`
/// itself; from the first one on if `last` isn't in the set.
fn walk(set: &RangeSet, last: Option<IpAddr>) -> impl Iterator<Item = (&Range, IpAddr)> {
    let at = last.and_then(|ip| Some((set.iter().position(|range| range.holds(ip))?, number(ip))));
    let first = at.map_or(0, |(index, _)| index);
    let whole = |range: &Range| number(range.start)..=number(range.end);
    // The range of `last` comes twice: first what lies after it, at the end what lies before.
    let mut parts = Vec::new();
    for step in 0..set.len() {
        let range = &set[(first + step) % set.len()];
        match at {
            Some((_, last)) if step == 0 => parts.push((range, last..=number(range.end), 1)),
            _ => parts.push((range, whole(range), 0)),
        }
    }
    if let Some((index, last)) = at {
        parts.push((&set[index], number(set[index].start)..=last, 0));
    }
    parts.into_iter().flat_map(|(range, numbers, passed)| {
        numbers.skip(passed).map(move |number| (range, address(number, range.start.is_ipv4())))
    })
}

impl Range {
    /// Whether the address lies between start and end.
    pub fn holds(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.start.is_ipv4() && self.start <= ip && ip <= self.end
    }

    /// Whether the address may be leased, the range holding it: not the gateway, the
    /// subnet's own address (for routers in IPv6: RFC 4291, 2.6.1) or IPv4's broadcast.
    fn leases(&self, ip: IpAddr) -> bool {
        let small = self.subnet.max_prefix_len() - self.subnet.prefix_len() < 2;
        let special = ip == self.subnet.network() || ip.is_ipv4() && ip == self.subnet.broadcast();
        self.gateway != Some(ip) && (small || !special)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

impl Held {
    /// The lease itself, as a file of this directory.
    pub fn in_dir(self, dir: &Path) -> Lease {
        // Which set it is from only matters to who leases the next one.
        Lease { dir: dir.to_owned(), ip: self.ip, id: self.id, ifname: self.ifname, set: 0 }
    }
}

impl Lease {
    /// Whose the lease is now: container and interface. `None` if it isn't there, or is
    /// a file without an owner.
    pub fn find(&self) -> Result<Option<(String, String)>> {
        Ok(owner(&self.dir, self.ip)?.map(|owner| (owner.id, owner.ifname)))
    }

    /// Claims the address. [`Kind::Taken`], naming the owner, if it is leased, be it to
    /// this very container; [`Kind::Input`] if the names can't be told apart in a file of two lines.
    pub fn make(&self) -> Result<()> {
        self.check_names()?;
        let owner = self.owner();
        let content = format!("{}\r\n{}", owner.id, owner.ifname);
        let mut lock = None;
        for _ in 0..ROUNDS {
            match keep::claim(&self.dir, &self.name(), content.as_bytes(), MODES) {
                Err(error) if error.is_taken() => {}
                other => return Ok(other?),
            }
            if let Some(owner) = self::owner(&self.dir, self.ip)? {
                return Err(taken(self.ip, &owner));
            }
            // Nobody's file: judged once more under the lock, when whoever was just writing is done.
            if lock.is_none() {
                lock = Some(Lock::file(&self.dir.join("lock"), LOCK_WAIT)?);
            }
            keep::remove_if(&self.dir, &self.name(), LOCK_WAIT, |bytes| parse(bytes).is_none())?;
        }
        Err(Error::new(Kind::Taken, format!("lease {}", self.ip), "its file keeps changing"))
    }

    /// Gives the address back if it is leased to this container and interface. False,
    /// and nothing done, if it isn't or is somebody else's.
    pub fn drop(&self) -> Result<bool> {
        let ours = self.owner();
        let _lock = Lock::existing_file(&self.dir.join("lock"), LOCK_WAIT)?;
        Ok(keep::remove_if(&self.dir, &self.name(), LOCK_WAIT, |bytes| {
            parse(bytes).as_ref() == Some(&ours)
        })?)
    }

    fn name(&self) -> String {
        self.ip.to_canonical().to_string()
    }

    fn owner(&self) -> Owner {
        Owner { id: self.id.clone(), ifname: self.ifname.clone() }
    }

    /// Whether the two lines can hold our names: host-local trims the id.
    fn check_names(&self) -> Result<()> {
        let bad = |text: &str| {
            text.is_empty() || text.trim() != text || text.contains(['\r', '\n', '\0'])
        };
        for (name, text) in [("container id", &self.id), ("interface name", &self.ifname)] {
            if bad(text) {
                let why = format!("{text:?} can't be the {name} of a lease");
                return Err(Error::input(format!("lease {}", self.ip), why));
            }
        }
        Ok(())
    }
}

/// The leases of one interface of a container; old host-locals wrote no interface.
pub fn leases_of(dir: &Path, id: &str, ifname: &str) -> Result<Vec<Lease>> {
    let mut found = Vec::new();
    for ip in read_names(dir)? {
        let owner = owner(dir, ip)?.filter(|o| o.id == id && ["", ifname].contains(&&*o.ifname));
        found.extend(owner.map(|o| Lease {
            dir: dir.to_owned(),
            ip,
            id: o.id,
            ifname: o.ifname,
            set: 0,
        }));
    }
    Ok(found)
}

/// Whether a host-local of others has ever worked in this directory: it leaves its lock.
pub fn is_shared(dir: &Path) -> bool {
    dir.join("lock").exists()
}

/// All leases that have an owner, sorted by address; none if the directory is missing.
pub fn leases(dir: &Path) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for ip in read_names(dir)? {
        let since = fs::metadata(dir.join(ip.to_string())).and_then(|meta| meta.modified());
        // Gone by now, if there is no time.
        if let (Some(owner), Ok(since)) = (owner(dir, ip)?, since) {
            held.push(Held { ip, id: owner.id, ifname: owner.ifname, since });
        }
    }
    Ok(held)
}

/// Notes where the next search begins. It is a hint, and so it is written in place:
/// a torn one costs an address its rest, an atomic rename would cost the add up to
/// hundreds of milliseconds on a busy ext4.
pub fn remember(dir: &Path, set: usize, ip: IpAddr) -> Result<()> {
    let text = ip.to_canonical().to_string();
    Ok(keep::overwrite(dir, &last_name(set), text.as_bytes(), MODES)?)
}

/// The address that was leased last; nothing if that can't be read, which only costs the turn.
fn last(dir: &Path, set: usize) -> Option<IpAddr> {
    let text = fs::read_to_string(dir.join(last_name(set))).ok()?;
    text.trim().parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

fn last_name(set: usize) -> String {
    format!("last_reserved_ip.{set}")
}

/// Whose the address is; `None` if there is no file, or none with an owner in it.
fn owner(dir: &Path, ip: IpAddr) -> Result<Option<Owner>> {
    let path = dir.join(ip.to_string());
    match fs::read(&path) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("read lease {}", path.display()), &error)),
    }
}

/// The owner in a lease's bytes. Old host-locals wrote the id alone. No id: an empty
/// file, or one of zeros, as a power cut leaves it.
fn parse(bytes: &[u8]) -> Option<Owner> {
    let text = String::from_utf8_lossy(bytes);
    let (id, ifname) = text.trim_end().split_once('\n').unwrap_or((text.as_ref(), ""));
    let clean = |text: &str| text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
    let owner = Owner { id: clean(id), ifname: clean(ifname) };
    (!owner.id.is_empty()).then_some(owner)
}

/// The addresses that have a file.
fn read_names(dir: &Path) -> Result<BTreeSet<IpAddr>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other.and_then(|entries| {
            entries.map(|e| Ok(e?.file_name())).collect::<io::Result<Vec<_>>>()
        }),
    };
    let names = entries.map_err(|e| Error::io(format!("read directory {}", dir.display()), &e))?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

fn taken(ip: IpAddr, owner: &Owner) -> Error {
    Error::new(Kind::Taken, format!("lease {ip}"), format!("{ip} is leased to {owner}"))
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ifname.as_str() {
            "" => f.write_str(&self.id),
            ifname => write!(f, "{}/{ifname}", self.id),
        }
    }
}

/// The ranges for people: "10.1.0.2-10.1.0.9, 10.2.0.2-10.2.0.9".
fn text(set: &RangeSet) -> String {
    set.iter().map(Range::to_string).collect::<Vec<_>>().join(", ")
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The inverse of [`number`]; numbers of IPv4 fit 32 bits.
fn address(number: u128, v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::from_bits(number as u32).into() } else { Ipv6Addr::from_bits(number).into() }
}

#[cfg(test)]
mod tests;
