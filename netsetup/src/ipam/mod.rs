//! Where addresses come from: ranges, and leases of them.

mod assign;
pub mod host_local;
pub mod noted;
mod resolv_conf;

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::assign::{Asked, Assigned, Leases, lease, lease_dir};
use crate::error::{Error, Kind};

/// Addresses of one subnet that may be leased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The subnet that `start`, `end` and `gateway` are in; an address gets its prefix length.
    pub subnet: IpNet,
    /// The first address, inclusive.
    pub start: IpAddr,
    /// The last address, inclusive.
    pub end: IpAddr,
    /// The gateway, which is never leased.
    pub gateway: Option<IpAddr>,
}

/// Ranges that one address is taken from; they don't overlap and are of one family.
pub type RangeSet = Vec<Range>;

/// One address of one interface of one container, as a file in `dir`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The network's directory.
    pub dir: PathBuf,
    /// The address; its text form is the file's name.
    pub ip: IpAddr,
    /// The container.
    pub id: String,
    /// The interface in the container.
    pub ifname: String,
    /// Which set of ranges it is from: the N of `last_reserved_ip.N`.
    pub set: usize,
}

/// An address that was free when looked at, and the lease that will make it ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The address with the subnet's prefix length.
    pub address: IpNet,
    /// The range's gateway.
    pub gateway: Option<IpAddr>,
    /// What is to be made.
    pub lease: Lease,
}

impl From<podkeel_keep::Error> for Error {
    fn from(error: podkeel_keep::Error) -> Error {
        let what = format!("{} {}", error.operation(), error.path().display());
        if error.is_busy() {
            return Error::new(Kind::Taken, what, "another process holds it");
        }
        Error::errno(what, error.errno())
    }
}
