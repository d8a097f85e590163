//! The image as an OCI layout: a folder, or the same files as one tar archive.
//!
//! ```text
//!   oci-layout            which version of the layout
//!   index.json            the image by its tag, and what refers to its platforms
//!   blobs/sha256/HEX      everything, by digest
//!   SHA256SUMS            of a folder: for sha256sum -c
//! ```

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use oci_spec::image::{ImageIndexBuilder, MediaType, OciLayoutBuilder, SCHEMA_VERSION};

use crate::blob::{canonical, hex};
use crate::error::{Context, Error, Kind, Result};
use crate::image::Image;
use crate::layer::tar_of;
use crate::platform::unspecified;

/// The checksums of a folder, in sha256sum's format.
pub const SUMS: &str = "SHA256SUMS";

/// The files of a layout: path and content, in the order of an archive.
pub fn files(image: &Image) -> Result<Vec<(String, Vec<u8>)>> {
    let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build();
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(image.roots())
        .build();
    let mut files = vec![
        ("oci-layout".to_owned(), canonical(&layout.map_err(unspecified)?)?),
        ("index.json".to_owned(), canonical(&index.map_err(unspecified)?)?),
    ];
    let mut blobs: Vec<_> = image
        .blobs()
        .into_iter()
        .map(|blob| (blob_path(blob.descriptor.digest().digest()), blob.bytes.clone()))
        .collect();
    blobs.sort();
    files.extend(blobs);
    Ok(files)
}

pub(crate) fn blob_path(hex: &str) -> String {
    format!("blobs/sha256/{hex}")
}

/// The layout as one archive.
pub fn archive(image: &Image) -> Result<Vec<u8>> {
    let files = files(image)?;
    let entries: Vec<_> = files.iter().map(|(n, bytes)| (n.as_str(), 0o644, &bytes[..])).collect();
    tar_of(&entries, image.epoch)
}

/// Writes the layout to a folder that isn't there yet, or is empty. A folder that holds exactly
/// this image is left as it is. Errors where it holds anything else.
///
/// The folder appears whole: it is filled beside its place, then renamed.
pub fn write(image: &Image, dir: &Path) -> Result<()> {
    let mut files = files(image)?;
    let sums: String =
        files.iter().map(|(name, bytes)| format!("{}  {name}\n", hex(bytes))).collect();
    files.push((SUMS.to_owned(), sums.into_bytes()));
    if holds(dir, &files)? {
        return Ok(());
    }
    let beside = Beside::new(dir)?;
    for (name, bytes) in &files {
        let path = beside.0.join(name);
        let parent = path.parent().unwrap_or(&beside.0);
        fs::create_dir_all(parent).ctx(|| format!("make {}", parent.display()))?;
        fs::write(&path, bytes).ctx(|| format!("write {}", path.display()))?;
    }
    // rename(2) replaces an empty folder, and no other.
    match fs::rename(&beside.0, dir) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Err(occupied(dir)),
        other => other.ctx(|| format!("write the layout {}", dir.display())),
    }
}

/// Writes a file that appears whole. What was there is replaced, as `cp` would.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = beside(path);
    let done = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if done.is_err() {
        let _ = fs::remove_file(&beside);
    }
    done.ctx(|| format!("write {}", path.display()))
}

/// Whether the folder holds these files and no others: false where it is missing or empty.
fn holds(dir: &Path, files: &[(String, Vec<u8>)]) -> Result<bool> {
    let empty = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        entries => entries.ctx(|| format!("look into {}", dir.display()))?.next().is_none(),
    };
    if empty {
        return Ok(false);
    }
    let same =
        |(name, bytes): &(String, Vec<u8>)| fs::read(dir.join(name)).ok().as_ref() == Some(bytes);
    let blobs = files.iter().filter(|(name, _)| name.starts_with("blobs/")).count();
    let there = fs::read_dir(dir.join("blobs/sha256")).map_or(0, Iterator::count);
    if files.iter().all(same) && there == blobs { Ok(true) } else { Err(occupied(dir)) }
}

fn occupied(dir: &Path) -> Error {
    let what = format!("write the layout {}", dir.display());
    Error::new(Kind::Taken, what, "the folder holds something else")
        .hint("name a folder that isn't there yet, or remove this one")
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

/// A folder that is removed unless it was renamed to its place.
struct Beside(PathBuf);

impl Beside {
    fn new(dir: &Path) -> Result<Beside> {
        let path = beside(dir);
        fs::create_dir(&path).ctx(|| format!("make {}", path.display()))?;
        Ok(Beside(path))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
