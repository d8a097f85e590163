//! VLANs of a pod's port.

use std::fmt;

use serde::{Deserialize, Serialize};

/// VLANs of a bridge's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// The first, 1 to 4094.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// It is the port's own: frames have no tag. Else they have one.
    pub access: bool,
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.access, self.first == self.last) {
            (true, _) => write!(f, "{} untagged", self.first),
            (_, true) => write!(f, "{}", self.first),
            _ => write!(f, "{}-{}", self.first, self.last),
        }
    }
}
