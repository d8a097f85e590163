//! The image as `docker load` takes it in every version: docker's own archive, of one platform.
//!
//! ```text
//!   manifest.json     which configuration and layers, and under what name
//!   HEX.json          the configuration, by its sha256
//!   HEX.tar           the layer, not compressed, by its sha256
//! ```

use serde_json::json;

use crate::blob::{canonical, hex};
use crate::error::{Error, Kind, Result};
use crate::image::Image;
use crate::layer::tar_of;
use crate::pause::Architecture;

/// The archive of one architecture. Errors where the image doesn't have it.
pub fn archive(image: &Image, architecture: Architecture) -> Result<Vec<u8>> {
    let platform = image.platform(architecture).ok_or_else(|| {
        let what = format!("write a docker archive for {architecture}");
        Error::new(Kind::Missing, what, "the image has no such platform")
    })?;
    let config = format!("{}.json", platform.config.descriptor.digest().digest());
    let layer = format!("{}.tar", hex(&platform.layer.tar));
    let manifest = canonical(&json!([{
        "Config": config,
        "RepoTags": [image.name.to_string()],
        "Layers": [layer],
    }]))?;
    let files: [(&str, u32, &[u8]); 3] = [
        ("manifest.json", 0o644, &manifest),
        (&config, 0o644, &platform.config.bytes),
        (&layer, 0o644, &platform.layer.tar),
    ];
    tar_of(&files, image.epoch)
}
