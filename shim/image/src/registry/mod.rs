//! Registries, as the OCI distribution specification (1.1) describes them.
//!
//! ```text
//!   names, proxy, trust      how it is reached, and believed
//!   challenge, credentials   who we are to it
//!   client                   one request: log in, try again
//!   failure                  what went wrong, in words
//! ```

mod challenge;
mod client;
mod credentials;
mod failure;
mod names;
mod proxy;
mod trust;

use std::path::PathBuf;

use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType, SCHEMA_VERSION};
use ureq::http::Method;

use crate::blob::{Blob, canonical, digest};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::inspect::{Store, parse};
use crate::name::Name;
use crate::platform::unspecified;
use crate::progress::Progress;

use client::{Answer, Call, Client};

/// The manifests that we understand.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// How a registry is reached.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    /// Without TLS.
    pub plain_http: bool,
    /// Certificates of authorities to believe beside those of the system, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// A repository of a registry, and an image in it.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    name: Name,
}

impl Remote {
    /// To push to. No connection is made yet. Errors where the name isn't one, or names a digest.
    pub fn to_push(name: &str, transport: &Transport) -> Result<Remote> {
        let remote = Remote::open(name, "pull,push", transport)?;
        match remote.name.digest() {
            None => Ok(remote),
            Some(_) => Err(Error::input(
                format!("push to {name}"),
                "an image is pushed to a tag, not to a digest",
            )),
        }
    }

    /// To read from.
    pub fn to_read(name: &str, transport: &Transport) -> Result<Remote> {
        Remote::open(name, "pull", transport)
    }

    fn open(name: &str, actions: &'static str, transport: &Transport) -> Result<Remote> {
        let name: Name = name.parse()?;
        Ok(Remote { client: Client::new(&name, actions, transport)?, name })
    }

    /// Its whole name, with registry and tag.
    pub fn name(&self) -> String {
        self.name.to_string()
    }

    /// Pushes the image with all that refers to it; the tag last, so that it never names what
    /// isn't there in full.
    pub fn push(&self, image: &Image, progress: &Progress) -> Result<()> {
        let blobs = image.blobs();
        // The greeting before them; the lists of referrers and the tag behind them.
        let all = blobs.len() + 3;
        let step = |what: &str, done| {
            progress.part(format!("{}: {what}", self.name()), done, all);
        };
        step("asking", 0);
        self.greet()?;
        for (i, blob) in blobs.iter().enumerate() {
            step("blobs", i + 1);
            match blob.descriptor.media_type() {
                MediaType::ImageManifest => {
                    self.put_manifest(blob, &blob.digest())?;
                }
                MediaType::ImageIndex => {}
                _ => self.put_blob(blob)?,
            }
        }
        step("what refers to it", all - 2);
        for platform in &image.platforms {
            let referrers: Vec<_> = image
                .referrers
                .iter()
                .filter(|referrer| referrer.subject == platform.manifest.digest())
                .map(|referrer| &referrer.manifest)
                .collect();
            self.refer(&platform.manifest.descriptor, &referrers)?;
        }
        step("the tag", all - 1);
        self.put_manifest(&image.index, self.tag()).map(drop)
    }

    /// Asks whether a registry is there at all, and logs in: what is wrong shows here, in words
    /// about the whole and not about a blob.
    fn greet(&self) -> Result<()> {
        let what = format!("push {}", self.name());
        let call = Call { what, method: Method::GET, url: "/v2/".into(), accept: None, body: None };
        self.client.expect(&call, &[200]).map(drop)
    }

    /// What the name names now.
    pub fn resolve(&self) -> Result<Descriptor> {
        let reference = self.name.digest().unwrap_or(self.tag());
        let answer = self.get_manifest(reference, &format!("read {}", self.name()), &[200])?;
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        let found = digest(&answer.body);
        if self.name.digest().is_some_and(|asked| asked != found.as_ref()) {
            return Err(Error::input(
                format!("trust {}", self.name()),
                format!("its content is {found}"),
            ));
        }
        Ok(Descriptor::new(MediaType::from(kind), answer.body.len() as u64, found))
    }

    fn tag(&self) -> &str {
        self.name.tag()
    }

