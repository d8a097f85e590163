//! podman: the image as the infra container of its pods.

use std::fs;
use std::process::{Command, Stdio};

use super::bed::{NAME, Registry, at_once, busybox, done, fails, image, is_ours, ok, reaps, until};
use super::common::{Kind, cgroup, output, scratch, told, world};
use super::stock;

/// podman with its files below the scratch directory, for us and for shim. Without an image of
/// the infra container's, podman makes its own.
fn configure(infra: &str) {
    let dir = scratch().join("podman").display().to_string();
    fs::create_dir_all(&dir).expect("a folder");
    // Only root of the host may raise hard limits; podman's own default does.
    let containers = format!(
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\n\
         infra_image = \"{infra}\"\n[network]\nnetwork_backend = \"cni\"\n"
    );
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{dir}/root\"\nrunroot = \"{dir}/run\"\n"
    );
    fs::write(format!("{dir}/containers.conf"), containers).expect("containers.conf");
    fs::write(format!("{dir}/storage.conf"), storage).expect("storage.conf");
}

fn with_configuration(command: &mut Command) -> &mut Command {
    let dir = scratch().join("podman");
    command
        .env("CONTAINERS_CONF", dir.join("containers.conf"))
        .env("CONTAINERS_STORAGE_CONF", dir.join("storage.conf"))
}

/// podman with these words; what it printed. Its outputs are files: conmon would hold pipes.
#[track_caller]
fn podman(words: &str) -> String {
    let mut command = Command::new("sh");
    let [out, err] =
        ["out", "err"].map(|n| scratch().join(format!("podman.{n}")).display().to_string());
    command.args(["-c", &format!("podman {words} >{out} 2>{err}")]);
    let output = output(with_configuration(&mut command));
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    assert!(output.status.success(), "{} {}", told(words, &output), read(&err));
    read(&out).trim_end().to_owned()
}

fn infra_pid(pod: &str) -> String {
    let id = podman(&format!("pod inspect -f '{{{{.InfraContainerID}}}}' {pod}"));
    podman(&format!("inspect -f '{{{{.State.Pid}}}}' {id}"))
}

#[test]
#[ignore = "needs root"]
fn podman_takes_it_as_infra() {
    world(Kind::Root, || {
        configure(NAME);
        podman(&format!("import -q {} localhost/busybox:1", busybox()));
        // No service runs: its own client loads it.
        done(with_configuration(&mut image(&["load", "podman"])));
        let seen = podman(&format!(
            "image inspect -f '{{{{.Config.User}}}} {{{{.Config.Entrypoint}}}}' {NAME}"
        ));
        assert_eq!(seen, "65535:65535 [/pause]");
        let parent = cgroup("podman");
        podman(&format!(
            "pod create --name p --cgroup-parent {parent} --share net,ipc,uts,pid --network none \
             --infra-image {NAME}"
        ));
        podman(
            "run -d --pull=never --pod p --name app localhost/busybox:1 /bin/busybox sleep 1000",
        );
        let pid = infra_pid("p");
        is_ours(&pid);
        beside_stock(&parent, &pid);
        let seen = podman("exec app /bin/busybox ps");
        assert!(seen.contains("/pause"), "the base is process 1: {seen}");
        reaps(&pid, |script| drop(podman(&format!("exec app /bin/sh -c '{script}'"))));
        podman("rm -f -t 0 app");
        at_once("podman pod stop", || drop(podman("pod stop p")));
        podman("pod rm -f -t 0 p");
    });
}

/// A pod as podman makes it by itself, beside ours.
fn beside_stock(parent: &str, ours: &str) {
    configure("");
    podman(&format!("pod create --name stock --cgroup-parent {parent} --network none"));
    podman("pod start stock");
    let pid = infra_pid("stock");
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).expect("a process");
    assert_eq!(name.trim_end(), "catatonit");
    stock::is_larger("podman", "catatonit", &pid, ours);
    podman("pod rm -f -t 0 stock");
    configure(NAME);
}

/// A pod from a Kubernetes file, with the image that was pulled from a registry; and the image
/// loaded over podman's socket.
#[test]
#[ignore = "needs root"]
fn podman_plays_kube_with_it() {
    world(Kind::Root, || {
        let _registry = Registry::start("127.0.0.1:5000", "");
        let remote = "127.0.0.1:5000/keel/pause:1";
        ok(&["push", "--plain-http", remote]);
        configure(remote);
        podman(&format!("import -q {} localhost/busybox:1", busybox()));
        podman(&format!("pull -q --tls-verify=false {remote}"));
        let pod = scratch().join("pod.yaml");
        fs::write(&pod, POD).expect("a pod");
        podman(&format!("play kube --network none {}", pod.display()));
        let pid = infra_pid("kube");
        is_ours(&pid);
        let one = podman("exec kube-app /bin/busybox ps");
        assert!(one.contains("/pause"), "shareProcessNamespace: {one}");
        reaps(&pid, |script| drop(podman(&format!("exec kube-app /bin/sh -c '{script}'"))));
        podman("rm -f -t 0 kube-app");
        at_once("podman pod stop", || drop(podman("pod stop kube")));
        podman("pod rm -f -t 0 kube");
        socket();
    });
}

#[allow(clippy::zombie_processes, reason = "the world's end collects it")]
fn socket() {
    let socket = "/run/podman/podman.sock";
    fs::create_dir_all("/run/podman").expect("a folder");
    let mut service = Command::new("podman");
    service.args(["system", "service", "--time", "0", &format!("unix://{socket}")]);
    service.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    with_configuration(&mut service).spawn().expect("podman of Debian's package");
    assert!(until(|| std::os::unix::net::UnixStream::connect(socket).is_ok()), "no {socket}");
    // The podman on this PATH could not do it.
    ok(&["load", "podman", "-t", "localhost/by-socket:1"]);
    podman("image exists localhost/by-socket:1");
    let said = fails(2, &["load", "podman", "-t", "localhost/by-socket@sha256:1"]);
    assert!(said.contains("a digest is sha256:"), "{said}");
    let mut elsewhere = image(&["load", "podman"]);
    let said = super::bed::refused(2, elsewhere.env("CONTAINER_HOST", "ssh://far"));
    assert!(said.contains("only unix:// sockets"), "{said}");
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: kube
spec:
  shareProcessNamespace: true
  containers:
  - name: app
    image: localhost/busybox:1
    imagePullPolicy: Never
    command: [\"/bin/busybox\", \"sleep\", \"1000\"]
";
