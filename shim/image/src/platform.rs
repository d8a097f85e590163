//! One platform of the image: its layer, its configuration, its manifest.

use std::collections::HashMap;

use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_TITLE,
    ANNOTATION_VERSION, ConfigBuilder, Descriptor, HistoryBuilder, ImageConfiguration,
    ImageConfigurationBuilder, ImageManifestBuilder, MediaType, Os, Platform as SpecPlatform,
    RootFsBuilder, SCHEMA_VERSION,
};

use crate::blob::Blob;
use crate::error::{Error, Result};
use crate::image::Recipe;
use crate::layer::Layer;
use crate::pause::{Architecture, Pause};

/// Who pause runs as: nobody of the host, and what Kubernetes' pause image has.
pub const USER: &str = "65535:65535";

/// What the image says of itself, in English.
const TITLE: &str = "podkeel pause";
const DESCRIPTION: &str = "The first process of a pod: holds its namespaces and reaps its orphans";
pub(crate) const LICENSES: &str = "Apache-2.0 OR MIT";

/// One platform: three blobs, from the leaf to the root.
#[derive(Clone, Debug)]
pub struct Platform {
    /// What it runs on.
    pub architecture: Architecture,
    /// The root file system.
    pub layer: Layer,
    /// How it is run.
    pub config: Blob,
    /// Names both; its descriptor carries the platform, as an index wants it.
    pub manifest: Blob,
}

impl Platform {
    /// Makes it of a pause.
    pub fn new(recipe: &Recipe, pause: &Pause) -> Result<Platform> {
        let layer = Layer::new(pause, recipe.epoch)?;
        let config = config(recipe, pause.architecture, &layer).map_err(unspecified)?;
        let config = Blob::json(MediaType::ImageConfig, &config)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config.descriptor.clone())
            .layers(vec![layer.blob.descriptor.clone()])
            .annotations(labels(recipe))
            .build()
            .map_err(unspecified)?;
        let mut manifest = Blob::json(MediaType::ImageManifest, &manifest)?;
        manifest.descriptor.set_platform(Some(platform(pause.architecture)));
        Ok(Platform { architecture: pause.architecture, layer, config, manifest })
    }

    /// The manifest as a subject names it: type, digest and size alone.
    pub(crate) fn subject(&self) -> Descriptor {
        let named = &self.manifest.descriptor;
        Descriptor::new(named.media_type().clone(), named.size(), named.digest().clone())
    }
}

fn config(
    recipe: &Recipe,
    architecture: Architecture,
    layer: &Layer,
) -> oci_spec::Result<ImageConfiguration> {
    let date = recipe.epoch.rfc3339();
    let run = ConfigBuilder::default()
        .user(USER)
        .entrypoint(vec!["/pause".to_owned()])
        .working_dir("/")
        .labels(labels(recipe))
        .build()?;
    let history =
        HistoryBuilder::default().created(date.clone()).created_by("shim image build").build()?;
    ImageConfigurationBuilder::default()
        .created(date)
        .architecture(architecture.spec())
        .os(Os::Linux)
        .config(run)
        .rootfs(RootFsBuilder::default().typ("layers").diff_ids(vec![layer.diff_id()]).build()?)
        .history(vec![history])
        .build()
}

/// The labels of the configuration, and the annotations of manifests.
pub(crate) fn labels(recipe: &Recipe) -> HashMap<String, String> {
    [
        (ANNOTATION_TITLE, TITLE),
        (ANNOTATION_DESCRIPTION, DESCRIPTION),
        (ANNOTATION_VERSION, &recipe.version),
        (ANNOTATION_LICENSES, LICENSES),
        (ANNOTATION_CREATED, &recipe.epoch.rfc3339()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn platform(architecture: Architecture) -> SpecPlatform {
    let mut platform = SpecPlatform::default();
    platform.set_architecture(architecture.spec());
    platform.set_os(Os::Linux);
    platform
}

/// A document that the specification's types refuse.
pub(crate) fn unspecified(error: oci_spec::OciSpecError) -> Error {
    Error::input("describe the image", error.to_string())
}
