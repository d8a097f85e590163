//! A pod's network as a plan of kernel objects.

pub mod conf;
pub mod error;
pub mod front;
pub mod ipam;
pub mod request;
pub mod roots;

pub use error::{Error, Kind, Result};
