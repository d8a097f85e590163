//! netsetup as CNI plugins beside the reference plugins, called as a runtime calls them,
//! one process per plugin: `cargo bench --bench cni [-- OTHERS]`.
//!
//! ```text
//! bridge + portmap   host-local, ipMasq, one port
//! podman             its default network: bridge, portmap, firewall, tuning
//! ```
//!
//! ADD and DEL of one container alone, and beside others (400, or as many as are said)
//! that the same plugins have made. Needs root, or a user namespace, and Debian's
//! containernetworking-plugins; nothing of the host is touched.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Calls that a median is of.
const ROUNDS: usize = 25;
const OTHERS: usize = 400;
const REFERENCE: &str = "/usr/lib/cni";
const NETSETUP: &str = env!("CARGO_BIN_EXE_netsetup");
const INSIDE: &str = "PODKEEL_BENCH_INSIDE";
const CHAINS: [&str; 2] = ["bridge + portmap", "podman"];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let others = words.first().map_or(OTHERS, |word| word.parse().expect("how many others"));
    match std::env::var(INSIDE) {
        Ok(asked) => inside(&asked, others),
        Err(_) => outside(others),
    }
}

/// Each side and chain has a world of its own.
fn outside(others: usize) {
    println!("medians of {ROUNDS}, ms{:18}ADD 0   ADD {others}     DEL 0   DEL {others}", "");
    for chain in CHAINS {
        let [theirs, ours] = ["reference", "netsetup"].map(|side| {
            let figures = world(&format!("{side}/{chain}"), others);
            let [add, add_more, del, del_more] = figures[..] else { panic!("four figures") };
            println!("{chain:17} {side:10} {add:8.2}  {add_more:8.2}  {del:8.2}  {del_more:8.2}");
            figures
        });
        let times: Vec<f64> = theirs.iter().zip(&ours).map(|(their, our)| their / our).collect();
        println!(
            "{chain:17} {:10} {:7.1}x  {:7.1}x  {:7.1}x  {:7.1}x",
            "faster", times[0], times[1], times[2], times[3]
        );
        println!(
            "{chain:17} growth     ADD {:.2} (reference {:.2}), DEL {:.2} (reference {:.2})",
            ours[1] / ours[0],
            theirs[1] / theirs[0],
            ours[3] / ours[2],
            theirs[3] / theirs[2]
        );
    }
    let [theirs, ours] =
        ["reference", "netsetup"].map(|side| world(&format!("{side}/VERSION"), 0)[0]);
    println!("VERSION           reference {theirs:.2}, netsetup {ours:.2}");
    let names = scratch("names");
    install(&names);
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let theirs: u64 = installed(&names).iter().map(|n| size(&Path::new(REFERENCE).join(n))).sum();
    println!(
        "files, bytes      reference {theirs} (those of our names), netsetup {}",
        size(Path::new(NETSETUP))
    );
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn install(dir: &Path) {
    let done = Command::new(NETSETUP).arg("install").arg(dir).output().expect("netsetup");
    assert!(done.status.success(), "netsetup install");
}

fn installed(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Runs this program once more, in namespaces of its own.
fn world(asked: &str, others: usize) -> Vec<f64> {
    let own = std::env::current_exe().expect("own path");
    let flags = [
        "--net",
        "--mount",
        "--pid",
        "--user",
        "--map-root-user",
        "--propagation",
        "private",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    let done = Command::new("unshare")
        .args(flags)
        .args(["sh", "-c", "\"$@\"; exit $?", "world"])
        .arg(own)
        .arg(others.to_string())
        .env(INSIDE, asked)
        .stderr(Stdio::inherit())
        .output()
        .expect("unshare of util-linux");
    assert!(done.status.success(), "{asked}: {}", done.status);
    let text = String::from_utf8(done.stdout).expect("figures");
    text.split_whitespace().map(|word| word.parse().expect("a figure")).collect()
}

/// One side, one chain.
fn inside(asked: &str, others: usize) {
    sh(
        "mount -t tmpfs none /run && mkdir -p /run/cni /var/lib/cni && mount -t tmpfs none /var/lib/cni && \
        ip link set lo up && ip link add up0 type veth peer name up1 && ip link set up0 up && \
        ip link set up1 up && ip addr add 198.18.0.1/24 dev up0 && ip route add default via 198.18.0.2 && \
        { iptables -P FORWARD DROP || exit 1; }",
    );
    let (side, chain) = asked.split_once('/').expect("side/chain");
    let dir =
        if side == "reference" { PathBuf::from(REFERENCE) } else { PathBuf::from("/run/cni") };
    install(Path::new("/run/cni"));
    if chain == "VERSION" {
        let conf = json!({"cniVersion": "1.0.0"});
        println!(
            "{}",
            median(
                (0..4 * ROUNDS)
                    .map(|_| timed(|| call(&dir, "bridge", "VERSION", "x", &conf)).0)
                    .collect()
            )
        );
        return;
    }
    let list = if chain == "podman" { podman() } else { plain() };
    let [add, del] = rounds(&dir, &list, 0);
    for other in 0..others {
        let name = format!("other{other}");
        sh(&format!("ip netns add {name}"));
        all(&dir, &list, "ADD", &name, &Value::Null, 20000 + other);
    }
    let [add_more, del_more] = rounds(&dir, &list, 1);
    println!("{add} {add_more} {del} {del_more}");
}

/// Medians of ADD and DEL of the whole chain, ms. One container stays, so that what
/// containers share is there, as on any host in use.
fn rounds(dir: &Path, list: &[Value], turn: usize) -> [f64; 2] {
    let (mut adds, mut dels) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let name = format!("pod{turn}n{round}");
        sh(&format!("ip netns add {name}"));
        let (add, result) =
            timed(|| all(dir, list, "ADD", &name, &Value::Null, 8000 + 1000 * turn + round));
        if round == 0 && turn == 0 {
            continue;
        }
        let (del, _) = timed(|| all(dir, list, "DEL", &name, &result, 8000 + 1000 * turn + round));
        sh(&format!("ip netns del {name}"));
        adds.push(add);
        dels.push(del);
    }
    [median(adds), median(dels)]
}

fn timed<T>(job: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let done = job();
    (began.elapsed(), done)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// A chain as libcni runs it. Returns the last result.
fn all(dir: &Path, list: &[Value], verb: &str, name: &str, prev: &Value, port: usize) -> Value {
    let mut order: Vec<&Value> = list.iter().collect();
    if verb == "DEL" {
        order.reverse();
    }
    let mut last = prev.clone();
    for conf in order {
        let mut conf = conf.clone();
        if conf["type"] == "portmap" {
            conf["runtimeConfig"] = json!({"portMappings": [{"hostPort": port, "containerPort": 80, "protocol": "tcp"}]});
        }
        if !last.is_null() {
            conf["prevResult"] = last.clone();
        }
        let kind = conf["type"].as_str().expect("a type").to_owned();
        let answer = call(dir, &kind, verb, name, &conf);
        if verb == "ADD" {
            last = answer;
        }
    }
    last
}

fn call(dir: &Path, kind: &str, verb: &str, name: &str, conf: &Value) -> Value {
    let mut child = Command::new(dir.join(kind))
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", name)
        .env("CNI_NETNS", format!("/run/netns/{name}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_ARGS", "")
        .env("CNI_PATH", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a plugin");
    let mut stdin = child.stdin.take().expect("a pipe");
    // VERSION of the reference reads none of it.
    let _ = stdin.write_all(conf.to_string().as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("an answer");
    assert!(output.status.success(), "{kind} {verb}: {}", String::from_utf8_lossy(&output.stdout));
    if output.stdout.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn sh(script: &str) {
    let done = Command::new("sh").args(["-c", script]).status().expect("sh");
    assert!(done.success(), "{script}");
}

fn plain() -> Vec<Value> {
    vec![
        json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br-cni", "isGateway": true,
               "ipMasq": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/16"}]],
                                        "routes": [{"dst": "0.0.0.0/0"}]}}),
        json!({"cniVersion": "1.0.0", "name": "net", "type": "portmap", "capabilities": {"portMappings": true}}),
    ]
}

/// As podman 4.3 has it in memory.
fn podman() -> Vec<Value> {
    vec![
        json!({"cniVersion": "0.4.0", "name": "podman", "type": "bridge", "bridge": "cni-podman0", "isGateway": true,
               "ipMasq": true, "hairpinMode": true,
               "ipam": {"type": "host-local", "ranges": [[{"gateway": "10.88.0.1", "subnet": "10.88.0.0/16"}]],
                        "routes": [{"dst": "0.0.0.0/0"}]}}),
        json!({"cniVersion": "0.4.0", "name": "podman", "type": "portmap", "capabilities": {"portMappings": true}}),
        json!({"cniVersion": "0.4.0", "name": "podman", "type": "firewall", "backend": ""}),
        json!({"cniVersion": "0.4.0", "name": "podman", "type": "tuning"}),
    ]
}
