//! What networks carry: TCP by iperf3, ping, between two pods of each, in turns.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::plugin::{netsetup, sh};
use crate::quiet;

/// Figures that a median is of, unless a number is said.
pub(crate) const ROUNDS: usize = 15;

/// Two pods that reach each other, and the server in the second.
struct Wire {
    name: &'static str,
    /// Files of the namespaces.
    from: String,
    to: String,
    /// The second one's address.
    ip: String,
    server: Child,
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Wire {
    fn new(name: &'static str, from: &str, to: &str) -> Wire {
        let text = out(&format!("nsenter --net={to} ip -4 -j addr show dev eth0"));
        let addrs: Value = serde_json::from_str(&text).expect("JSON");
        let ip = addrs[0]["addr_info"][0]["local"].as_str().expect("an address").to_owned();
        let mut server = Command::new("nsenter");
        server.arg(format!("--net={to}")).args(["iperf3", "--server"]).stdout(Stdio::null());
        let server = server.spawn().expect("iperf3");
        let wire = Wire { name, from: from.into(), to: to.into(), ip, server };
        let listens = format!("nsenter --net={} ss -ltn | grep -q :5201", wire.to);
        assert!(until(&listens) && until(&wire.inside("ping -c 1 -W 1")), "{name} carries nothing");
        wire
    }

    /// A command in the first pod, with the second one's address behind it.
    fn inside(&self, command: &str) -> String {
        format!("nsenter --net={} {command} {}", self.from, self.ip)
    }

    /// Gbit/s, as the receiver counts them.
    fn throughput(&self) -> f64 {
        let text = out(&self.inside("iperf3 --json --time 1 --client"));
        let report: Value = serde_json::from_str(&text).expect("JSON");
        report["end"]["sum_received"]["bits_per_second"].as_f64().expect("a figure") / 1e9
    }

    /// Microseconds there and back, the average of 200.
    fn latency(&self) -> f64 {
        let text = out(&self.inside("ping -q -c 200 -i 0.002"));
        let rtt = text.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "));
        let average = rtt.and_then(|rtt| rtt.split('/').nth(1)).expect("an average");
        average.parse::<f64>().expect("a figure") * 1e3
    }
}

/// Measures all networks that can be had here.
pub(crate) fn all(rounds: usize) {
    if !quiet("command -v iperf3") {
        return println!("\nthroughput: there is no iperf3 here");
    }
    let docker = Docker::start();
    let mut wires = vec![bridge(), ptp(), on("up0", "macvlan")];
    match quiet("ip link add probe link up2 type ipvlan && ip link del probe") {
        true => wires.push(on("up2", "ipvlan")),
        false => println!("\nipvlan: this kernel has no such link"),
    }
    wires.push(vxlan());
    match &docker {
        Some(docker) => wires.push(docker.wire()),
        None => println!("\ndocker: there is none here, or its daemon does not start"),
    }
    let mut figures: Vec<[Vec<f64>; 2]> = wires.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for (wire, [rates, times]) in wires.iter().zip(&mut figures) {
            rates.push(wire.throughput());
            times.push(wire.latency());
        }
    }
    let figures: Vec<[f64; 2]> = figures.into_iter().map(|f| f.map(middle)).collect();
    let (base, of) = match &docker {
        Some(_) => (figures[figures.len() - 1], "docker"),
        None => (figures[0], "bridge"),
    };
    println!("\nbetween two pods, medians of {rounds}; the last columns: times {of}'s");
    println!("{:10} {:>8} {:>9} {:>12} {:>9}", "", "Gbit/s", "ping, us", "throughput", "ping");
    for (wire, [rate, time]) in wires.iter().zip(figures) {
        let [rates, times] = base;
        let (name, more, less) = (wire.name, rate / rates, time / times);
        println!("{name:10} {rate:8.1} {time:9.1} {more:11.2}x {less:8.2}x");
    }
}

/// Lays down a list and attaches two pods to it; their namespaces' files.
fn attached(name: &str, plugin: &Value) -> [String; 2] {
    let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": [plugin]});
    fs::write(format!("/run/lists/{name}.conflist"), list.to_string()).expect("a list");
    [1, 2].map(|n| {
        let pod = format!("{name}-pod{n}");
        let path = format!("/run/netns/{pod}");
        sh(&format!(
            "ip netns add {pod} && {} add /run/lists/{name}.conflist --netns {path} >/run/said",
            netsetup().display()
        ));
        path
    })
}

