//! `shim inspect`: all that is known, in the shape of an OCI state with more beside it.

use std::io::Write;

use podkeel_netsetup::error::{Context, Result};
use serde_json::{Value, json};

use crate::Shim;
use crate::record::{self, Container, Role, State};

/// Prints an array, one object a name.
pub fn inspect(shim: &Shim, names: &[String], out: &mut dyn Write) -> Result<i32> {
    let containers: Vec<Container> =
        names.iter().map(|name| record::find(&shim.context.roots, name)).collect::<Result<_>>()?;
    let all: Vec<Value> = containers.iter().map(|c| describe(shim, c)).collect();
    let text = serde_json::to_string_pretty(&all).unwrap_or_default();
    writeln!(out, "{text}").ctx(|| "print the answer".into())?;
    Ok(0)
}

/// One container. `ociVersion`, `id`, `status`, `pid`, `bundle` and `annotations` are the
/// runtime specification's; what it has no word for is `broken` and `pinned`.
pub fn describe(shim: &Shim, container: &Container) -> Value {
    let roots = &shim.context.roots;
    let state = container.state(roots, &shim.boot);
    let pid = container.process.filter(|_| state == State::Running).map(|p| p.pid);
    let bundle = match &container.role {
        Role::Bundle { bundle, .. } => bundle.clone(),
        _ => container.dir(roots),
    };
    let exit = match &state {
        State::Exited(exit) => json!(exit),
        _ => Value::Null,
    };
    json!({
        "ociVersion": "1.0.2",
        "id": container.id,
        "status": state.word(),
        "pid": pid,
        "bundle": bundle,
        "annotations": {},
        "name": container.name,
        "role": container.role,
        "pod": container.pod,
        "created": container.created,
        "command": container.command,
        "hostname": container.hostname,
        "namespaces": container.namespaces,
        "networks": container.networks,
        "ports": container.ports,
        "pause": container.pause,
        "monitor": container.monitor.filter(|m| m.lives()),
        "exit": exit,
        "log": container.log.then(|| container.log_path(roots)),
    })
}
