//! The verbs, one file each.

pub mod bundles;
pub mod demo;
#[cfg(feature = "image")]
pub mod image;
pub mod inspect;
pub mod join;
pub mod life;
pub mod ps;
pub mod rename;
pub mod run;
pub mod words;
