//! What it costs to join a pod and to start one, beside nsenter, runc, docker and podman,
//! in one run: `cargo bench --bench pod`. Needs root, nsenter, runc and busybox-static;
//! docker and podman are measured where they are installed.
//!
//! Every figure is the time from the start of the command to its end, as a caller has to
//! wait for it. All of it happens in network and mount namespaces of its own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SHIM: &str = env!("CARGO_BIN_EXE_shim");

/// Times that something quick, and something slow, is done.
const QUICK: usize = 300;
const SLOW: usize = 15;

const JOIN: &str = "--net=container:base --ipc=container:base --pid=container:base";

fn main() {
    if std::env::var_os("PODKEEL_BENCH_INSIDE").is_none() {
        let own = std::env::current_exe().expect("own path");
        let mut inside = Command::new("unshare");
        inside.args(["--net", "--mount", "--propagation", "private"]).arg(own);
        let done = inside.env("PODKEEL_BENCH_INSIDE", "1").status();
        std::process::exit(done.expect("unshare of util-linux").code().unwrap_or(1));
    }
    for dir in ["/run", "/var/lib/cni", "/etc/cni", "/opt/cni"] {
        let _ = fs::create_dir_all(dir);
        sh(&format!("mount -t tmpfs none {dir}"));
    }
    sh("ip link set lo up; sysctl -qw net.ipv4.ip_forward=1");
    joins();
    memory();
    starts();
    listing();
}

/// A short program in a pod that is there.
fn joins() {
    sh(&format!("{SHIM} run -d --name base --net none"));
    let pid = out(&format!("{SHIM} inspect base | jq .[0].pid"));
    let bundle = joined_bundle(&pid);
    let runc = format!("runc run --bundle {bundle} joined");
    let nsenter = format!("nsenter -t {pid} -n -i -p /bin/true");
    println!("a program of nothing in the net, ipc and pid namespace of a pod ({QUICK} times)");
    table(
        QUICK,
        1,
        &[
            ("/bin/true, nowhere", "/bin/true"),
            ("nsenter -n -i -p", &nsenter),
            ("shim join", &format!("{SHIM} join {JOIN} -- /bin/true")),
            ("shim join --mnt host", &format!("{SHIM} join {JOIN} --mnt host -- /bin/true")),
        ],
    );
    table(SLOW, 0, &[("runc run of a bundle that joins", &runc)]);
    sh(&format!("{SHIM} rm -f base"));
}

/// What stays while a pod lives.
fn memory() {
    let shim = Command::new(SHIM)
        .args(["run", "--name", "front", "--net", "none"])
        .stdin(Stdio::null())
        .spawn()
        .expect("shim");
    sh(&format!("{SHIM} run -d --name base --net none"));
    sh(&format!("{SHIM} join {JOIN} -d --name app -- sleep 1000"));
    let field = |name: &str, field: &str| out(&format!("{SHIM} inspect {name} | jq .[0].{field}"));
    println!("\nmemory, kB                        resident  private");
    for (what, pid) in [
        ("base (pause)", field("base", "pid")),
        ("monitor of a detached member", field("app", "monitor.pid")),
        ("shim in the foreground", shim.id().to_string()),
    ] {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
        let sum = |names: &[&str]| -> u64 {
            let lines = rollup.lines().filter(|l| names.iter().any(|n| l.starts_with(n)));
            lines.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
        };
        println!("{what:<34}{:>8}{:>9}", sum(&["Rss:"]), sum(&["Private_"]));
    }
    sh(&format!("{SHIM} rm -f base front"));
    drop(shim.wait_with_output());
}

/// A pod with a network and a published port, up and away.
fn starts() {
    println!("\na pod with bridge and port, up and away ({SLOW} times)");
    let run = format!("{SHIM} run -d --name pod -p 8081:80");
    // One stays, so that the bridge and the table are there, as on any busy host.
    sh(&format!("{SHIM} run -d --name stay"));
    up_and_away("shim", &run, &format!("{SHIM} rm -f pod"));
    sh(&format!("{SHIM} rm -f stay"));
    let scratch = std::env::temp_dir().join(format!("podkeel-bench-{}", std::process::id()));
    fs::create_dir_all(scratch.join("rootfs")).expect("a scratch directory");
    let dir = scratch.display().to_string();
    sh(&format!("cp /bin/busybox {dir}/rootfs/ && tar -C {dir}/rootfs -cf {dir}/image.tar ."));
    podman(&dir);
    docker(&dir);
    let _ = fs::remove_dir_all(&scratch);
}

fn up_and_away(name: &str, up: &str, away: &str) {
    let (mut ups, mut aways) = (Vec::new(), Vec::new());
    for _ in 0..SLOW {
        ups.push(time(up));
        aways.push(time(away));
    }
    println!("{name:<34}{:>9.2} ms up {:>9.2} ms away", ms(median(ups)), ms(median(aways)));
}

