//! containerd 1.6: `ctr run --cni`, and pods through CRI.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::bed::{
    BUSYBOX, PAUSE_IMAGE, PLUGINS, Podman, assert_as_before, closed, get, lay_network,
    nothing_left, only_our_plugins, page,
};
use super::common::dump::dump;
use super::common::traffic::tcp_server;
use super::common::{Kind, Ns, cgroup, neighbour, scratch, sh, sh_any, sh_out, world};
use super::cri::{Cri, Message, field, find, find_text, number};

/// Where ctr and CRI look for networks; in a world nothing else is there.
const NETWORKS: &str = "/etc/cni/net.d";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// A containerd, which dies with the world.
#[allow(clippy::zombie_processes, reason = "the world's end collects it")]
fn containerd() {
    let dir = scratch().display();
    // `opt` would write to /opt; scores of the kernel's memory killer can't be lowered here.
    let config = format!(
        "version = 2\nroot = \"{dir}/containerd\"\nstate = \"/run/containerd\"\n\
         [grpc]\naddress = \"{SOCKET}\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{dir}/opt\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{PAUSE_IMAGE}\"\n\
         restrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"{PLUGINS}\"\nconf_dir = \"{NETWORKS}\"\n"
    );
    let path = scratch().join("containerd.toml");
    fs::write(&path, config).expect("containerd.toml");
    let log = fs::File::create(scratch().join("containerd.log")).expect("a log");
    Command::new("containerd")
        .arg("--config")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("containerd of Debian's package");
    let up = || sh_any("ctr version").status.success();
    assert!(until(up), "containerd isn't up: {}", log_text());
}

fn log_text() -> String {
    fs::read_to_string(scratch().join("containerd.log")).unwrap_or_default()
}

fn until(check: impl Fn() -> bool) -> bool {
    (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        check()
    })
}

/// Plugins, network, containerd, and the images in its namespace `ns`.
fn start(ns: &str) {
    only_our_plugins();
    lay_network(Path::new(NETWORKS));
    let podman = Podman::new("none");
    containerd();
    for image in [BUSYBOX, PAUSE_IMAGE] {
        let tar = scratch().join("image.tar");
        podman.ok(&format!("save -q --format docker-archive -o {} {image}", tar.display()));
        sh(&format!("ctr -n {ns} images import {0} && rm {0}", tar.display()));
    }
}

