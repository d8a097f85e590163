//! The one layer: a tar archive of one file, compressed.

use std::io::Write;

use flate2::{Compression, GzBuilder};
use oci_spec::image::MediaType;

use crate::blob::{self, Blob};
use crate::error::{Context, Result};
use crate::pause::Pause;
use crate::time::Epoch;

/// Where pause lies in the image.
pub const PAUSE_PATH: &str = "pause";

/// A layer: compressed as it is stored, and as the root file system sees it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What is stored and pushed.
    pub blob: Blob,
    /// The same, not compressed: what docker's archive holds.
    pub tar: Vec<u8>,
}

impl Layer {
    /// Packs a pause.
    pub fn new(pause: &Pause, epoch: Epoch) -> Result<Layer> {
        let tar = tar_of(&[(PAUSE_PATH, 0o555, &pause.program)], epoch)?;
        let blob = Blob::new(MediaType::ImageLayerGzip, gzip(&tar)?);
        Ok(Layer { blob, tar })
    }

    /// The digest of what isn't compressed, which the configuration names.
    pub fn diff_id(&self) -> String {
        format!("sha256:{}", blob::hex(&self.tar))
    }
}

/// A tar archive (ustar) of files in this order, all of root, all of one date: nothing in it
/// comes from the machine. Name, mode, content.
pub(crate) fn tar_of(files: &[(&str, u32, &[u8])], epoch: Epoch) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(epoch.0);
        header.set_entry_type(tar::EntryType::Regular);
        archive.append_data(&mut header, name, *content).ctx(|| format!("pack {name}"))?;
    }
    archive.into_inner().ctx(|| "finish a tar archive".into())
}

/// Compressed by one library at one level, without name, date or system in the header.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    const UNKNOWN_SYSTEM: u8 = 255;
    let header = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM);
    let mut writer = header.write(Vec::new(), Compression::best());
    let done = writer.write_all(bytes).and_then(|()| writer.finish());
    done.ctx(|| "compress the layer".into())
}
