//! Whose certificates are believed.

use std::fs;
use std::path::{Path, PathBuf};

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::error::{Context, Error, Kind, Result};

/// Where docker and podman keep what is believed of one registry alone.
const PER_HOST: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// What the system trusts (SSL_CERT_FILE and SSL_CERT_DIR before its own files), or Mozilla's
/// list where it has none; what certs.d has for this host; and the file that the user names.
pub(super) fn roots(host: &str, file: Option<&Path>) -> Result<RootCerts> {
    let believed = rustls_native_certs::load_native_certs();
    let mut roots: Vec<Certificate<'static>> =
        believed.certs.iter().map(|found| Certificate::from_der(found).to_owned()).collect();
    let own: Vec<PathBuf> =
        PER_HOST.iter().flat_map(|dir| certificates(&Path::new(dir).join(host))).collect();
    if roots.is_empty() && own.is_empty() && file.is_none() {
        return Ok(RootCerts::WebPki);
    }
    for path in own.iter().map(PathBuf::as_path).chain(file) {
        roots.extend(read(path)?);
    }
    Ok(RootCerts::new_with_certs(&roots))
}

/// The *.crt of a folder, in order; none where there is no such folder.
fn certificates(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "crt"));
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let what = || format!("read the certificates in {}", path.display());
    let text = fs::read(path).ctx(what)?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) =
            item.map_err(|error| Error::input(what(), error.to_string()))?
        {
            found.push(certificate);
        }
    }
    match found.is_empty() {
        true => Err(Error::new(Kind::Input, what(), "no certificate in PEM form is in there")),
        false => Ok(found),
    }
}
