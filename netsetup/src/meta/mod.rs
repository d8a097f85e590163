//! Meta plugins: what is added to an attachment that has its links and
//! addresses. Pure functions, like drivers.

pub mod firewall;
pub mod portmap;
pub mod tuning;
pub mod vrf;
