//! Names of images: `registry.example:5000/team/pause:1`.
//!
//! The grammar is that of the distribution project (`reference/reference.go`), the defaults are
//! docker's. (oci-spec has a type for it, whose regular expressions take longer to compile than
//! all else that is done here, and are a fifth of the program.)

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The registry of names that have none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Where that one listens.
const DEFAULT_ADDRESS: &str = "registry-1.docker.io";
/// The tag of names that have none.
const DEFAULT_TAG: &str = "latest";

/// An image's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Name {
    /// `registry.example:5000`: what logins are filed under.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Where that registry listens.
    pub fn address(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY { DEFAULT_ADDRESS } else { &self.registry }
    }

    /// `team/pause`
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// `1`; `latest` where none was named.
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }

    /// `sha256:...`, where one was named.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => write!(f, ":{}", self.tag()),
        }
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Name, Error> {
        let refused = |why: &str| {
            Error::input(format!("take {text} as the name of an image"), why)
                .hint("an image is named as REGISTRY/NAME:TAG: registry.example:5000/team/pause:1")
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before a slash is that of a port.
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
                (host, rest.to_owned())
            }
            Some(_) => (DEFAULT_REGISTRY, path.to_owned()),
            None => (DEFAULT_REGISTRY, format!("library/{path}")),
        };
        if !is_host(registry) {
            return Err(refused("the registry isn't HOST or HOST:PORT"));
        }
        if !repository.split('/').all(is_component) {
            return Err(refused("a name has small letters, digits, and single . _ - between them"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refused("a tag has letters, digits, . _ -, and at most 128 of them"));
        }
        if digest.is_some_and(|digest| !is_sha256(digest)) {
            return Err(refused("a digest is sha256: and 64 hexadecimal digits"));
        }
        let [tag, digest] = [tag, digest].map(|part| part.map(str::to_owned));
        Ok(Name { registry: registry.to_owned(), repository, tag, digest })
    }
}

/// A name, an IPv4 address, or an IPv6 address in brackets; a port behind it.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_label = |label: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
        edge(label.chars().next()) && edge(label.chars().last()) && label.chars().all(inside)
    };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_name = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    is_name && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Runs of small letters and digits, between two of which stands `.`, `_`, `__`, or any number
/// of `-`.
fn is_component(text: &str) -> bool {
    let is_run = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = text.split(is_run).filter(|between| !between.is_empty());
    let known = |s: &str| matches!(s, "." | "_" | "__") || s.chars().all(|c| c == '-');
    let edges = text.starts_with(is_run) && text.ends_with(is_run);
    edges && separators.into_iter().all(known)
}

fn is_tag(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    (1..=128).contains(&text.len()) && text.chars().all(inside) && !text.starts_with(['.', '-'])
}

fn is_sha256(text: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.chars().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        for (text, whole, address) in [
            ("pause", "docker.io/library/pause:latest", "registry-1.docker.io"),
            ("team/pause:1", "docker.io/team/pause:1", "registry-1.docker.io"),
            ("localhost/pause:1", "localhost/pause:1", "localhost"),
            ("localhost:5000/pause", "localhost:5000/pause:latest", "localhost:5000"),
            ("r.example/a/b__c/d-e:V1.0_x", "r.example/a/b__c/d-e:V1.0_x", "r.example"),
            ("127.0.0.1:80/a", "127.0.0.1:80/a:latest", "127.0.0.1:80"),
            ("[::1]:5000/a:1", "[::1]:5000/a:1", "[::1]:5000"),
        ] {
            let name: Name = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((name.to_string().as_str(), name.address()), (whole, address), "{text}");
        }
        let digest = format!("sha256:{}", "0a".repeat(32));
        let name: Name = format!("r.example/a:1@{digest}").parse().expect("a name");
        assert_eq!((name.digest(), name.tag()), (Some(digest.as_str()), "1"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "A",
            "a:",
            "a:.x",
            "a:-x",
            "a b",
            "a..b",
            "a___b",
            "_a",
            "a_",
            "r.example/",
            "r.example:0/a",
            "r.example:x/a",
            "r.example:70000/a",
            "-r.example/a",
            "r..example/a",
            "[::1/a",
            "[x]:1/a",
            "a@sha256:0",
            "a@sha512:00",
            "a//b",
            "r.example/A",
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        assert!(format!("a:{}", "x".repeat(129)).parse::<Name>().is_err());
    }
}
