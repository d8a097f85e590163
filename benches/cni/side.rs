//! One side's world: namespaces of its own, in which one chain of plugins is called. It is
//! this program once more, asked and answering line by line.

use std::io::{BufRead, BufReader, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::plugin::{REFERENCE, call, install, sh};

/// The word that makes this program the inside of a world.
pub(crate) const INSIDE: &str = "inside";

/// How long a world is left alone before each call that is timed: the kernel takes apart
/// namespaces of earlier containers by and by, and either side would wait for that.
const SETTLE: Duration = Duration::from_millis(50);

/// A world, from outside. It ends with this value.
pub(crate) struct Side {
    child: Child,
    asked: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Side {
    /// Makes one: `reference/CHAIN` or `netsetup/CHAIN`.
    pub(crate) fn start(asked: &str) -> Side {
        let own = std::env::current_exe().expect("own path");
        let mut child = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--user", "--map-root-user"])
            .args(["--propagation", "private", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", "\"$@\"; exit $?", "world"])
            .arg(own)
            .args([INSIDE, asked])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut side = Side { asked: child.stdin.take(), child, answers };
        side.answer();
        side
    }

    /// Asks for something; the answer has to be waited for.
    pub(crate) fn ask(&mut self, what: &str) {
        let pipe = self.asked.as_mut().expect("open until the end");
        writeln!(pipe, "{what}").expect("a world that listens");
    }

    /// The figures that come back, ms.
    pub(crate) fn answer(&mut self) -> Vec<f64> {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        assert!(line.ends_with('\n'), "a world ended: what it said is above");
        line.split_whitespace().map(|word| word.parse().expect("a figure")).collect()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.asked = None;
        let _ = self.child.wait();
    }
}

/// The inside: answers until nobody asks any more.
pub(crate) fn serve(asked: &str) {
    let (side, chain) = asked.split_once('/').expect("side/chain");
    make_world();
    let dir = if side == "reference" { REFERENCE } else { "/run/cni" };
    let list = if chain == "podman" { podman() } else { plain() };
    let mut world = World { dir: dir.into(), list, containers: 0 };
    // One container stays: what containers share is there, as on any host in use.
    world.stay();
    println!();
    for line in stdin().lines() {
        let line = line.expect("a question");
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("round", _) => {
                let [add, del] = world.round();
                println!("{add} {del}");
            }
            ("version", _) => println!("{}", world.version()),
            ("others", number) => {
                (0..number.parse().expect("a number")).for_each(|_| world.stay());
                println!();
            }
            _ => panic!("{line}?"),
        }
    }
}

/// A host with an uplink, whose iptables drops what is forwarded: docker's way.
fn make_world() {
    sh("mount -t tmpfs none /run && mkdir -p /run/cni /var/lib/cni && \
        mount -t tmpfs none /var/lib/cni && \
        ip link set lo up && ip link add up0 type veth peer name up1 && \
        ip link set up0 up && ip link set up1 up && ip addr add 198.18.0.1/24 dev up0 && \
        ip route add default via 198.18.0.2 && iptables -P FORWARD DROP");
    install(Path::new("/run/cni"));
}

struct World {
    /// Where the plugins are.
    dir: PathBuf,
    /// What is called in turn.
    list: Vec<Value>,
    /// How many there were, gone or not.
    containers: usize,
}

impl World {
    /// A container that stays.
    fn stay(&mut self) {
        let container = self.container();
        container.call_all("ADD", &Value::Null);
    }

    /// How long ADD and DEL of one container take, ms.
    fn round(&mut self) -> [f64; 2] {
        let container = self.container();
        std::thread::sleep(SETTLE);
        let (add, result) = container.call_all("ADD", &Value::Null);
        std::thread::sleep(SETTLE);
        let (del, _) = container.call_all("DEL", &result);
        sh(&format!("ip netns del {}", container.name));
        [add, del]
    }

    fn version(&self) -> f64 {
        std::thread::sleep(SETTLE);
        let conf = json!({"cniVersion": "1.0.0", "type": "bridge"});
        ms(call(&self.dir, "bridge", "VERSION", "", &conf).0)
    }

    /// The next container, with a namespace and nothing in it.
    fn container(&mut self) -> Container<'_> {
        self.containers += 1;
        let name = format!("c{}", self.containers);
        sh(&format!("ip netns add {name}"));
        Container { port: 8000 + self.containers, name, world: self }
    }
}

struct Container<'a> {
    name: String,
    /// Its port on the host.
    port: usize,
    world: &'a World,
}

impl Container<'_> {
    /// The chain as libcni runs it: how long its calls took together, ms, and the last result.
    fn call_all(&self, verb: &str, prev: &Value) -> (f64, Value) {
        let World { dir, list, .. } = self.world;
        let mut order: Vec<&Value> = list.iter().collect();
        if verb == "DEL" {
            order.reverse();
        }
        let (mut took, mut last) = (0.0, prev.clone());
        for conf in order {
            let mut conf = conf.clone();
            if conf["type"] == "portmap" {
                let port = json!({"hostPort": self.port, "containerPort": 80, "protocol": "tcp"});
                conf["runtimeConfig"] = json!({"portMappings": [port]});
            }
            if !last.is_null() {
                conf["prevResult"] = last.clone();
            }
            let kind = conf["type"].as_str().expect("a type");
            let (time, answer) = call(dir, kind, verb, &self.name, &conf);
            took += ms(time);
            if verb == "ADD" {
                last = answer;
            }
        }
        (took, last)
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn plain() -> Vec<Value> {
    let ipam = json!({
        "type": "host-local",
        "ranges": [[{"subnet": "10.77.0.0/16"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    vec![
        json!({
            "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br-cni",
            "isGateway": true, "ipMasq": true, "ipam": ipam,
        }),
        json!({
            "cniVersion": "1.0.0", "name": "net", "type": "portmap",
            "capabilities": {"portMappings": true},
        }),
    ]
}

/// As podman 4.3 has it in memory.
fn podman() -> Vec<Value> {
    let ipam = json!({
        "type": "host-local",
        "ranges": [[{"gateway": "10.88.0.1", "subnet": "10.88.0.0/16"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    let version = "0.4.0";
    let name = "podman";
    vec![
        json!({
            "cniVersion": version, "name": name, "type": "bridge", "bridge": "cni-podman0",
            "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": ipam,
        }),
        json!({
            "cniVersion": version, "name": name, "type": "portmap",
            "capabilities": {"portMappings": true},
        }),
        json!({"cniVersion": version, "name": name, "type": "firewall", "backend": ""}),
        json!({"cniVersion": version, "name": name, "type": "tuning"}),
    ]
}
