//! Real engines as clients: podman with its CNI backend, `ctr run --cni`, and containerd
//! through CRI, with our plugins as the only ones that exist.
//!
//! Each in a world of its own: its own network and mount namespaces, its storage below
//! the scratch directory, no registry. Judged by curl, `ip`, `nft`, and by the world
//! being as before when the engine has taken its container away.

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod containerd;
mod cri;
mod podman;
