//! containerd: the image as the sandbox of its pods, through CRI, and run by ctr.

use std::fs;
use std::process::{Command, Stdio};

use super::bed::{NAME, Registry, at_once, busybox, fails, is_ours, ok, reaps, until};
use super::common::{Kind, cgroup, scratch, sh, sh_any, sh_out, world};
use super::cri::{Cri, Message, field, find_text, number};
use super::stock;

const SOCKET: &str = "/run/containerd/containerd.sock";
const BUSYBOX: &str = "localhost/busybox:1";
/// Pulled by containerd itself, when the first pod wants it.
const SANDBOX: &str = "127.0.0.1:5000/keel/pause:1";

/// A containerd, which dies with the world.
#[allow(clippy::zombie_processes, reason = "the world's end collects it")]
fn containerd() {
    let dir = scratch().display();
    // `opt` would write to /opt; scores of the kernel's memory killer can't be lowered here.
    let config = format!(
        "version = 2\nroot = \"{dir}/containerd\"\nstate = \"/run/containerd\"\n\
         [grpc]\naddress = \"{SOCKET}\"\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{dir}/opt\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{SANDBOX}\"\n\
         restrict_oom_score_adj = true\n"
    );
    let (path, log) = (scratch().join("containerd.toml"), scratch().join("containerd.log"));
    fs::write(&path, config).expect("containerd.toml");
    let file = fs::File::create(&log).expect("a log");
    Command::new("containerd")
        .arg("--config")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a log"))
        .stderr(file)
        .spawn()
        .expect("containerd of Debian's package");
    let up = || sh_any("ctr version").status.success();
    assert!(until(up), "{}", fs::read_to_string(log).unwrap_or_default());
}

/// A pod with the host's network: no plugin is needed for it.
fn pod() -> Message {
    let metadata = [field(1, "web"), field(2, "uid"), field(3, "default")].concat();
    let host_network = field(1, number(1, 2));
    let linux = [field(1, cgroup("cri")), field(2, host_network)].concat();
    let logs = scratch().join("logs").display().to_string();
    [field(1, metadata), field(3, logs), field(8, linux)].concat()
}

/// A container of busybox that sleeps, in that pod.
fn member(cri: &Cri, sandbox: &str, pod: &[u8]) -> String {
    let words = ["/bin/busybox", "sleep", "1000"].into_iter().flat_map(|word| field(3, word));
    let container = [
        field(1, field(1, "app")),
        field(2, field(1, BUSYBOX)),
        words.collect(),
        field(11, "app.log"),
    ];
    let request = [field(1, sandbox), field(2, container.concat()), field(3, pod)].concat();
    let id = find_text(&cri.call("CreateContainer", &request), 1);
    cri.call("StartContainer", &field(1, &id));
    id
}

#[test]
#[ignore = "needs root"]
fn containerd_takes_it_as_sandbox() {
    world(Kind::Root, || {
        let said = fails(1, &["load", "containerd"]);
        assert!(said.contains("ctr --namespace k8s.io images import -"), "{said}");
        let _registry = Registry::start("127.0.0.1:5000", "");
        ok(&["push", "--plain-http", SANDBOX]);
        containerd();
        // busybox, by an archive that podman's import would write; then ours, by shim.
        sh(&format!(
            "skopeo copy --quiet docker-archive:{} oci-archive:{d}/busybox.oci:{BUSYBOX} && \
             ctr -n k8s.io images import {d}/busybox.oci",
            busybox_archive(),
            d = scratch().display()
        ));
        through_cri();
        by_ctr();
    });
}

/// busybox as docker saves images: one layer, one configuration.
fn busybox_archive() -> String {
    let tar = busybox();
    let dir = scratch().join("busybox-image").display().to_string();
    sh(&format!(
        "mkdir {dir} && cd {dir} && cp {tar} layer.tar && \
         printf '{{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{{}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\"]}}}}' \
           $(dpkg --print-architecture 2>/dev/null || echo amd64) $(sha256sum <layer.tar | cut -c1-64) >config.json && \
         printf '[{{\"Config\":\"config.json\",\"RepoTags\":[\"{BUSYBOX}\"],\"Layers\":[\"layer.tar\"]}}]' >manifest.json && \
         tar -cf ../busybox-image.tar manifest.json config.json layer.tar"
    ));
    format!("{dir}.tar")
}

fn through_cri() {
    let cri = Cri(SOCKET.into());
    let pod = pod();
    let sandbox = find_text(&cri.call("RunPodSandbox", &field(1, &pod)), 1);
    let pid = sh_out(&format!("ctr -n k8s.io tasks ls | awk '$1 == \"{sandbox}\" {{print $2}}'"));
    is_ours(&pid);
    let app = member(&cri, &sandbox, &pod);
    reaps(&pid, |script| {
        let words = ["/bin/sh", "-c", script].into_iter().flat_map(|word| field(2, word));
        let request = [field(1, &app), words.collect(), number(3, 10)].concat();
        assert_eq!(find_text(&cri.call("ExecSync", &request), 3), "", "exit code");
    });
    cri.call("StopContainer", &[field(1, &app), number(2, 0)].concat());
    at_once("StopPodSandbox", || drop(cri.call("StopPodSandbox", &field(1, &sandbox))));
    cri.call("RemovePodSandbox", &field(1, &sandbox));
}

fn by_ctr() {
    let namespace = ["--namespace", "default"];
    ok(&[&["load", "containerd"][..], &namespace].concat());
    assert_eq!(sh_out("ctr images ls -q"), NAME);
    stock::load("containerd", &namespace);
    let [ours, theirs] = [("base", NAME), ("stock", stock::STAND_IN)].map(|(id, name)| {
        sh(&format!("ctr run --detach --cgroup {} {name} {id}", cgroup(id)));
        sh_out(&format!("ctr tasks ls | awk '$1 == \"{id}\" {{print $2}}'"))
    });
    is_ours(&ours);
    stock::is_larger("containerd", "a static C program", &theirs, &ours);
    at_once("ctr tasks kill -s TERM", || {
        sh("ctr tasks kill -s TERM base");
        let ended = || sh_out("ctr tasks ls").contains("STOPPED");
        assert!(until(ended), "{}", sh_out("ctr tasks ls"));
    });
    sh("ctr tasks kill -s KILL stock");
    let all_ended = || sh_out("ctr tasks ls").matches("STOPPED").count() == 2;
    assert!(until(all_ended), "{}", sh_out("ctr tasks ls"));
    sh("ctr containers rm base stock");
}