fn podman(dir: &str) {
    if !there("podman") {
        return println!("podman                            is not installed");
    }
    let conf = "[containers]\ndefault_ulimits=[\"nofile=20000:20000\",\"nproc=32768:32768\"]\n\
                [engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\nruntime=\"runc\"\n";
    fs::write(format!("{dir}/containers.conf"), conf).expect("containers.conf");
    let podman = format!(
        "CONTAINERS_CONF={dir}/containers.conf podman --root {dir}/p --runroot {dir}/pr --tmpdir {dir}/pt"
    );
    sh(&format!("{podman} import -q {dir}/image.tar localhost/bench:1"));
    let run = "run -d --pull=never --name pod -p 8082:80 localhost/bench:1 /busybox sleep 1000";
    up_and_away("podman", &format!("{podman} {run}"), &format!("{podman} rm -f -t 0 pod"));
}

fn docker(dir: &str) {
    if !there("dockerd") {
        return println!("docker                            is not installed");
    }
    let flags = format!("--data-root {dir}/d --exec-root {dir}/de -p {dir}/pid");
    let log = fs::File::create(format!("{dir}/log")).expect("a log");
    let mut daemon: Child = Command::new("sh")
        .args(["-c", &format!("exec dockerd --host unix://{dir}/docker.sock {flags}")])
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("dockerd");
    let docker = format!("docker --host unix://{dir}/docker.sock");
    let ready = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        quiet(&format!("{docker} info"))
    });
    if ready {
        sh(&format!("{docker} import {dir}/image.tar bench:1"));
        let run = "run -d --name pod -p 8083:80 bench:1 /busybox sleep 1000";
        up_and_away("docker", &format!("{docker} {run}"), &format!("{docker} rm -f pod"));
    } else {
        println!("docker                            its daemon does not start here");
    }
    let _ = quiet(&format!("kill {}", daemon.id()));
    let _ = daemon.wait();
}

/// `ps` with a thousand containers, which are records of ones that have ended.
fn listing() {
    sh(&format!("{SHIM} join -d --name one -- /bin/true"));
    sh(&format!("{SHIM} wait one >/dev/null"));
    let pods = Path::new("/run/podkeel/pods");
    for i in 0..1000 {
        let to = pods.join(format!("copy{i}"));
        fs::create_dir(&to).expect("a directory");
        for file in ["container.json", "exit.json"] {
            fs::copy(pods.join("one").join(file), to.join(file)).expect("a copy");
        }
    }
    let times = (0..SLOW).map(|_| time(&format!("{SHIM} ps")));
    println!("\nshim ps, 1,001 containers         {:>9.2} ms", ms(median(times.collect())));
}

/// A bundle that runs /busybox true in the namespaces of a process.
fn joined_bundle(pid: &str) -> String {
    let dir = std::env::temp_dir().join(format!("podkeel-bench-bundle-{}", std::process::id()));
    let dir = dir.display().to_string();
    sh(&format!("mkdir -p {dir}/rootfs && cp /bin/busybox {dir}/rootfs/"));
    let web = concat!(env!("CARGO_MANIFEST_DIR"), "/oci-bundles/web/config.json");
    let edit = r#".process.args = ["/busybox", "true"]"#;
    sh(&format!("jq '{edit}' {web} | sed 's:/proc/BASE/:/proc/{pid}/:g' >{dir}/config.json"));
    dir
}

/// Medians, beside the one with this index.
fn table(times: usize, base: usize, rows: &[(&str, &str)]) {
    // In turns, so that whatever else the machine does meets all of them.
    let mut all: Vec<Vec<Duration>> = rows.iter().map(|_| Vec::new()).collect();
    for _ in 0..times {
        for ((_, command), times) in rows.iter().zip(&mut all) {
            times.push(time(command));
        }
    }
    let medians: Vec<f64> = all.into_iter().map(|times| ms(median(times))).collect();
    for ((name, _), ms) in rows.iter().zip(&medians) {
        println!("{name:<34}{ms:>9.3} ms  x{:.2}", ms / medians[base]);
    }
}

/// Runs a command of plain words, with no shell around it if it needs none.
fn time(command: &str) -> Duration {
    let shell = command.contains(['=', '\'', '|', '>']) && !command.starts_with(SHIM);
    let words: Vec<&str> = match shell {
        true => vec!["sh", "-c", command],
        false => command.split(' ').collect(),
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    let began = Instant::now();
    let done = command.status().expect("it starts");
    let took = began.elapsed();
    assert!(done.success(), "{words:?}: {done}");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn there(program: &str) -> bool {
    quiet(&format!("command -v {program}"))
}

fn quiet(command: &str) -> bool {
    let mut done = Command::new("sh");
    done.args(["-c", command]).stdout(Stdio::null()).stderr(Stdio::null());
    done.status().is_ok_and(|status| status.success())
}

fn sh(command: &str) {
    let done = Command::new("sh").args(["-c", command]).stdout(Stdio::null()).status();
    assert!(done.is_ok_and(|status| status.success()), "{command}");
}

fn out(command: &str) -> String {
    let done = Command::new("sh").args(["-c", command]).output().expect("sh");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}