fn ranges(subnet: &str) -> Value {
    json!({"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]})
}

fn bridge() -> Wire {
    let plugin = json!({"type": "bridge", "bridge": "wire0", "isGateway": true, "ipMasq": true,
                        "ipam": ranges("10.81.0.0/24")});
    let [from, to] = attached("bridge-wire", &plugin);
    Wire::new("bridge", &from, &to)
}

fn ptp() -> Wire {
    let plugin = json!({"type": "ptp", "ipMasq": true, "ipam": ranges("10.82.0.0/24")});
    let [from, to] = attached("ptp-wire", &plugin);
    Wire::new("ptp", &from, &to)
}

/// On one Ethernet of the host, which the pods needn't leave.
fn on(master: &str, kind: &'static str) -> Wire {
    let subnet = if kind == "macvlan" { "10.83.0.0/24" } else { "10.84.0.0/24" };
    let plugin = json!({"type": kind, "master": master, "ipam": ranges(subnet)});
    let [from, to] = attached(&format!("{kind}-wire"), &plugin);
    Wire::new(kind, &from, &to)
}

/// Two namespaces that play hosts, on one cable.
fn vxlan() -> Wire {
    let remotes: Vec<Value> = (0..2)
        .map(|i| json!({"host": format!("192.0.2.{}", i + 1), "subnets": [format!("10.85.{i}.0/24")]}))
        .collect();
    sh("ip netns add host0 && ip netns add host1 && \
        ip link add cable netns host0 type veth peer name cable netns host1");
    let pods = [0, 1].map(|i| {
        let (host, pod) = (format!("host{i}"), format!("/run/netns/vxlan-pod{i}"));
        let own = ranges(&format!("10.85.{i}.0/24"));
        let plugin = json!({"type": "vxlan", "id": 42, "remotes": remotes,
                            "isDefaultGateway": true, "ipMasq": true, "ipam": own});
        let list = json!({"cniVersion": "1.0.0", "name": "vxlan-wire", "plugins": [plugin]});
        fs::write(format!("/run/lists/{host}.conflist"), list.to_string()).expect("a list");
        sh(&format!(
            "ip -n {host} link set cable up && ip -n {host} addr add 192.0.2.{}/24 dev cable && \
             ip netns add vxlan-pod{i} && PODKEEL_RUN_DIR=/run/{host} PODKEEL_LEASE_DIR=/run/{host}/leases \
             ip netns exec {host} {} add /run/lists/{host}.conflist --netns {pod} >/run/said",
            i + 1,
            netsetup().display()
        ));
        pod
    });
    Wire::new("vxlan", &pods[0], &pods[1])
}

/// A dockerd in a namespace of its own, for it changes what is forwarded in there.
struct Docker {
    daemon: Child,
    client: String,
    dir: String,
}

impl Docker {
    fn start() -> Option<Docker> {
        if !quiet("command -v dockerd") {
            return None;
        }
        let dir = std::env::temp_dir().join(format!("podkeel-bench-{}", std::process::id()));
        let dir = dir.display().to_string();
        fs::create_dir_all(&dir).expect("a scratch directory");
        let log = File::create(format!("{dir}/log")).expect("a log");
        let client = "docker --host unix:///run/docker-bench.sock".to_owned();
        let flags = format!("--data-root {dir}/d --exec-root {dir}/de -p {dir}/pid");
        let script =
            format!("ip link set lo up; exec dockerd --host unix:///run/docker-bench.sock {flags}");
        let daemon = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "sh", "-c", &script])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("unshare");
        let docker = Docker { daemon, client, dir };
        until(&format!("{} info", docker.client)).then_some(docker)
    }

    /// Two containers on its bridge.
    fn wire(&self) -> Wire {
        let Docker { client, dir, .. } = self;
        sh(&format!(
            "mkdir {dir}/rootfs && cp /bin/busybox {dir}/rootfs/ && \
             tar -C {dir}/rootfs -c . | {client} import - bench:1 >/run/said"
        ));
        let [from, to] = ["one", "two"].map(|name| {
            sh(&format!("{client} run -d --name {name} bench:1 /busybox sleep 10000 >/run/said"));
            let pid = out(&format!("{client} inspect -f '{{{{.State.Pid}}}}' {name}"));
            format!("/proc/{}/ns/net", pid.trim())
        });
        Wire::new("docker", &from, &to)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = quiet(&format!("{} rm -f one two", self.client));
        let _ = quiet(&format!("kill {}", self.daemon.id()));
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Tries until a command succeeds, for at most a minute: an emulated CPU takes its time to start
/// a docker.
fn until(command: &str) -> bool {
    (0..600).any(|_| {
        let done = quiet(command);
        if !done {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        done
    })
}

fn out(command: &str) -> String {
    let done = Command::new("sh").args(["-c", command]).stderr(Stdio::inherit()).output();
    let done = done.expect("sh");
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stdout));
    String::from_utf8_lossy(&done.stdout).into_owned()
}
