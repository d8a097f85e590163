//! What all engines need: our plugins where they look, a network, images without a registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::common::dump::{Dump, differences};
use super::common::traffic::tcp;
use super::common::{Ns, scratch, sh, sh_any, sh_out, told};

/// The programs under test.
pub(crate) const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");
const PAUSE: &str = env!("CARGO_BIN_EXE_pause");
/// Where Debian's engines look for plugins. In a world only ours are there.
pub(crate) const PLUGINS: &str = "/usr/lib/cni";
/// An image of busybox alone.
pub(crate) const BUSYBOX: &str = "localhost/busybox:1";
/// An image of our pause alone.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:1";

/// What stays on purpose when the last container is gone.
pub(crate) const STAYS: &[(&str, &str)] = &[
    ("host link br-keel: added", "the bridge stays, as the reference leaves it"),
    ("host addr br-keel *: added", "the bridge's address"),
    ("host route -4 10.90.0.0/24 dev br-keel: added", "the route of that address"),
    ("host route -4 * dev br-keel *: added", "the local routes of that address"),
    ("host route -6 * dev br-keel *: added", "the bridge's link-local address"),
    ("host sysctl net.ipv4.ip_forward: value 0 -> 1", "turned on, never off"),
    ("host sysctl net.ipv4.conf.*.forwarding: value 0 -> 1", "follows ip_forward"),
    ("host sysctl net.ipv4.conf.all.accept_redirects: value 1 -> 0", "follows ip_forward"),
    ("file /var/lib/cni/networks: added", "where leases are kept"),
    ("file /var/lib/cni/networks/keel: added", "the network's leases, none of which is left"),
];

/// Panics with whatever differs and does not stand in [`STAYS`] or `more`.
#[track_caller]
pub(crate) fn assert_as_before(before: &Dump, after: &Dump, more: &[(&str, &str)]) {
    let allowed: Vec<&str> = STAYS.iter().chain(more).map(|(pattern, _)| *pattern).collect();
    let lines = differences(before, after, &allowed);
    assert!(lines.is_empty(), "the world has changed:\n  {}", lines.join("\n  "));
}

/// Covers the directories of plugins, and lays ours down in the one that is left.
pub(crate) fn only_our_plugins() {
    sh(&format!("mount -t tmpfs none {PLUGINS}"));
    sh("test ! -d /opt/cni || mount -t tmpfs none /opt/cni");
    sh(&format!("{NETSETUP} install {PLUGINS}"));
    for entry in fs::read_dir(PLUGINS).expect("plugins").flatten() {
        let real = fs::canonicalize(entry.path()).expect("a plugin");
        assert_eq!(real, fs::canonicalize(NETSETUP).expect("netsetup"), "{entry:?}");
    }
}

/// A network as podman would write one, but for the firewall.
pub(crate) fn network() -> Value {
    json!({"cniVersion": "0.4.0", "name": "keel", "plugins": [
        {"type": "bridge", "bridge": "br-keel", "isGateway": true, "ipMasq": true, "hairpinMode": true,
         "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
                  "ranges": [[{"subnet": "10.90.0.0/24", "gateway": "10.90.0.1"}]]}},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "tuning", "capabilities": {"mac": true}},
    ]})
}

/// Writes that network's list into a directory.
pub(crate) fn lay_network(dir: &Path) {
    fs::create_dir_all(dir).expect("a directory of networks");
    fs::write(dir.join("87-keel.conflist"), network().to_string()).expect("a list");
}

/// podman with its files below the scratch directory.
pub(crate) struct Podman;