    fn put_blob(&self, blob: &Blob) -> Result<()> {
        let digest = blob.digest();
        let what = format!("push {digest} to {}", self.name());
        let call = |method, url, body| Call { what: what.clone(), method, url, accept: None, body };
        let there = self.client.path(&format!("blobs/{digest}"));
        if self.client.expect(&call(Method::HEAD, there, None), &[200, 404])?.status == 200 {
            return Ok(());
        }
        let start = self.client.path("blobs/uploads/");
        let started = self.client.expect(&call(Method::POST, start, None), &[202])?;
        let place = started.header("location").ok_or_else(|| {
            Error::input(&what, format!("{} doesn't say where to", self.client.host))
        })?;
        let separator = if place.contains('?') { '&' } else { '?' };
        let place = format!("{place}{separator}digest={}", digest.replace(':', "%3A"));
        let body = Some(("application/octet-stream", &blob.bytes[..]));
        self.client.expect(&call(Method::PUT, place, body), &[201]).map(drop)
    }

    fn put_manifest(&self, blob: &Blob, reference: &str) -> Result<Answer> {
        let kind = blob.descriptor.media_type().to_string();
        let call = Call {
            what: format!("push {}", self.name()),
            method: Method::PUT,
            url: self.client.path(&format!("manifests/{reference}")),
            accept: None,
            body: Some((&kind, &blob.bytes)),
        };
        self.client.expect(&call, &[201])
    }

    fn get_manifest(&self, reference: &str, what: &str, wanted: &[u16]) -> Result<Answer> {
        let call = Call {
            what: what.to_owned(),
            method: Method::GET,
            url: self.client.path(&format!("manifests/{reference}")),
            accept: Some(MANIFESTS),
            body: None,
        };
        self.client.expect(&call, wanted)
    }

    /// Makes referrers known. A registry that keeps the list itself says so when it takes the
    /// first of them; of any other the list is an index under a tag made of the subject's digest,
    /// which clients keep (distribution-spec, "Referrers Tag Schema"). What others have put there stays.
    fn refer(&self, subject: &Descriptor, referrers: &[&Blob]) -> Result<()> {
        let Some(first) = referrers.first() else { return Ok(()) };
        let answer = self.put_manifest(first, &first.digest())?;
        if answer.header("oci-subject").is_some() {
            return Ok(());
        }
        let mut list = self.tagged_referrers(subject)?;
        for referrer in referrers {
            list.retain(|known| known.digest() != referrer.descriptor.digest());
            list.push(referrer.descriptor.clone());
        }
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(list)
            .build()
            .map_err(unspecified)?;
        let index = Blob::new(MediaType::ImageIndex, canonical(&index)?);
        self.put_manifest(&index, &referrers_tag(subject)).map(drop)
    }

    fn tagged_referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>> {
        let tag = referrers_tag(subject);
        let what = format!("read what refers to {}", subject.digest());
        let answer = self.get_manifest(&tag, &what, &[200, 404])?;
        listed(&answer, &tag)
    }
}

fn referrers_tag(subject: &Descriptor) -> String {
    subject.digest().to_string().replace(':', "-")
}

/// The manifests of an index, none where there is no index.
fn listed(answer: &Answer, name: &str) -> Result<Vec<Descriptor>> {
    if answer.status == 404 {
        return Ok(Vec::new());
    }
    Ok(parse::<ImageIndex>(&answer.body, name)?.manifests().clone())
}

impl Store for Remote {
    fn read(&self, named: &Descriptor) -> Result<Vec<u8>> {
        let what = format!("read {} of {}", named.digest(), self.name());
        let kind = named.media_type().to_string();
        if MANIFESTS.contains(&kind) {
            return Ok(self.get_manifest(named.digest().as_ref(), &what, &[200])?.body);
        }
        let url = self.client.path(&format!("blobs/{}", named.digest()));
        let call = Call { what, method: Method::GET, url, accept: None, body: None };
        Ok(self.client.expect(&call, &[200])?.body)
    }

    fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>> {
        let url = self.client.path(&format!("referrers/{}", subject.digest()));
        let what = format!("read what refers to {}", subject.digest());
        let call = Call { what, method: Method::GET, url, accept: Some(MANIFESTS), body: None };
        let answer = self.client.expect(&call, &[200, 404])?;
        match answer.status.as_u16() {
            200 => listed(&answer, "a list of referrers"),
            _ => self.tagged_referrers(subject),
        }
    }
}
