//! The wire crate before its judges: the bytes that the real `ip` and `nft`
//! send (`golden`), an independent decoder (`judge`), the kernel with nft as
//! the reader (`kernel`), and hostile bytes (`hostile`).
//!
//! The golden files name the command that made them; `tests/capture` makes
//! them again. They are little-endian, as are the CPUs that podkeel is for.

mod alone;
mod devices;
mod edges;
mod errors;
mod golden;
mod hostile;
mod judge;
mod kernel;
mod nft;
mod rtnl;
mod ruleset;
mod tree;
