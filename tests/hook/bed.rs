//! Bundles that real runtimes run, with our hook in them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

pub(crate) use super::by_hand::{NETSETUP, netsetup};
use super::common::dump::{Dump, differences};
use super::common::{Ns, cgroup, dirs, output_with, scratch, sh, sh_any, sh_out};

/// The runtimes, which differ in nearly everything that a hook sees.
pub(crate) const ENGINES: [&str; 2] = ["runc", "crun"];
/// IPv4 and IPv6, as it comes with podkeel.
pub(crate) const DUAL: &str = include_str!("../../oci-bundles/networks/dual.conflist");
/// A bridge, a range, an mtu and sysctls of its own, as it comes with podkeel.
pub(crate) const CUSTOM: &str = include_str!("../../oci-bundles/networks/custom-bridge.conflist");

/// What a first pod turns on for good, and traces of the runtimes themselves.
pub(crate) const ENSURED: &[&str] = &[
    "host sysctl net.ipv4.ip_forward: value 0 -> 1",
    "host sysctl net.ipv4.conf.*.forwarding: value 0 -> 1",
    "host sysctl net.ipv4.conf.all.accept_redirects: value 1 -> 0",
    "host sysctl net.ipv6.conf.*.forwarding: value 0 -> 1",
    "host route -6 * dev * metric 0 table local type anycast: added",
    LEASES[0],
    LEASES[1],
    LEASES[2],
    LEASES[3],
];

/// What leases are kept in; `last_reserved_ip` is in there.
pub(crate) const LEASES: &[&str] = &[
    "file /var/lib/cni/networks: added",
    "file /var/lib/cni/networks/*: added",
    "file /run/rootless/leases: added",
    "file /run/rootless/leases/*: added",
];

/// A bundle: what `config.json` says beyond the usual.
pub(crate) struct Bundle {
    pub(crate) engine: &'static str,
    pub(crate) id: String,
    pub(crate) config: Value,
    stages: Vec<&'static str>,
    flags: Vec<String>,
    timeout: Option<u32>,
}

impl Bundle {
    /// A container that serves its id by HTTP on port 80 until it is killed. The hook is
    /// under createRuntime and poststop and logs to [`Bundle::log`].
    pub(crate) fn new(engine: &'static str, id: &str) -> Self {
        let dir = scratch().join(id);
        fs::create_dir_all(dir.join("rootfs/bin")).expect("a rootfs");
        fs::create_dir_all(dir.join("rootfs/www")).expect("a rootfs");
        sh(&format!("cp $(command -v busybox) {0}/rootfs/bin/busybox", dir.display()));
        fs::write(dir.join("rootfs/www/index.html"), id).expect("a page");
        sh(&format!("cd {} && rm -f config.json log && runc spec", dir.display()));
        let text = fs::read(dir.join("config.json")).expect("runc's own config.json");
        let mut config: Value = serde_json::from_slice(&text).expect("JSON");
        config["process"]["terminal"] = json!(false);
        config["linux"]["cgroupsPath"] = json!(cgroup(id));
        config["annotations"] = json!({});
        let flags = vec!["--log".into(), dir.join("log").display().to_string()];
        let stages = vec!["createRuntime", "poststop"];
        let bundle = Self { engine, id: id.to_owned(), config, stages, flags, timeout: None };
        bundle.runs("/bin/busybox httpd -p 80 -h /www && exec /bin/busybox sleep 1000")
    }

    pub(crate) fn runs(mut self, script: &str) -> Self {
        self.config["process"]["args"] = json!(["/bin/busybox", "sh", "-c", script]);
        self
    }

    pub(crate) fn flags(mut self, words: &str) -> Self {
        self.flags.extend(words.split_whitespace().map(str::to_owned));
        self
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config["annotations"][format!("dev.podkeel.{key}")] = json!(value);
        self
    }

