//! The whole image: platforms, what is said about them, and the index over all.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageIndexBuilder, MediaType, SCHEMA_VERSION,
};

use crate::attest::{self, Referrer};
use crate::blob::Blob;
use crate::error::{Error, Kind, Result};
use crate::name::Name;
use crate::pause::{Architecture, Pause};
use crate::platform::{Platform, labels, unspecified};
use crate::time::Epoch;

/// By what name engines file the image when they load it from an archive (containerd's own
/// annotation; podman and nerdctl read it, too).
const ANNOTATION_IMAGE_NAME: &str = "io.containerd.image.name";

/// Everything that decides the bytes of an image.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The name that engines file it by: `localhost/podkeel/pause:0.1.0`.
    pub name: Name,
    /// The version of pause.
    pub version: String,
    /// The commit that the carried pauses are of, where the build knew it.
    pub commit: Option<String>,
    /// The compiler of the carried pauses, as it names itself.
    pub compiler: String,
    /// The date of everything in it.
    pub epoch: Epoch,
}

/// The image in memory.
#[derive(Clone, Debug)]
pub struct Image {
    /// The name that engines file it by.
    pub name: Name,
    /// The date of everything in it.
    pub epoch: Epoch,
    /// One per architecture, in the order of their names.
    pub platforms: Vec<Platform>,
    /// What is said about the platforms: bill of materials and provenance of each.
    pub referrers: Vec<Referrer>,
    /// Names the platforms.
    pub index: Blob,
}

impl Image {
    /// Builds it. Errors where no pause is given, or two for one architecture.
    pub fn build(recipe: &Recipe, pauses: &[Pause]) -> Result<Image> {
        let mut sorted = BTreeMap::new();
        for pause in pauses {
            if sorted.insert(pause.architecture, pause).is_some() {
                let what = format!("build for {}", pause.architecture);
                return Err(Error::input(what, "two programs were given for it"));
            }
        }
        if sorted.is_empty() {
            return Err(Error::input("build the image", "no architecture was asked for"));
        }
        let (mut platforms, mut referrers) = (Vec::new(), Vec::new());
        for pause in sorted.into_values() {
            let platform = Platform::new(recipe, pause)?;
            referrers.extend(attest::about(recipe, pause, &platform)?);
            platforms.push(platform);
        }
        let index = index(recipe, &platforms)?;
        let (name, epoch) = (recipe.name.clone(), recipe.epoch);
        Ok(Image { name, epoch, platforms, referrers, index })
    }

    /// Every blob once, each after those that it names: the order in which a registry takes them.
    pub fn blobs(&self) -> Vec<&Blob> {
        let platforms = self.platforms.iter().flat_map(|p| [&p.layer.blob, &p.config, &p.manifest]);
        let referrers = self.referrers.iter().flat_map(Referrer::blobs);
        let mut all: Vec<&Blob> = Vec::new();
        for blob in platforms.chain([&self.index]).chain(referrers) {
            if all.iter().all(|other| other.descriptor.digest() != blob.descriptor.digest()) {
                all.push(blob);
            }
        }
        all
    }

    /// The platform of that architecture.
    pub fn platform(&self, architecture: Architecture) -> Option<&Platform> {
        self.platforms.iter().find(|platform| platform.architecture == architecture)
    }

    /// The tag of its name.
    pub fn tag(&self) -> &str {
        self.name.tag()
    }

    /// The index by its name.
    pub fn root(&self) -> Descriptor {
        let mut root = self.index.descriptor.clone();
        root.set_annotations(Some(HashMap::from([
            (ANNOTATION_REF_NAME.to_owned(), self.tag().to_owned()),
            (ANNOTATION_IMAGE_NAME.to_owned(), self.name.to_string()),
        ])));
        root
    }

    /// What a layout's index.json lists: the image by its tag, then what refers to it.
    pub(crate) fn roots(&self) -> Vec<Descriptor> {
        let referrers = self.referrers.iter().map(|referrer| referrer.manifest.descriptor.clone());
        [self.root()].into_iter().chain(referrers).collect()
    }
}

/// Reads a name for the image: it must have a tag, or get the default one, and no digest,
/// which only the image itself can have.
pub fn parse_name(text: &str) -> Result<Name> {
    let name: Name = text.parse()?;
    match name.digest() {
        None => Ok(name),
        Some(_) => {
            let what = format!("name the image {text}");
            Err(Error::new(Kind::Input, what, "a digest is no name to give"))
        }
    }
}

fn index(recipe: &Recipe, platforms: &[Platform]) -> Result<Blob> {
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(platforms.iter().map(|p| p.manifest.descriptor.clone()).collect::<Vec<_>>())
        .annotations(labels(recipe))
        .build()
        .map_err(unspecified)?;
    Blob::json(MediaType::ImageIndex, &index)
}
