//! What is said about a platform, beside it: an SPDX bill of materials and an in-toto statement
//! of its provenance. Each is an artifact whose manifest names the platform's manifest as its
//! subject: an OCI referrer (image-spec 1.1, manifest.md, "subject").
//!
//! They aren't signed: who wants to trust them signs their digests, or the index's.

use std::collections::HashMap;

use oci_spec::image::{ANNOTATION_CREATED, ImageManifestBuilder, MediaType, SCHEMA_VERSION};
use serde_json::{Value, json};

use crate::blob::{self, Blob};
use crate::error::Result;
use crate::image::Recipe;
use crate::pause::{Origin, Pause};
use crate::platform::{LICENSES, Platform, unspecified};

/// SPDX 2.3 as JSON.
const SPDX: &str = "application/spdx+json";
/// An in-toto statement as JSON.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// What names the things that only this builder has.
const NAMESPACE: &str = "https://podkeel.dev";

/// A manifest that refers to a platform, with what it holds.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// The digest of the manifest that it is about.
    pub subject: String,
    /// The statement.
    pub statement: Blob,
    /// `{}`: an artifact has no configuration.
    pub config: Blob,
    /// Names all three.
    pub manifest: Blob,
}

impl Referrer {
    fn new(recipe: &Recipe, platform: &Platform, kind: &str, statement: &Value) -> Result<Self> {
        let kind = MediaType::from(kind);
        let statement = Blob::json(kind.clone(), statement)?;
        let config = Blob::json(MediaType::EmptyJSON, &json!({}))?;
        let date = (ANNOTATION_CREATED.to_owned(), recipe.epoch.rfc3339());
        let annotations = HashMap::from([date]);
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .artifact_type(kind.clone())
            .config(config.descriptor.clone())
            .layers(vec![statement.descriptor.clone()])
            .subject(platform.subject())
            .annotations(annotations.clone())
            .build()
            .map_err(unspecified)?;
        let mut manifest = Blob::json(MediaType::ImageManifest, &manifest)?;
        // A list of referrers has both, so that a reader may choose without fetching.
        manifest.descriptor.set_artifact_type(Some(kind));
        manifest.descriptor.set_annotations(Some(annotations));
        Ok(Referrer { subject: platform.manifest.digest(), statement, config, manifest })
    }

    /// Its blobs, each after those that it names.
    pub fn blobs(&self) -> [&Blob; 3] {
        [&self.statement, &self.config, &self.manifest]
    }
}

/// All that is said about a platform.
pub(crate) fn about(recipe: &Recipe, pause: &Pause, platform: &Platform) -> Result<[Referrer; 2]> {
    Ok([
        Referrer::new(recipe, platform, SPDX, &bill_of_materials(recipe, pause, platform))?,
        Referrer::new(recipe, platform, IN_TOTO, &provenance(recipe, pause, platform))?,
    ])
}

/// SPDX 2.3: the image, the one file in it, and the compiler's library that is linked into that.
fn bill_of_materials(recipe: &Recipe, pause: &Pause, platform: &Platform) -> Value {
    let program = blob::hex(&pause.program);
    let manifest = platform.manifest.descriptor.digest().digest();
    let name = format!("podkeel-pause-{}-{}", recipe.version, pause.architecture);
    let package = |id: &str, name: &str, version: &str, license: &str, sha256: Option<&str>| {
        let mut package = json!({
            "SPDXID": format!("SPDXRef-{id}"),
            "name": name,
            "versionInfo": version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": license,
            "copyrightText": "NOASSERTION",
        });
        if let Some(digest) = sha256 {
            package["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": digest}]);
        }
        package
    };
    let mut packages = vec![
        package("image", &name, &recipe.version, LICENSES, Some(manifest)),
        package("pause", "pause", &recipe.version, LICENSES, Some(&program)),
    ];
    let mut relations = vec![
        json!(["SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"]),
        json!(["SPDXRef-image", "CONTAINS", "SPDXRef-pause"]),
    ];
    // Of somebody else's file nothing more is known than its digest.
    if pause.origin == Origin::Carried {
        packages.push(package("core", "rust-core", &recipe.compiler, LICENSES, None));
        relations.push(json!(["SPDXRef-pause", "STATIC_LINK", "SPDXRef-core"]));
    }
    let relations = relations.iter().map(|relation| {
        json!({
            "spdxElementId": relation[0],
            "relationshipType": relation[1],
            "relatedSpdxElement": relation[2],
        })
    });
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("{NAMESPACE}/spdx/{name}-{manifest}"),
        "creationInfo": {
            "created": recipe.epoch.rfc3339(),
            "creators": [format!("Tool: podkeel-shim-{}", recipe.version)],
        },
        "packages": packages,
        "relationships": relations.collect::<Vec<_>>(),
    })
}

/// An in-toto statement (v1) whose predicate is SLSA's provenance (v1).
fn provenance(recipe: &Recipe, pause: &Pause, platform: &Platform) -> Value {
    let manifest = platform.manifest.descriptor.digest().digest();
    let mut inputs =
        vec![json!({"name": "pause", "digest": {"sha256": blob::hex(&pause.program)}})];
    let mut internal = json!({"builder": format!("podkeel-shim {}", recipe.version)});
    if pause.origin == Origin::Carried {
        internal["compiler"] = json!(recipe.compiler);
        if let Some(commit) = &recipe.commit {
            inputs.push(json!({"name": "podkeel", "digest": {"gitCommit": commit}}));
        }
    }
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        // Not the image's name: the same image has many, and one statement.
        "subject": [{"name": "podkeel-pause", "digest": {"sha256": manifest}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": format!("{NAMESPACE}/image/v1"),
                "externalParameters": {
                    "architecture": pause.architecture.name(),
                    "pause": match pause.origin {
                        Origin::Carried => "carried",
                        Origin::File => "file",
                    },
                    "sourceDateEpoch": recipe.epoch.0,
                },
                "internalParameters": internal,
                "resolvedDependencies": inputs,
            },
            "runDetails": {"builder": {"id": format!("{NAMESPACE}/shim")}},
        },
    })
}
