//! What the tests here share: plugins in a directory, calls of them, networks.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::common::{output_with, scratch, told};

/// The program under test.
const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");
/// Where Debian's containernetworking-plugins has the reference.
const REFERENCE: &str = "/usr/lib/cni";

/// A directory of plugins.
#[derive(Clone, Debug)]
pub(crate) struct Plugins {
    pub(crate) dir: PathBuf,
}

/// Ours, installed as their user would.
pub(crate) fn ours() -> Plugins {
    let dir = scratch().join("cni");
    let out = Command::new(NETSETUP).arg("install").arg(&dir).output().expect("netsetup runs");
    assert!(out.status.success(), "{}", told("netsetup install", &out));
    Plugins { dir }
}

/// The reference's.
pub(crate) fn reference() -> Plugins {
    let dir = PathBuf::from(REFERENCE);
    assert!(dir.join("bridge").is_file(), "containernetworking-plugins is not installed");
    Plugins { dir }
}

/// Whose call it is.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) container: String,
    pub(crate) netns: String,
    pub(crate) ifname: String,
    pub(crate) args: String,
}

/// Container `name` in the namespace of the same name.
pub(crate) fn who(name: &str) -> Who {
    Who {
        container: name.into(),
        netns: format!("/run/netns/{name}"),
        ifname: "eth0".into(),
        args: String::new(),
    }
}

impl Plugins {
    /// Calls a plugin with these variables and no others of CNI's.
    pub(crate) fn raw(&self, plugin: &str, vars: &[(&str, &str)], stdin: &str) -> Output {
        let mut command = Command::new(self.dir.join(plugin));
        for name in ["COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH"] {
            command.env_remove(format!("CNI_{name}"));
        }
        output_with(command.envs(vars.iter().copied()), stdin.as_bytes())
    }

    /// Calls a plugin as a runtime does.
    pub(crate) fn call(&self, plugin: &str, verb: &str, who: &Who, conf: &Value) -> Output {
        let path = self.dir.display().to_string();
        let vars = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", &who.container),
            ("CNI_NETNS", &who.netns),
            ("CNI_IFNAME", &who.ifname),
            ("CNI_ARGS", &who.args),
            ("CNI_PATH", &path),
        ];
        self.raw(plugin, &vars, &conf.to_string())
    }

    /// The same, of the configuration's own type; success is expected. Returns what was
    /// answered, null for nothing.
    #[track_caller]
    pub(crate) fn ok(&self, verb: &str, who: &Who, conf: &Value) -> Value {
        let plugin = conf["type"].as_str().expect("a type");
        let output = self.call(plugin, verb, who, conf);
        assert!(output.status.success(), "{}", told(&format!("{plugin} {verb} {conf}"), &output));
        answer(&output)
    }

    /// The same; failure is expected. Returns code and message.
    #[track_caller]
    pub(crate) fn fails(&self, verb: &str, who: &Who, conf: &Value) -> (u64, String) {
        let plugin = conf["type"].as_str().expect("a type");
        failed(&format!("{plugin} {verb} {conf}"), &self.call(plugin, verb, who, conf))
    }

    /// A chain, as libcni runs it: each plugin with the result of the one before it. DEL
    /// goes the other way, with the last result. Returns the last result.
    #[track_caller]
    pub(crate) fn chain(&self, verb: &str, who: &Who, list: &[Value], prev: &Value) -> Value {
        let mut order: Vec<&Value> = list.iter().collect();
        if verb == "DEL" {
            order.reverse();
        }
        let mut last = prev.clone();
        for conf in order {
            let mut conf = conf.clone();
            if !last.is_null() {
                conf["prevResult"] = last.clone();
            }
            let answered = self.ok(verb, who, &conf);
            if verb == "ADD" {
                last = answered;
            }
        }
        last
    }
}

/// What a plugin printed, null for nothing.
#[track_caller]
pub(crate) fn answer(output: &Output) -> Value {
    if output.stdout.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", told("a plugin", output)))
}

/// Code and message of a call that failed as the specification says.
#[track_caller]
pub(crate) fn failed(what: &str, output: &Output) -> (u64, String) {
    assert_eq!(output.status.code(), Some(1), "should have failed: {}", told(what, output));
    let error = answer(output);
    let code = error["code"].as_u64().unwrap_or_else(|| panic!("no code: {}", told(what, output)));
    (code, error["msg"].as_str().expect("a message").to_owned())
}

/// Adds keys to an object.
pub(crate) fn with(mut base: Value, more: Value) -> Value {
    let (Value::Object(object), Value::Object(more)) = (&mut base, more) else { panic!("objects") };
    object.extend(more);
    base
}

/// host-local with ranges of both families, its files below the scratch directory.
pub(crate) fn host_local(subnets: &[&str]) -> Value {
    let ranges: Vec<Value> = subnets.iter().map(|net| json!([{"subnet": net}])).collect();
    json!({"type": "host-local", "dataDir": lease_root(), "ranges": ranges})
}

/// Where [`host_local`] keeps the leases of all networks.
pub(crate) fn lease_root() -> PathBuf {
    scratch().join("leases")
}

/// Where it keeps those of one network.
pub(crate) fn leases(network: &str) -> PathBuf {
    lease_root().join(network)
}

/// A bridge with an address of each family.
pub(crate) fn bridge(version: &str) -> Value {
    json!({"cniVersion": version, "name": "net", "type": "bridge", "bridge": "br-cni", "isGateway": true,
           "ipam": with(host_local(&["10.77.0.0/24", "fd77::/64"]),
                        json!({"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}))})
}

/// The files of a directory with what is in them, sorted.
pub(crate) fn files(dir: &Path) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = std::fs::read_dir(dir)
        .map(|entries| entries.flatten().collect::<Vec<_>>())
        .unwrap_or_default()
        .into_iter()
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).expect("a file");
            (entry.file_name().to_string_lossy().into_owned(), text)
        })
        .collect();
    found.sort();
    found
}
