//! Engines on this machine load the image, each by its own way in.
//!
//! ```text
//!   docker       POST /images/load on its socket: a docker archive
//!   podman       the same on its socket; where none is there, `podman load` reads it on stdin
//!   containerd   `ctr images import` reads an OCI archive on stdin
//! ```
//!
//! containerd's socket speaks gRPC and has no call to load an image: its clients unpack archives
//! themselves, over a dozen streamed calls. Its own client does that.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::{Agent, http};

use crate::error::{Error, Kind, Result, io_text};
use crate::image::Image;
use crate::pause::Architecture;
use crate::unix::UnixConnector;
use crate::{docker, layout};

/// Loads it into docker. `socket` instead of `DOCKER_HOST` and docker's own place.
pub fn docker(image: &Image, socket: Option<&Path>) -> Result<()> {
    let socket = match socket {
        Some(path) => path.to_owned(),
        None => unix_of("DOCKER_HOST")?.unwrap_or_else(|| PathBuf::from("/var/run/docker.sock")),
    };
    post(&socket, &own_archive(image)?, "docker")
}

/// Loads it into podman. `socket` instead of `CONTAINER_HOST` and podman's own places; where
/// there is no socket, the podman on the PATH does it.
pub fn podman(image: &Image, socket: Option<&Path>) -> Result<()> {
    let archive = own_archive(image)?;
    let named = match socket {
        Some(path) => Some(path.to_owned()),
        None => unix_of("CONTAINER_HOST")?,
    };
    let usual = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).into_iter();
    let mut usual = usual.chain([PathBuf::from("/run")]).map(|dir| dir.join("podman/podman.sock"));
    match named.or_else(|| usual.find(|path| path.exists())) {
        Some(socket) => post(&socket, &archive, "podman"),
        None => pipe(Command::new("podman").args(["load", "--quiet"]), &archive),
    }
}

/// Loads it into a namespace of containerd. `socket` instead of `CONTAINERD_ADDRESS` and
/// containerd's own place, both of which ctr knows.
pub fn containerd(image: &Image, namespace: &str, socket: Option<&Path>) -> Result<()> {
    let mut ctr = Command::new("ctr");
    if let Some(socket) = socket {
        ctr.arg("--address").arg(socket);
    }
    ctr.args(["--namespace", namespace, "images", "import", "-"]);
    pipe(&mut ctr, &layout::archive(image)?)
}

/// docker's archive of this machine's architecture.
fn own_archive(image: &Image) -> Result<Vec<u8>> {
    let own = Architecture::own().ok_or_else(|| {
        Error::input("load the image", format!("pause isn't written for {}", env::consts::ARCH))
    })?;
    docker::archive(image, own)
}

/// The path in a variable that may hold `unix:///path`.
fn unix_of(variable: &str) -> Result<Option<PathBuf>> {
    let Some(value) = env::var(variable).ok().filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.strip_prefix("unix://") {
        Some(path) => Ok(Some(PathBuf::from(path))),
        None => Err(Error::input(
            format!("use {variable}={value}"),
            "only unix:// sockets are spoken to",
        )
        .hint(
            "shim image push takes the image to a registry that the other machine can pull from",
        )),
    }
}

/// docker's API, which podman has, too.
fn post(socket: &Path, archive: &[u8], engine: &str) -> Result<()> {
    let what = format!("load the image into {engine} at {}", socket.display());
    let config = Agent::config_builder().http_status_as_error(false).proxy(None).build();
    let connector = UnixConnector::new(socket.to_owned());
    let agent = Agent::with_parts(config, connector, DefaultResolver::default());
    let request = http::Request::post("http://127.0.0.1/images/load?quiet=1")
        .header("content-type", "application/x-tar")
        .body(archive);
    let answer = request.map_err(ureq::Error::from).and_then(|request| agent.run(request));
    let mut answer = answer.map_err(|error| match error {
        ureq::Error::Io(error) => {
            Error::io(&what, &error).hint(format!("does {engine} run, and may you speak to it?"))
        }
        other => Error::new(Kind::Failed, &what, other.to_string()),
    })?;
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    let failed = |why: &str| Error::new(Kind::Failed, &what, why.trim());
    if !answer.status().is_success() {
        let document: Option<Value> = serde_json::from_str(&text).ok();
        let message = document.as_ref().and_then(|d| d["message"].as_str());
        return Err(failed(message.unwrap_or(&text)));
    }
    // Documents one after the other; success is the status, and none that tells of an error.
    for document in serde_json::Deserializer::from_str(&text).into_iter::<Value>().flatten() {
        if let Some(why) = document["error"].as_str() {
            return Err(failed(why));
        }
    }
    Ok(())
}

/// Runs an engine's own client with the archive on its stdin.
fn pipe(client: &mut Command, archive: &[u8]) -> Result<()> {
    let words: Vec<_> = [client.get_program()].into_iter().chain(client.get_args()).collect();
    let what = format!("load the image by {}", words.join(" ".as_ref()).display());
    client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = client.spawn().and_then(|mut child| {
        // An archive of a few pages fits into the pipe: nobody waits for the other.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(archive));
        let output = child.wait_with_output()?;
        // A client that fails may not have read it all; its own words say more.
        if output.status.success() { written.map(|()| output) } else { Ok(output) }
    });
    let output =
        output.map_err(|error| Error::new(Error::io("", &error).kind, &what, io_text(&error)))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(Kind::Failed, what, format!("{}: {}", output.status, said.trim())))
}
