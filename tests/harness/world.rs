//! A world hides the host, ends with its body, and never turns a failure into a pass.

use std::path::Path;
use std::process::{Command, Output};

use super::common::{Kind, cgroup, dirs, scratch, sh, sh_out, world};
use super::{fails, gone, runs};

/// Runs one test of this program anew, outside of any world.
fn rerun(program: &Path, test: &str, env: &[(&str, &str)], before: &[&str]) -> Output {
    let mut words: Vec<&str> = before.to_vec();
    words.push(program.to_str().expect("a path in UTF-8"));
    words.extend([test, "--exact", "--include-ignored"]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_remove("PODKEEL_TEST_WORLD").envs(env.iter().copied());
    command.output().expect("the test program runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// What a body of either kind may rely on.
fn usual_world() {
    assert_eq!(sh_out("ip -br link | awk '{print $1}'"), "lo");
    assert!(sh_out("ip link show lo").contains("LOOPBACK,UP"));
    assert_eq!(sh_out("cat /proc/1/comm"), "sh");
    assert!(
        ["host lock netns rootless", "lock netns", "lock netns rootless"]
            .iter()
            .any(|l| sh_out("ls -I scratch /run | xargs") == *l)
    );
    assert_eq!(sh_out("find /etc/cni /etc/podkeel /var/lib/cni -type f"), "");
    for dir in [dirs().run, dirs().leases] {
        assert!(!dir.exists(), "{} is left to the programs to make", dir.display());
    }
    assert!(scratch().is_dir() && dirs().conf.is_dir() && dirs().netns.is_dir());
    sh("nft add table inet probe && ip netns add probe");
    for place in ["/run", "/etc", "/var/lib", "/etc/cni", "/dev/shm"] {
        sh(&format!("echo x >{place}/podkeel-probe"));
    }
}

fn host_is_untouched() {
    for place in ["/run", "/etc", "/var/lib", "/etc/cni", "/dev/shm"] {
        assert!(!Path::new(place).join("podkeel-probe").exists(), "{place} of the host");
    }
    assert!(!Path::new("/run/netns/probe").exists());
}

#[test]
fn user_world_is_hermetic_twice() {
    for _ in 0..2 {
        world(Kind::User, || {
            usual_world();
            assert_ne!(dirs().run, Path::new("/run/podkeel"));
        });
        host_is_untouched();
    }
}

#[test]
#[ignore = "needs root"]
fn root_world_is_hermetic_and_keeps_cgroups() {
    world(Kind::Root, || {
        usual_world();
        assert_eq!(dirs().run, Path::new("/run/podkeel"));
        assert_eq!(sh_out("ls /sys/class/net"), "lo");
        let path = cgroup("probe/deep");
        sh(&format!(
            "for h in /sys/fs/cgroup/pids /sys/fs/cgroup; do [ -e $h/cgroup.procs ] || \
            continue; mkdir -p $h{path}; sleep 77123 >/dev/null 2>&1 & echo $! >$h{path}/cgroup.procs; done"
        ));
        println!("cgroup {path}");
    });
    host_is_untouched();
    let left = "ls -d /sys/fs/cgroup/podkeel-test-$PPID-*/probe /sys/fs/cgroup/*/podkeel-test-$PPID-*/probe";
    assert_eq!(sh_out(&format!("{left} 2>/dev/null; true")), "");
}

#[test]
fn processes_end_with_the_world() {
    world(Kind::User, || {
        sh("setsid sh -c 'sleep 77124 & sleep 77124' >/dev/null 2>&1 & sleep 0.1");
        assert!(runs("77124"));
    });
    assert!(gone("77124"));
}

#[test]
fn orphans_are_reaped_in_the_world() {
    world(Kind::User, || {
        sh("(sleep 0.05 &) ; (true &) ; sleep 0.3");
        assert_eq!(sh_out("ps -eo stat= | grep -c Z; true"), "0");
    });
}

#[test]
fn a_failing_body_fails_the_test() {
    let text = fails(|| world(Kind::User, || panic!("boom {}", 16 + 1)));
    assert!(text.contains("the User world failed") && text.contains("boom 17"), "{text}");
}

#[test]
fn a_body_that_leaves_early_fails_the_test() {
    let text = fails(|| world(Kind::User, || std::process::exit(0)));
    assert!(text.contains("left before the body's end"), "{text}");
}

#[test]
fn a_world_that_finds_no_test_fails_the_test() {
    let thread = std::thread::Builder::new().name("no_such_test".to_owned());
    let text = fails(|| {
        let outside = thread.spawn(|| world(Kind::User, || {})).expect("a thread");
        outside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(text.contains("no such test was found"), "{text}");
}

#[test]
fn may_hang() {
    world(Kind::User, || {
        if std::env::var_os("PODKEEL_HARNESS_HANG").is_some() {
            sh("sleep 77125");
        }
    });
}

#[test]
fn a_hanging_body_fails_the_test() {
    let program = std::env::current_exe().expect("/proc/self/exe");
    let env = [("PODKEEL_HARNESS_HANG", "1"), ("PODKEEL_TEST_TIMEOUT", "1")];
    let output = rerun(&program, "world::may_hang", &env, &[]);
    assert!(
        !output.status.success() && said(&output).contains("not done in time"),
        "{}",
        said(&output)
    );
    assert!(gone("77125"));
}

#[test]
#[ignore = "needs root"]
fn a_root_test_without_root_fails_and_says_why() {
    world(Kind::Root, || {
        // To where user nobody may read it.
        let program = scratch().join("harness");
        std::fs::copy(std::env::current_exe().expect("exe"), &program).expect("copy");
        let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let test = "world::root_world_is_hermetic_and_keeps_cgroups";
        let output = rerun(&program, test, &[], &nobody);
        assert!(!output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("needs root: run tests/run as root"), "{}", said(&output));
        // The user kind works without root.
        let output = rerun(&program, "world::may_hang", &[], &nobody);
        assert!(output.status.success(), "{}", said(&output));
    });
}

#[test]
#[ignore = "needs root"]
fn real_engines_run_in_a_root_world() {
    world(Kind::Root, || {
        let bundle = scratch().join("bundle");
        let dir = bundle.display();
        sh(&format!("mkdir -p {dir}/rootfs/bin && cp $(command -v busybox) {dir}/rootfs/bin/sh"));
        sh(&format!("cd {dir} && runc spec && mv config.json spec.json"));
        for engine in ["runc", "crun"] {
            let path = cgroup(engine);
            sh(&format!(
                "cd {dir} && jq '.process.terminal = false | .process.args = [\"sh\", \"-c\", \
                 \"echo in $$\"] | .linux.cgroupsPath = \"{path}\"' spec.json >config.json"
            ));
            let output = sh_out(&format!("cd {dir} && {engine} run probe-{engine} 2>&1"));
            assert_eq!(output, "in 1", "{engine}");
        }
    });
}
