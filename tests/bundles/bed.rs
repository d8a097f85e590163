//! The bundles of oci-bundles, filled; shim and the runtimes, called.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use super::common::{cgroup, output, scratch, sh, sh_any, told};

pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_shim");
pub(crate) const ENGINES: [&str; 2] = ["runc", "crun"];

/// All that a pod shares.
pub(crate) const POD: &str =
    "--net=container:base --ipc=container:base --pid=container:base --uts=container:base";

/// What a first pod turns on for good, and folders that stay.
pub(crate) const STAYS: &[&str] = &[
    "host sysctl net.ipv4.ip_forward*",
    "host sysctl net.ipv4.conf.*.forwarding*",
    "host sysctl net.ipv4.conf.all.accept_redirects*",
    "file /var/lib/cni/networks: added",
    "file /var/lib/cni/networks/bridge: added",
    "mount /run/netns: added",
];

/// A copy of a bundle of oci-bundles with its root filesystem.
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) config: Value,
}

impl Bundle {
    /// `infra`, `web` or `client`, as they come with podkeel. What differs: cgroups are the
    /// host's, so they get a place where the harness removes them; the hook is the one of
    /// this build, where infra has one that is installed.
    pub(crate) fn of(which: &str, name: &str) -> Bundle {
        let dir = scratch().join(name);
        fs::create_dir_all(dir.join("rootfs/www")).expect("a root filesystem");
        let root = dir.join("rootfs").display().to_string();
        sh(&format!("cp $(command -v busybox) {root}/busybox"));
        sh(&format!("cp {} {root}/pause", env!("CARGO_BIN_EXE_pause")));
        fs::write(dir.join("rootfs/www/index.html"), "the page\n").expect("a page");
        let from = format!("{}/oci-bundles/{which}/config.json", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read(from).expect("config.json");
        let mut config: Value = serde_json::from_slice(&text).expect("JSON");
        config["linux"]["cgroupsPath"] = json!(cgroup(name));
        for stage in ["createRuntime", "poststop"] {
            if config["hooks"][stage].is_array() {
                config["hooks"][stage][0]["path"] = json!(env!("CARGO_BIN_EXE_netsetup"));
            }
        }
        let bundle = Bundle { dir, config };
        bundle.write();
        bundle
    }

    /// A container that runs this script; it has a /dev/shm of its own, and root's number.
    pub(crate) fn runs(name: &str, script: &str) -> Bundle {
        let mut bundle = Bundle::of("client", name);
        let config = &mut bundle.config;
        config["process"]["args"] = json!(["/busybox", "sh", "-c", script]);
        config["process"]["user"] = json!({"uid": 0, "gid": 0});
        let shm = json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]});
        config["mounts"].as_array_mut().expect("mounts").push(shm);
        bundle.write();
        bundle
    }

    /// With another config.json.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Value)) -> Bundle {
        change(&mut self.config);
        self.write();
        self
    }

    /// With the namespaces of a process where config.json names those of BASE.
    pub(crate) fn of_base(mut self, pid: &str) -> Bundle {
        let text = self.config.to_string().replace("/proc/BASE/", &format!("/proc/{pid}/"));
        self.config = serde_json::from_str(&text).expect("JSON");
        self.write();
        self
    }

    fn write(&self) {
        let text = serde_json::to_vec_pretty(&self.config).expect("JSON");
        fs::write(self.dir.join("config.json"), text).expect("config.json");
    }

    /// Words of `shim join`.
    pub(crate) fn words(&self, engine: &str) -> String {
        format!("--bundle {} --runtime {engine}", self.dir.display())
    }
}

/// Runs shim, whatever comes of it.
pub(crate) fn shim_any(words: &str) -> Output {
    output(Command::new(SHIM).args(words.split_whitespace()))
}

/// Runs shim, expects success, and returns what it printed.
#[track_caller]
pub(crate) fn shim(words: &str) -> String {
    let done = shim_any(words);
    assert!(done.status.success(), "{}", told(&format!("shim {words}"), &done));
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}

/// Runs shim and expects this exit code; returns both outputs.
#[track_caller]
pub(crate) fn shim_code(words: &str, code: i32) -> (String, String) {
    let done = shim_any(words);
    assert_eq!(done.status.code(), Some(code), "{}", told(&format!("shim {words}"), &done));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&done.stdout), text(&done.stderr))
}

/// One of the fields of `shim inspect`.
pub(crate) fn inspect(name: &str) -> Value {
    let all: Value = serde_json::from_str(&shim(&format!("inspect {name}"))).expect("JSON");
    all[0].clone()
}

/// The containers that a runtime knows.
pub(crate) fn known_to(engine: &str) -> String {
    let listed = sh_any(&format!("{engine} list -q"));
    String::from_utf8_lossy(&listed.stdout).trim().to_owned()
}

/// Waits up to five seconds.
pub(crate) fn until(mut check: impl FnMut() -> bool) -> bool {
    (0..500).any(|_| {
        let is = check();
        if !is {
            std::thread::sleep(Duration::from_millis(10));
        }
        is
    })
}

/// A base of shim's on no network: there is nothing that settles by and by, and would
/// change the world between two dumps.
pub(crate) fn base() {
    shim("run -d --name base --net none");
}
