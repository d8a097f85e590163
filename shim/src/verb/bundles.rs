//! `shim bundles`: ready-made bundles, which oci-bundles/ has a copy of.
//!
//! ```text
//!   infra                 a base on the built-in bridge, with a published port
//!   infra-custom-bridge   on the network custom-bridge of oci-bundles/networks
//!   infra-ptp             on the network ptp of oci-bundles/networks
//!   infra-macvlan         on the network macvlan of oci-bundles/networks: an address of its own
//!                         on the host's Ethernet, so that no port is published
//!   infra-none            with nothing but lo
//!   infra-host            with the host's network
//!   infra-container       with another base's network, and all else its own
//!   web, client           containers that join a base
//! ```

use std::fs;
use std::path::Path;

use podkeel_netsetup::error::{Context, Error, Result};
use serde_json::{Value, json};

/// The network of a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    /// A list by this name, attached by the hooks; port 80 is the host's 8080.
    Published(&'static str),
    /// The same, and who wants port 80 asks the pod's own address.
    Attached(&'static str),
    /// A namespace of its own that nobody attaches.
    None,
    /// The host's.
    Host,
    /// That of the base whose pid replaces BASE.
    Container,
}

/// The bases: folder and network.
const BASES: [(&str, Network); 7] = [
    ("infra", Network::Published("bridge")),
    ("infra-custom-bridge", Network::Published("custom-bridge")),
    ("infra-ptp", Network::Published("ptp")),
    ("infra-macvlan", Network::Attached("macvlan")),
    ("infra-none", Network::None),
    ("infra-host", Network::Host),
    ("infra-container", Network::Container),
];

/// Asks over localhost until the web server answers, for five seconds.
const CLIENT: &str = "n=0; until /busybox printf 'GET / HTTP/1.0\\r\\n\\r\\n' | /busybox nc 127.0.0.1 80; \
do n=$((n + 1)); [ $n -lt 50 ] || exit 1; /busybox sleep 0.1; done";

/// Writes them all. A file that is there is replaced; root file systems aren't touched.
pub fn write(dir: &Path, netsetup: &Path) -> Result<i32> {
    let Some(hook) = netsetup.to_str().filter(|_| netsetup.is_absolute()) else {
        let what = format!("name {} as a hook", netsetup.display());
        return Err(Error::input(what, "a hook's path is absolute, and text"));
    };
    let bases = BASES.iter().map(|(name, network)| (*name, base(*network, hook)));
    let web = member(json!(["/busybox", "httpd", "-f", "-p", "80", "-h", "/www"]));
    let client = member(json!(["/busybox", "sh", "-c", CLIENT]));
    for (name, config) in bases.chain([("web", web), ("client", client)]) {
        let bundle = dir.join(name);
        let path = bundle.join("config.json");
        let text = format!("{config:#}\n");
        fs::create_dir_all(&bundle).ctx(|| format!("make {}", bundle.display()))?;
        fs::write(&path, text).ctx(|| format!("write {}", path.display()))?;
    }
    Ok(0)
}

/// pause as user 65535, without any right, in namespaces of its own.
fn base(network: Network, hook: &str) -> Value {
    let mut config = container(json!(["/pause"]));
    let own = |kind: &str| json!({"type": kind});
    let net = match network {
        Network::Published(_) | Network::Attached(_) | Network::None => Some(own("network")),
        Network::Host => None,
        Network::Container => Some(joined("network", "net")),
    };
    let kinds = [Some(own("pid")), net, Some(own("ipc")), Some(own("uts")), Some(own("mount"))];
    config["linux"]["namespaces"] = kinds.into_iter().flatten().collect();
    config["hostname"] = json!("base");
    if let Network::Published(list) | Network::Attached(list) = network {
        let call = json!([{"path": hook, "args": ["netsetup", "hook"], "timeout": 60}]);
        config["hooks"] = json!({"createRuntime": call.clone(), "poststop": call});
        config["annotations"]["dev.podkeel.network"] = json!(list);
        if matches!(network, Network::Published(_)) {
            config["annotations"]["dev.podkeel.publish"] = json!("8080:80");
        }
        let port = "dev.podkeel.sysctl.net.ipv4.ip_unprivileged_port_start";
        config["annotations"][port] = json!("0");
    }
    config
}

/// A container with the namespaces of a base, whose pid replaces BASE.
fn member(args: Value) -> Value {
    let mut config = container(args);
    config["linux"]["namespaces"] = json!([
        joined("pid", "pid"),
        joined("network", "net"),
        joined("ipc", "ipc"),
        joined("uts", "uts"),
        {"type": "mount"},
    ]);
    config
}

/// A namespace of BASE: its kind as OCI names it, its file as /proc names it.
fn joined(kind: &str, file: &str) -> Value {
    json!({"type": kind, "path": format!("/proc/BASE/ns/{file}")})
}

/// What all have in common: no right, nothing to write to, no device.
fn container(args: Value) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": true},
        "process": {
            "terminal": false,
            "user": {"uid": 65535, "gid": 65535},
            "args": args,
            "env": ["PATH=/"],
            "cwd": "/",
            "capabilities": {
                "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [],
            },
            "noNewPrivileges": true,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]},
        ],
        "linux": {
            "namespaces": [],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    })
}
