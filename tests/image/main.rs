//! The infra image, as others see it: built, described, pushed, loaded, run.
//!
//! Judged by sha256sum, skopeo, umoci, runc, Debian's registry, docker, podman and containerd;
//! engines and registries in worlds of their own.

#[path = "../common/mod.rs"]
mod common;
#[path = "../clients/cri.rs"]
mod cri;

mod bed;
mod build;
mod containerd;
mod docker;
mod names;
mod podman;
mod proxy;
mod registry;
mod stock;
mod tls;
mod tokens;
