//! Who we are to a registry, as `docker login` and `podman login` have written it down.
//!
//! ```text
//!   $REGISTRY_AUTH_FILE                          this one alone, where it is set
//!   $DOCKER_CONFIG/config.json, or ~/.docker/config.json
//!   $XDG_RUNTIME_DIR/containers/auth.json
//!   $XDG_CONFIG_HOME/containers/auth.json, or ~/.config/containers/auth.json
//! ```
//!
//! In each: `credHelpers` of this registry, then `credsStore`, then `auths`.

use std::collections::HashMap;
use std::env;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::{Error, Kind, Result, io_text};
use crate::inspect::parse;

/// What docker calls its own registry in these files.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A login.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// User and password.
    Password(String, String),
    /// What is exchanged for tokens.
    Identity(String),
}

/// One such file, as far as it is needed.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: HashMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// The login for a repository of a registry, with where it was found.
pub(super) fn find(registry: &str, repository: &str) -> Result<Option<(Login, String)>> {
    for path in files() {
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(format!("read {}", path.display()), &error)),
        };
        let file: File = parse(&text, &path.display().to_string())?;
        if let Some(login) = file.login(registry, repository)? {
            return Ok(Some((login, path.display().to_string())));
        }
    }
    Ok(None)
}

fn files() -> Vec<PathBuf> {
    let var = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(only) = var("REGISTRY_AUTH_FILE") {
        return vec![only];
    }
    let home = |below: &str| var("HOME").map(|home| home.join(below));
    let docker = var("DOCKER_CONFIG").or_else(|| home(".docker"));
    let config = var("XDG_CONFIG_HOME").or_else(|| home(".config"));
    let containers = [var("XDG_RUNTIME_DIR"), config].into_iter().flatten();
    let containers = containers.map(|dir| dir.join("containers/auth.json"));
    docker.map(|dir| dir.join("config.json")).into_iter().chain(containers).collect()
}

impl File {
    fn login(&self, registry: &str, repository: &str) -> Result<Option<Login>> {
        let server = if registry == "docker.io" { DOCKER_HUB } else { registry };
        if let Some(helper) = self.cred_helpers.get(registry).or(self.creds_store.as_ref())
            && let Some(login) = ask(helper, server)?
        {
            return Ok(Some(login));
        }
        let mut keys = vec![server.to_owned()];
        // podman may have a login for part of a registry: the longest name counts.
        let parts: Vec<&str> = repository.split('/').collect();
        for length in 1..=parts.len() {
            keys.insert(0, format!("{registry}/{}", parts[..length].join("/")));
        }
        let entry = keys.iter().find_map(|key| self.auths.iter().find(|(k, _)| same(k, key)));
        entry.map(|(key, entry)| entry.login(key)).transpose().map(Option::flatten)
    }
}

/// Whether two names of a registry are one: older files have them as URLs.
fn same(a: &str, b: &str) -> bool {
    let bare = |name: &str| {
        let name = name.trim_start_matches("https://").trim_start_matches("http://");
        let name = name.trim_end_matches('/');
        name.trim_end_matches("/v1").trim_end_matches("/v2").to_owned()
    };
    bare(a) == bare(b)
}

impl Entry {
    fn login(&self, registry: &str) -> Result<Option<Login>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Login::Identity(token)));
        }
        if let (Some(user), Some(password)) = (given(&self.username), given(&self.password)) {
            return Ok(Some(Login::Password(user, password)));
        }
        let Some(encoded) = given(&self.auth) else { return Ok(None) };
        let wrong = || {
            Error::input(
                format!("use the login for {registry}"),
                "auth isn't base64 of user:password",
            )
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| wrong())?;
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        let (user, password) = text.split_once(':').ok_or_else(wrong)?;
        // docker once padded it with zeros.
        let password = password.trim_end_matches('\0');
        Ok(Some(Login::Password(user.to_owned(), password.to_owned())))
    }
}

/// Asks `docker-credential-HELPER get`: the registry's name on stdin, JSON on stdout. Not to
/// know it is no failure.
fn ask(helper: &str, server: &str) -> Result<Option<Login>> {
    let program = format!("docker-credential-{helper}");
    let what = || format!("ask {program} for the login of {server}");
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.spawn().and_then(|mut child| {
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that knows without asking may not read it.
            let _ = stdin.write_all(server.as_bytes());
        }
        child.wait_with_output()
    });
    let output = output.map_err(|error| Error::new(Kind::Failed, what(), io_text(&error)))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        // The protocol has these words and no code for it.
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let more = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::new(Kind::Failed, what(), format!("{}: {said}{more}", output.status)));
    }
    let answer: Answer = parse(&output.stdout, &format!("what {program} says"))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Login::Identity(answer.secret),
        _ => Login::Password(answer.username, answer.secret),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str, registry: &str, repository: &str) -> Option<Login> {
        let file: File = serde_json::from_str(text).expect("JSON");
        file.login(registry, repository).expect("a file in order")
    }

    fn password(user: &str) -> Option<Login> {
        Some(Login::Password(user.to_owned(), "p:w".to_owned()))
    }

    #[test]
    fn the_closest_login_counts() {
        // base64 of a:p:w, b:p:w, c:p:w
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "YTpwOnc="},
            "r.example:5000": {"auth": "YjpwOnc="},
            "r.example:5000/team": {"username": "c", "password": "p:w"},
            "old.example": {"identitytoken": "t", "auth": "YTpwOnc="},
            "none.example": {}
        }}"#;
        assert!(login(text, "docker.io", "a/b") == password("a"));
        assert!(login(text, "r.example:5000", "other/x") == password("b"));
        assert!(login(text, "r.example:5000", "team/x") == password("c"));
        assert!(login(text, "old.example", "x") == Some(Login::Identity("t".into())));
        assert!(login(text, "none.example", "x").is_none());
        assert!(login(text, "example", "x").is_none());
        assert!(login("{}", "example", "x").is_none());
        let broken: File =
            serde_json::from_str(r#"{"auths": {"x": {"auth": "?"}}}"#).expect("JSON");
        assert!(broken.login("x", "y").is_err());
    }
}
