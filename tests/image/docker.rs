//! docker: the image loaded over its socket and pulled from a registry, as a base that
//! containers join.

use std::fs;
use std::process::{Command, Stdio};

use super::bed::{NAME, PAGE, Registry, at_once, busybox, fails, is_ours, ok, reaps, until};
use super::common::{Kind, cgroup, scratch, sh, sh_any, sh_out, world};
use super::stock;

/// A dockerd, which dies with the world.
#[allow(clippy::zombie_processes, reason = "the world's end collects it")]
fn dockerd() {
    let dir = scratch().join("docker").display().to_string();
    fs::create_dir_all(&dir).expect("a folder");
    let log = fs::File::create(format!("{dir}/log")).expect("a log");
    Command::new("dockerd")
        .args(["--host", "unix:///var/run/docker.sock", "--data-root", &format!("{dir}/root")])
        .args(["--exec-root", &format!("{dir}/exec"), "--pidfile", &format!("{dir}/pid")])
        .args(["--storage-driver", "overlay2", "--cgroup-parent", &cgroup("docker")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("dockerd of Debian's package");
    let up = || sh_any("docker version").status.success();
    assert!(until(up), "{}", fs::read_to_string(format!("{dir}/log")).unwrap_or_default());
}

/// A base of this image, what joins it, and its end.
fn is_a_base(image: &str) {
    sh(&format!("docker run -d --name base --ipc=shareable -p 8080:80 {image}"));
    let pid = sh_out("docker inspect -f '{{.State.Pid}}' base");
    is_ours(&pid);
    let join = "--net=container:base --ipc=container:base --pid=container:base";
    sh(&format!("docker run -d --name app {join} busybox:1 sh -c '{PAGE}'"));
    sh(
        "curl --silent --fail --retry 20 --retry-delay 0 --retry-all-errors http://127.0.0.1:8080/ | grep -x keel",
    );
    assert!(sh_out("docker exec app busybox ps").contains("1 65535"), "the base is process 1");
    reaps(&pid, |script| drop(sh(&format!("docker exec app sh -c '{script}'"))));
    at_once("docker stop", || drop(sh("docker stop base")));
    assert_eq!(sh_out("docker inspect -f '{{.State.ExitCode}}' base"), "0");
    assert!(sh_out("docker logs base 2>&1").contains("Shutting down, got signal: Terminated"));
    sh("docker rm -f app base");
}

/// Ours and what stands in for Kubernetes' pause, side by side.
fn beside_stock() {
    stock::load("docker", &[]);
    let [ours, theirs] = [NAME, stock::STAND_IN].map(|name| {
        let id = sh_out(&format!("docker run -d {name}"));
        (sh_out(&format!("docker inspect -f '{{{{.State.Pid}}}}' {id}")), id)
    });
    stock::is_larger("docker", "a static C program", &theirs.0, &ours.0);
    sh(&format!("docker rm -f {} {}", ours.1, theirs.1));
}

#[test]
#[ignore = "needs root"]
fn docker_takes_it_as_a_base() {
    world(Kind::Root, || {
        let said = fails(5, &["load", "docker"]);
        assert!(said.contains("/var/run/docker.sock: No such file"), "{said}");
        assert!(said.contains("does docker run"), "{said}");
        dockerd();
        sh(&format!("docker import --change 'CMD [\"/bin/sh\"]' {} busybox:1", busybox()));
        ok(&["load", "docker"]);
        let config =
            "'{{.Config.User}} {{json .Config.Entrypoint}} {{.Architecture}} {{.Created}}'";
        let seen = sh_out(&format!("docker image inspect -f {config} {NAME}"));
        let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        assert_eq!(seen, format!("65535:65535 [\"/pause\"] {own} 1970-01-01T00:00:00Z"));
        is_a_base(NAME);
        beside_stock();

        let _registry = Registry::start("127.0.0.1:5000", "");
        let remote = "127.0.0.1:5000/keel/pause:1";
        ok(&["push", "--plain-http", remote]);
        let pulled = sh_out(&format!(
            "docker pull -q {remote} && docker image inspect -f '{{{{index .RepoDigests 0}}}}' {remote}"
        ));
        let digest = ok(&["inspect", "--plain-http", remote]);
        let digest = super::bed::json(&digest)[0]["digest"].as_str().expect("a digest").to_owned();
        assert!(pulled.ends_with(&digest), "{pulled} {digest}");
        is_a_base(remote);
    });
}