impl Podman {
    /// Lays down its configuration: the CNI backend, networks in `networks()`.
    pub(crate) fn new(default_network: &str) -> Self {
        let dir = scratch().display();
        // Only root of the host may raise hard limits; podman's own default does.
        let text = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
             [network]\nnetwork_backend = \"cni\"\ncni_plugin_dirs = [\"{PLUGINS}\"]\n\
             network_config_dir = \"{networks}\"\ndefault_network = \"{default_network}\"\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n\
             infra_image = \"{PAUSE_IMAGE}\"\n",
            networks = Self::networks().display(),
        );
        fs::write(scratch().join("containers.conf"), text).expect("containers.conf");
        fs::create_dir_all(Self::networks()).expect("a directory of networks");
        let images = [
            (BUSYBOX, rootfs(), "CMD [\"/bin/sh\"]"),
            (PAUSE_IMAGE, pause_rootfs(), "ENTRYPOINT [\"/pause\"]"),
        ];
        let this = Self;
        for (name, rootfs, change) in images {
            sh(&format!("tar -C {} -cf {dir}/layer.tar .", rootfs.display()));
            this.ok(&format!("import -q --change '{change}' {dir}/layer.tar {name}"));
        }
        this
    }

    pub(crate) fn networks() -> PathBuf {
        scratch().join("networks")
    }

    fn line(&self, words: &str) -> String {
        let dir = scratch().display();
        format!(
            "CONTAINERS_CONF={dir}/containers.conf podman --root {dir}/root --runroot {dir}/runroot \
             --tmpdir {dir}/tmp --storage-driver overlay {words}"
        )
    }

    /// Runs it and expects success; what it printed. Its outputs go to files: conmon
    /// would hold a pipe open.
    #[track_caller]
    pub(crate) fn ok(&self, words: &str) -> String {
        let (ok, out, err) = self.any(words);
        assert!(ok, "podman {words}: {out}{err}");
        // A plugin that podman can't use is a warning, and a network that vanishes.
        assert!(!err.contains("level=warning"), "podman {words}: {err}");
        out
    }

    /// Runs it and expects failure; what it said.
    #[track_caller]
    pub(crate) fn fails(&self, words: &str) -> String {
        let (ok, out, err) = self.any(words);
        assert!(!ok, "podman {words} should have failed: {out}{err}");
        err
    }

    fn any(&self, words: &str) -> (bool, String, String) {
        let [out, err] = ["out", "err"].map(|name| scratch().join(format!("podman.{name}")));
        let line = format!("{} >{} 2>{}", self.line(words), out.display(), err.display());
        let ok = sh_any(&line).status.success();
        let [out, err] = [out, err].map(|path| fs::read_to_string(path).expect("an output"));
        (ok, out.trim_end().to_owned(), err)
    }
}

/// A root file system of busybox, with what containers run.
pub(crate) fn rootfs() -> PathBuf {
    let dir = scratch().join("busybox");
    sh(&format!(
        "mkdir -p {0}/bin {0}/www {0}/etc {0}/proc {0}/sys {0}/dev {0}/tmp && \
         cp $(command -v busybox) {0}/bin/busybox && ln -s busybox {0}/bin/sh",
        dir.display()
    ));
    dir
}

fn pause_rootfs() -> PathBuf {
    let dir = scratch().join("pause");
    sh(&format!("mkdir -p {0} && cp {PAUSE} {0}/pause", dir.display()));
    dir
}

/// A shell script for a container: its name as a page on this port, until it is killed.
pub(crate) fn page(name: &str, port: u16) -> String {
    format!(
        "mkdir -p /tmp/www; echo {name} >/tmp/www/index.html; exec httpd -f -p {port} -h /tmp/www"
    )
}

/// Words for an engine's command line that run a script in the image of busybox, whose
/// applets are found without links.
pub(crate) fn shell(script: &str) -> String {
    format!("/bin/busybox sh -c '{script}'")
}

/// What curl gets from `url` in `ns`, waiting for a server that is just starting.
#[track_caller]
pub(crate) fn get(ns: &Ns, url: &str) -> String {
    let line = format!("curl -sS --max-time 2 --noproxy '*' http://{url}/");
    let mut last = String::new();
    for _ in 0..50 {
        let output = ns.sh_any(&line);
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        }
        last = told(&line, &output);
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("in {}: {last}", ns.name)
}

/// Asserts that nobody answers at `to` any more.
#[track_caller]
pub(crate) fn closed(ns: &Ns, to: std::net::SocketAddr) {
    let answer = tcp(ns, to, Duration::from_millis(300));
    assert!(answer.is_err(), "{to} still answers {}: {answer:?}", ns.name);
}

/// Asserts that no rule, port of the bridge, lease or record is left of any container.
#[track_caller]
pub(crate) fn nothing_left() {
    assert_eq!(sh_out("nft list ruleset"), "");
    no_port_lease_or_record();
}

/// The same where the host has rules of its own.
#[track_caller]
pub(crate) fn no_port_lease_or_record() {
    assert_eq!(sh_out("ip -br link show type veth | grep -v ^up || true"), "");
    assert_eq!(sh_out("find /run/podkeel -type f 2>/dev/null || true"), "");
    assert_eq!(sh_out("find /var/lib/cni/networks/*/ -name '[0-9]*' || true"), "");
}
