//! What cargo builds for a machine's CPU: test programs, what they test, and their helpers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::machine::Board;
use super::{common, run};

/// A test program of this package.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) tests: Vec<String>,
}

/// Everything that a machine gets of this package, at the paths where it lies here.
pub(super) struct Programs {
    pub(super) tests: Vec<Program>,
    /// What they test, and their helpers.
    pub(super) others: Vec<PathBuf>,
    /// pause as shim carries it.
    pub(super) carried: PathBuf,
}

impl Programs {
    /// Builds them where they aren't yet: for this CPU as the ones that run now were built, for
    /// another without the infra image. `root` has the libraries for it.
    pub(super) fn of(names: &[&'static str], board: &Board, root: &Path) -> Programs {
        let target = format!("{}-unknown-linux-gnu", board.cpu);
        let linker = format!("{}-linux-gnu-gcc", board.cpu);
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.args(["test", "--locked", "--no-run", "--message-format=json"]);
        names.iter().for_each(|name| {
            cargo.args(["--test", name]);
        });
        let mut words = Vec::new();
        if board.is_own() {
            cargo.arg("--workspace");
        } else {
            cargo.args(["--no-default-features", "--target", &target]);
            let variable = target.to_uppercase().replace('-', "_");
            cargo.env(format!("CARGO_TARGET_{variable}_LINKER"), &linker);
            words = vec![format!("--target={target}"), format!("-Clinker={linker}")];
        }
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let messages = messages(&mut cargo);
        let mut paths = built(&messages, "test");
        let program = |name: &&'static str| {
            let path = paths.remove(*name).unwrap_or_else(|| panic!("cargo built no {name}"));
            let mut command = board.command(root, &path);
            let list = run(command.args(["--list", "--format", "terse"]));
            let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
            Program { name, tests: tests.map(str::to_owned).collect(), path }
        };
        let tests = names.iter().map(program).collect();
        let mut others: Vec<PathBuf> = built(&messages, "bin").into_values().collect();
        // target/debug/shim, target/tmp; the same below target/TARGET.
        let folder = others[0].ancestors().nth(2).expect("cargo's folder").join("tmp");
        let helper = |name| common::helper_in(&folder, name, &words);
        others.extend(["init", "pause", "shim"].map(helper));
        let variables = messages.iter().filter_map(|message| message["env"].as_array()).flatten();
        let mut pauses = variables.filter(|pair| pair[0] == "PODKEEL_PAUSE");
        let carried = pauses.next().and_then(|pair| pair[1].as_str()).expect("what shim carries");
        Programs { tests, others, carried: carried.into() }
    }
}

/// What cargo says in JSON of what it builds.
pub(super) fn messages(cargo: &mut Command) -> Vec<Value> {
    // What cargo tells a test of its package would have build scripts that ask for it run
    // again, and all that depends on them be compiled anew, here and when the tests are over.
    let told = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start))
            || name == "OUT_DIR"
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        cargo.env_remove(name);
    }
    let text = run(cargo.current_dir(env!("CARGO_MANIFEST_DIR")));
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What it has built of one kind of target: paths by name.
pub(super) fn built(messages: &[Value], kind: &str) -> BTreeMap<String, PathBuf> {
    let of_kind = messages.iter().filter(|m| m["target"]["kind"][0] == kind);
    let path = |m: &Value| {
        let name = m["target"]["name"].as_str()?.to_owned();
        Some((name, m["executable"].as_str()?.into()))
    };
    of_kind.filter_map(path).collect()
}

/// pause out of the infra image that shim builds for a CPU, as a registry would hand it out.
pub(super) fn of_infra_image(debian: &str) -> PathBuf {
    let layout = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("image-{debian}"));
    let _ = std::fs::remove_dir_all(&layout);
    let mut build = Command::new(env!("CARGO_BIN_EXE_shim"));
    run(build.args(["image", "build", "--arch", debian, "-o"]).arg(&layout));
    // Down from the index, by digests, to the one file of the one layer.
    let script = "blob() { printf 'blobs/sha256/%s' \"${1#sha256:}\"; }; set -e; \
        index=$(jq -r '.manifests[0].digest' index.json); \
        manifest=$(jq -r '.manifests[0].digest' $(blob $index)); \
        layer=$(jq -r '.layers[0].digest' $(blob $manifest)); \
        tar -xzf $(blob $layer) pause";
    run(Command::new("sh").args(["-c", script]).current_dir(&layout));
    layout.join("pause")
}
