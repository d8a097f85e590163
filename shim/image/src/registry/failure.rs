//! What can go wrong between us and a registry, in words that say what to do.

use std::io::{self, ErrorKind};

use rustls::{CertificateError, Error as Tls, InvalidMessage};

use super::client::Answer;
use super::proxy;
use crate::error::{Error, Kind, io_text};

/// Leave out `--plain-http`: the other side speaks TLS.
const SPEAKS_HTTPS: &str = "the registry speaks https: leave out --plain-http";
/// Add `--plain-http`: the other side doesn't speak TLS.
const SPEAKS_HTTP: &str =
    "the registry speaks http without TLS: add --plain-http, if the way to it is safe";

/// Go around the proxy.
const NO_PROXY: &str = "NO_PROXY=HOST in the environment goes around it";
/// Who we are to a proxy.
const PROXY_LOGIN: &str = "it stands in the variable: http://USER:PASSWORD@HOST:PORT";

/// A request to `url` that got no answer. `what` is operation and object, `host` whom it is for.
pub(super) fn unanswered(what: &str, host: &str, url: &str, error: ureq::Error) -> Error {
    let failed = |why: String| Error::new(Kind::Failed, what, why);
    let via = proxy::to(url).ok().flatten().map(|via| via.told);
    let proxy = via.as_deref().unwrap_or("the proxy");
    match error {
        ureq::Error::Other(inner) => match inner.downcast::<Error>() {
            Ok(own) => Error { what: format!("{what}: {}", own.what), ..*own },
            Err(other) => failed(other.to_string()),
        },
        ureq::Error::Rustls(error) => distrust(what, host, &error),
        ureq::Error::Io(error) => match error.get_ref().and_then(|e| e.downcast_ref::<Tls>()) {
            Some(tls) => distrust(what, host, tls),
            None => match &via {
                Some(proxy) => failed(format!("{proxy}: {}", io_text(&error))).hint(NO_PROXY),
                None => unreachable(what, host, &error),
            },
        },
        ureq::Error::Timeout(_) => failed(format!("{host} does not answer in time")),
        // What TLS servers say to those who don't speak it is no HTTP.
        ureq::Error::Protocol(error) => {
            failed(format!("{host} does not speak HTTP ({error})")).hint(SPEAKS_HTTPS)
        }
        ureq::Error::ConnectProxyFailed(why) if why.contains("407") => {
            failed(format!("{proxy} wants a login")).hint(PROXY_LOGIN)
        }
        ureq::Error::ConnectProxyFailed(why) => {
            failed(format!("{proxy} does not lead to {host}: {why}")).hint(NO_PROXY)
        }
        other => failed(other.to_string()),
    }
}

fn unreachable(what: &str, host: &str, error: &io::Error) -> Error {
    let failed = Error::new(Kind::Failed, what, format!("{host}: {}", io_text(error)));
    match error.kind() {
        ErrorKind::ConnectionRefused => failed.hint("nobody listens there: is the port right?"),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            failed.hint("this machine has no route to it: see ip route get")
        }
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
            failed.hint("the other side hung up; a proxy, or a port of something else?")
        }
        _ => failed,
    }
}

fn distrust(what: &str, host: &str, error: &Tls) -> Error {
    let failed = |why: String| Error::new(Kind::Failed, what, why);
    match error {
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => {
            failed(format!("{host} does not speak TLS")).hint(SPEAKS_HTTP)
        }
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            failed(format!("the certificate of {host} is signed by nobody that this system trusts"))
                .hint("name the authority's certificate: --ca-file FILE")
        }
        Tls::InvalidCertificate(why) => {
            failed(format!("the certificate of {host} is not good: {why}"))
        }
        other => failed(format!("no TLS with {host}: {other}")),
    }
}

/// An answer that is no success. `login` says which login was used, if any.
pub(super) fn refused(what: &str, host: &str, login: Option<&str>, answer: &Answer) -> Error {
    let said = answer.words();
    let why = format!("{host} says {}{said}", answer.status);
    let failed = |kind| Error::new(kind, what, why.clone());
    match answer.status.as_u16() {
        400 if said.to_lowercase().contains("https") => failed(Kind::Failed).hint(SPEAKS_HTTPS),
        401 => match login {
            None => failed(Kind::Denied)
                .hint(format!("log in first: docker login {host}, or podman login {host}")),
            Some(file) => failed(Kind::Denied).hint(format!("it doesn't take the login in {file}")),
        },
        403 => failed(Kind::Denied).hint("this login may not do that there"),
        404 => failed(Kind::Missing)
            .hint("is the name right, and is there a registry at this address?"),
        _ => failed(Kind::Failed),
    }
}
