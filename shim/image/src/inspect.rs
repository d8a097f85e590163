//! What an image is made of, wherever it lies: read blob by blob, each compared with the digest
//! that names it.

use std::fs;
use std::path::Path;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::blob::{self, digest};
use crate::error::{Context, Error, Kind, Result};
use crate::image::Image;
use crate::layout::blob_path;

/// No blob of such an image is near this size; what claims to be longer isn't read.
const LONGEST: u64 = 16 << 20;

/// A place that images are read from.
pub trait Store {
    /// The bytes that this descriptor names, as they are there.
    fn read(&self, named: &Descriptor) -> Result<Vec<u8>>;
    /// What refers to this manifest.
    fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>>;
}

impl Store for Image {
    fn read(&self, named: &Descriptor) -> Result<Vec<u8>> {
        let blobs = self.blobs();
        let blob = blobs.iter().find(|blob| blob.descriptor.digest() == named.digest());
        blob.map(|blob| blob.bytes.clone()).ok_or_else(|| missing(named))
    }

    fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>> {
        let digest = subject.digest().to_string();
        let about = self.referrers.iter().filter(|referrer| referrer.subject == digest);
        Ok(about.map(|referrer| referrer.manifest.descriptor.clone()).collect())
    }
}

/// An OCI layout in a folder.
#[derive(Debug)]
pub struct Layout<'a> {
    dir: &'a Path,
    roots: Vec<Descriptor>,
}

impl Layout<'_> {
    /// Opens it. Errors where the folder isn't one.
    pub fn open(dir: &Path) -> Result<Layout<'_>> {
        let path = dir.join("index.json");
        let text = fs::read(&path).ctx(|| format!("read {}", path.display()))?;
        let index: ImageIndex = parse(&text, &path.display().to_string())?;
        Ok(Layout { dir, roots: index.manifests().clone() })
    }

    /// The images in it: what refers to another isn't one.
    pub fn images(&self) -> impl Iterator<Item = &Descriptor> {
        self.roots.iter().filter(|root| root.artifact_type().is_none())
    }
}

impl Store for Layout<'_> {
    fn read(&self, named: &Descriptor) -> Result<Vec<u8>> {
        let path = self.dir.join(blob_path(named.digest().digest()));
        let size = fs::metadata(&path).ctx(|| format!("read {}", path.display()))?.len();
        if size != named.size() {
            return Err(wrong(named, format!("it has {size} bytes, not {}", named.size())));
        }
        fs::read(&path).ctx(|| format!("read {}", path.display()))
    }

    fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>> {
        let mut found = Vec::new();
        for root in self.roots.iter().filter(|root| root.artifact_type().is_some()) {
            let manifest: ImageManifest = parse(&checked(self, root)?, root.digest().as_ref())?;
            if manifest.subject().as_ref().is_some_and(|s| s.digest() == subject.digest()) {
                found.push(root.clone());
            }
        }
        Ok(found)
    }
}

/// Describes the image that this descriptor names: an index, or the manifest of one platform.
/// Every blob on the way is read and compared with its digest.
pub fn describe(store: &dyn Store, root: &Descriptor) -> Result<Value> {
    let bytes = checked(store, root)?;
    let named = root.digest().as_ref();
    let document: Value = parse(&bytes, named)?;
    let platforms = if document.get("manifests").is_some() {
        let index: ImageIndex = parse(&bytes, named)?;
        index.manifests().iter().map(|m| platform(store, m)).collect::<Result<Vec<_>>>()?
    } else {
        vec![platform(store, root)?]
    };
    Ok(json!({
        "name": root.annotations().as_ref().and_then(|a| a.get("io.containerd.image.name")),
        "digest": named,
        "mediaType": root.media_type(),
        "size": root.size(),
        "annotations": document.get("annotations"),
        "platforms": platforms,
    }))
}

fn platform(store: &dyn Store, named: &Descriptor) -> Result<Value> {
    let bytes = checked(store, named)?;
    let manifest: ImageManifest = parse(&bytes, named.digest().as_ref())?;
    let config = checked(store, manifest.config())?;
    let mut total = (bytes.len() + config.len()) as u64;
    let config: ImageConfiguration = parse(&config, manifest.config().digest().as_ref())?;
    let mut layers = Vec::new();
    for layer in manifest.layers() {
        total += checked(store, layer)?.len() as u64;
        layers.push(short(layer));
    }
    let mut referrers = Vec::new();
    for referrer in store.referrers(named)? {
        let (described, size) = statement(store, &referrer)?;
        total += size;
        referrers.push(described);
    }
    Ok(json!({
        "architecture": config.architecture(),
        "os": config.os(),
        "digest": named.digest(),
        "size": total,
        "created": config.created(),
        "config": config.config(),
        "layers": layers,
        "referrers": referrers,
    }))
}

/// A referrer with what it holds, and the size of both.
fn statement(store: &dyn Store, named: &Descriptor) -> Result<(Value, u64)> {
    let bytes = checked(store, named)?;
    let mut total = bytes.len() as u64;
    let manifest: ImageManifest = parse(&bytes, named.digest().as_ref())?;
    for part in manifest.layers().iter().chain([manifest.config()]) {
        total += checked(store, part)?.len() as u64;
    }
    let mut described = short(named);
    described["artifactType"] = json!(named.artifact_type());
    described["content"] = json!(manifest.layers().iter().map(short).collect::<Vec<_>>());
    Ok((described, total))
}

fn short(named: &Descriptor) -> Value {
    json!({"mediaType": named.media_type(), "digest": named.digest(), "size": named.size()})
}

/// The bytes that a descriptor names, which are those of its digest.
pub(crate) fn checked(store: &dyn Store, named: &Descriptor) -> Result<Vec<u8>> {
    if named.size() > LONGEST {
        return Err(wrong(
            named,
            format!("{} bytes are more than an infra image has", named.size()),
        ));
    }
    if named.digest().algorithm().as_ref() != "sha256" {
        return Err(wrong(named, "only sha256 is understood".into()));
    }
    let bytes = store.read(named)?;
    if digest(&bytes) != *named.digest() {
        return Err(wrong(named, format!("its content is sha256:{}", blob::hex(&bytes))));
    }
    Ok(bytes)
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::input(format!("understand {name}"), error.to_string()))
}

fn missing(named: &Descriptor) -> Error {
    Error::new(Kind::Missing, format!("read {}", named.digest()), "it isn't there")
}

fn wrong(named: &Descriptor, why: String) -> Error {
    Error::input(format!("trust {}", named.digest()), why)
}