/// `ctr run --rm --cni` in the foreground: it calls DEL with an empty CNI_NETNS.
#[test]
#[ignore = "needs root"]
fn ctr_run_cni() {
    world(Kind::Root, || {
        let far = neighbour("far", 0);
        start("default");
        let _far = tcp_server(&far.ns, "far", far.v4, 80);
        let before = dump(std::slice::from_ref(&far.ns));
        let script = format!("echo x | busybox nc {} 80; {}", far.v4, page("a", 80));
        let out = fs::File::create(scratch().join("ctr.out")).expect("a file");
        let mut ctr: Child = Command::new("ctr")
            .args(["run", "--rm", "--cni", "--cgroup", &cgroup("ctr"), BUSYBOX, "a"])
            .args(["/bin/busybox", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a file"))
            .stderr(out)
            .spawn()
            .expect("ctr of Debian's package");
        let said = || fs::read_to_string(scratch().join("ctr.out")).expect("its output");
        let leased = || {
            fs::read_dir("/var/lib/cni/networks/keel")
                .into_iter()
                .flatten()
                .flatten()
                .map(|f| f.file_name().to_string_lossy().into_owned())
                .find(|name| name.starts_with("10."))
        };
        assert!(until(|| leased().is_some()), "no lease: {}", said());
        let ip = leased().expect("a lease");
        assert_eq!(get(&Ns::host(), &ip), "a", "{}", said());
        // What it asked came from the host's address.
        assert!(said().starts_with(&format!("far {}:80 {}:", far.v4, far.host_v4)), "{}", said());
        sh("ctr task kill -s KILL a");
        let status = ctr.wait().expect("ctr ends");
        assert_eq!(status.code(), Some(137), "{}", said());
        nothing_left();
        assert_as_before(&before, &dump(&[far.ns]), &[]);
    });
}

/// What describes a pod to CRI.
fn pod(name: &str, ports: &[(u64, u64)]) -> Message {
    let uid = format!("uid of {name}");
    let metadata = [field(1, name), field(2, uid), field(3, "default")].concat();
    let ports = ports
        .iter()
        .flat_map(|(container, host)| field(5, [number(2, *container), number(3, *host)].concat()));
    let linux = field(1, cgroup("cri"));
    let logs = scratch().join("logs").display().to_string();
    [field(1, metadata), field(2, name), field(3, logs), ports.collect(), field(8, linux)].concat()
}

/// A container of busybox in that pod; started.
fn container(cri: &Cri, sandbox: &str, config: &[u8], name: &str, script: &str) -> String {
    let words = ["/bin/busybox", "sh", "-c", script].into_iter().flat_map(|word| field(3, word));
    let container = [
        field(1, field(1, name)),
        field(2, field(1, BUSYBOX)),
        words.collect(),
        field(11, format!("{name}.log")),
    ];
    let request = [field(1, sandbox), field(2, container.concat()), field(3, config)].concat();
    let id = find_text(&cri.call("CreateContainer", &request), 1);
    cri.call("StartContainer", &field(1, &id));
    id
}

fn exec(cri: &Cri, container: &str, script: &str) -> String {
    let words = ["/bin/busybox", "sh", "-c", script].into_iter().flat_map(|word| field(2, word));
    let request = [field(1, container), words.collect(), number(3, 10)].concat();
    let answer = cri.call("ExecSync", &request);
    assert_eq!(find_text(&answer, 3), "", "exit code of {script}: {}", find_text(&answer, 2));
    find_text(&answer, 1)
}

#[test]
#[ignore = "needs root"]
fn a_pod_through_cri() {
    world(Kind::Root, || {
        let far = neighbour("far", 0);
        start("k8s.io");
        let cri = Cri(SOCKET.into());
        // The runtime loads the network, and says so, before it takes pods.
        let ready = || {
            let status = find(&cri.call("Status", &[]), 1);
            !String::from_utf8_lossy(&status).contains("cni plugin not initialized")
        };
        assert!(until(ready), "{}", log_text());
        let before = dump(std::slice::from_ref(&far.ns));
        let config = pod("web", &[(80, 8080), (81, 8081)]);
        let sandbox = find_text(&cri.call("RunPodSandbox", &field(1, &config)), 1);
        let status = find(&cri.call("PodSandboxStatus", &field(1, &sandbox)), 1);
        let ip = find_text(&find(&status, 5), 1);
        assert!(ip.starts_with("10.90.0."), "{ip}: {}", log_text());
        // Our pause holds the pod.
        assert_ne!(sh_any("pgrep -x pause").stdout, b"");
        for (name, port) in [("one", 80), ("two", 81)] {
            container(&cri, &sandbox, &config, name, &page(name, port));
        }
        for (port, name) in [(8080, "one"), (8081, "two")] {
            assert_eq!(get(&far.ns, &format!("{}:{port}", far.host_v4)), name);
        }
        let third = container(&cri, &sandbox, &config, "three", "exec sleep 1000");
        let said =
            exec(&cri, &third, "busybox ip -4 -o addr; busybox nc 127.0.0.1 81 </dev/null; true");
        assert!(said.contains(&ip) && said.contains("127.0.0.1/8"), "{said}");
        // A second pod that wants a port of the first is refused by name.
        let other = pod("two", &[(80, 8080)]);
        let why = cri.any("RunPodSandbox", &field(1, other)).expect_err("the port is taken");
        assert!(why.contains("8080"), "{why}");
        cri.call("StopPodSandbox", &field(1, &sandbox));
        closed(&far.ns, (far.host_v4, 8080).into());
        nothing_left();
        // It calls DEL once more, with an empty CNI_NETNS.
        cri.call("RemovePodSandbox", &field(1, &sandbox));
        assert_eq!(sh_out("ctr -n k8s.io containers list -q"), "");
        assert_as_before(&before, &dump(&[far.ns]), &[]);
    });
}