    pub(crate) fn stages(mut self, stages: &[&'static str]) -> Self {
        self.stages = stages.to_vec();
        self
    }

    /// Seconds that the runtime lets the hook take.
    pub(crate) fn timeout(mut self, seconds: u32) -> Self {
        self.timeout = Some(seconds);
        self
    }

    /// The entry for the network namespace: none = the runtime's own.
    pub(crate) fn netns(mut self, entry: Option<Value>) -> Self {
        let all = self.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        all.retain(|entry| entry["type"] != "network");
        all.extend(entry);
        self
    }

    fn dir(&self) -> PathBuf {
        scratch().join(&self.id)
    }

    /// What the hook wrote to its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    /// Writes its config.json.
    pub(crate) fn prepare(&self) {
        let mut config = self.config.clone();
        let mut args = vec!["netsetup".to_owned(), "hook".to_owned()];
        args.extend(self.flags.iter().cloned());
        let mut hook = json!({"path": NETSETUP, "args": args});
        if let Some(seconds) = self.timeout {
            hook["timeout"] = json!(seconds);
        }
        config["hooks"] = json!({});
        for stage in &self.stages {
            config["hooks"][*stage] = json!([hook]);
        }
        let text = serde_json::to_vec_pretty(&config).expect("JSON");
        fs::write(self.dir().join("config.json"), text).expect("config.json");
    }

    /// A command line of the runtime's, for this bundle. Its outputs go to a file: a
    /// container inherits them, and a pipe would be waited for until it ends.
    pub(crate) fn command(&self, verb: &str) -> String {
        let dir = self.dir().display().to_string();
        format!("cd {dir} && {} {verb} >{dir}/out 2>&1", self.engine)
    }

    /// Runs a verb of the runtime's; whether it succeeded, and what it said.
    pub(crate) fn runtime(&self, verb: &str) -> (bool, String) {
        let status = sh_any(&self.command(verb)).status;
        let said = fs::read_to_string(self.dir().join("out")).unwrap_or_default();
        (status.success(), said)
    }

    #[track_caller]
    pub(crate) fn expect(&self, verb: &str) {
        let (ok, said) = self.runtime(verb);
        assert!(ok, "{} {verb}: {said}\n{}", self.engine, self.log());
    }

    /// Creates and starts it; returns its namespace.
    #[track_caller]
    pub(crate) fn start(&self) -> Ns {
        self.prepare();
        self.expect(&format!("create {}", self.id));
        self.expect(&format!("start {}", self.id));
        Ns::of_pid(&self.id, self.pid())
    }

    /// Tries to create it, and expects the runtime to fail; returns what the runtime
    /// said and what the hook logged.
    #[track_caller]
    pub(crate) fn fails(&self) -> String {
        self.prepare();
        let (ok, said) = self.runtime(&format!("create {}", self.id));
        assert!(!ok, "{} should have failed: {said}", self.engine);
        let said = format!("{said}{}", self.log());
        // Whatever the runtime keeps of it; that the hook left nothing is for a dump.
        sh_any(&format!("{} delete -f {} 2>/dev/null", self.engine, self.id));
        said
    }

    pub(crate) fn pid(&self) -> u32 {
        let state = sh_out(&format!("{} state {}", self.engine, self.id));
        let state: Value = serde_json::from_str(&state).expect("a state in JSON");
        u32::try_from(state["pid"].as_u64().expect("a pid")).expect("a pid")
    }

    /// Kills it, and has the runtime delete it.
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.expect(&format!("kill {} KILL", self.id));
        self.expect_stopped();
        self.expect(&format!("delete {}", self.id));
    }

    pub(crate) fn expect_stopped(&self) {
        let stopped = || {
            let state = sh_any(&format!("{} state {}", self.engine, self.id)).stdout;
            String::from_utf8_lossy(&state).contains("\"stopped\"")
        };
        assert!(until(stopped), "{} {} doesn't stop", self.engine, self.id);
    }
}

/// Waits up to five seconds.
pub(crate) fn until(check: impl Fn() -> bool) -> bool {
    (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        check()
    })
}

/// Waits until the kernel's duplicate address detection has ended for all that is up:
/// it would change a world between two dumps.
pub(crate) fn settled(all: &[Ns]) {
    let host = [Ns::host()];
    for ns in host.iter().chain(all) {
        let tentative = || ns.sh_out("ip -6 addr show tentative; ip -6 addr show dadfailed");
        assert!(until(|| tentative().is_empty()), "{}: {}", ns.name, tentative());
    }
}

/// Runs the hook by hand with this on its stdin; its exit code and its words.
pub(crate) fn hook(words: &str, stdin: &[u8]) -> (Option<i32>, String) {
    let mut command = Command::new(NETSETUP);
    let output = output_with(command.arg("hook").args(words.split_whitespace()), stdin);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Lays down a network's list where netsetup looks for it.
pub(crate) fn network(name: &str, text: &str) {
    fs::write(dirs().conf.join(format!("{name}.conflist")), text).expect("write a conflist");
}

/// Panics with whatever differs but for what a first pod turns on. The runtimes' own
/// state is below /run, where a dump does not look.
#[track_caller]
pub(crate) fn assert_as_before(before: &Dump, after: &Dump, what: &str) {
    let lines = differences(before, after, ENSURED);
    assert!(lines.is_empty(), "{what}: the world has changed:\n  {}", lines.join("\n  "));
}

/// A process in a namespace, which dies with the world. Returns its pid.
#[allow(clippy::zombie_processes, reason = "the world's end collects it")]
pub(super) fn sleeper(name: &str) -> u32 {
    let words = ["netns", "exec", name, "sleep", "1000000"];
    let child = Command::new("ip").args(words).spawn().expect("ip of iproute2");
    let own = fs::read_link("/proc/self/ns/net").expect("own namespace");
    let path = format!("/proc/{}/ns/net", child.id());
    while fs::read_link(&path).is_ok_and(|ns| ns == own) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.id()
}
