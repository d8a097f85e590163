//! Where a pod's addresses come from.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A stretch of one subnet that addresses are leased from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The subnet, without host bits.
    pub subnet: IpNet,
    /// The first address to lease, inclusive.
    pub start: IpAddr,
    /// The last address to lease, inclusive.
    pub end: IpAddr,
    /// The subnet's gateway, which is never leased.
    pub gateway: Option<IpAddr>,
}

/// Ranges of one family, of which a pod gets one address.
pub type RangeSet = Vec<Range>;
