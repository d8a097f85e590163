//! Each driver beside the reference plugin of its name, and what the networks carry beside
//! docker's bridge, in one run: `cargo bench --bench drivers [-- calls | wires | ROUNDS]`.
//!
//! ```text
//! calls   ADD and DEL, one plugin called as a runtime calls it, in turns
//! wires   TCP and ping between two pods of each network, in turns
//! ```
//!
//! Needs root, Debian's containernetworking-plugins for the first, iperf3 and docker for the
//! second. All of it happens in network and mount namespaces of its own. Kinds of links
//! that this kernel lacks are named and left out; `cargo test --test vm -- --ignored vm_bench`
//! runs it in a VM that has them all.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use plugin::{REFERENCE, call, install, sh};

#[path = "../common/plugin.rs"]
mod plugin;
mod wires;

/// Calls that a median is of, unless a number is said.
const ROUNDS: usize = 25;
/// How long the world is left alone before each call: containers live longer, and what an
/// earlier one left to the kernel, or to a process of its own, would be in this one's way.
const SETTLE: Duration = Duration::from_millis(120);
const INSIDE: &str = "PODKEEL_BENCH_INSIDE";
/// Our plugins, below the /run of the bench's own.
const OURS: &str = "/run/cni";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if std::env::var_os(INSIDE).is_none() {
        let own = std::env::current_exe().expect("own path");
        let mut inside = Command::new("unshare");
        inside.args(["--net", "--mount", "--propagation", "private"]).arg(own).args(words);
        let done = inside.env(INSIDE, "1").status();
        std::process::exit(done.expect("unshare of util-linux").code().unwrap_or(1));
    }
    sh("mount -t tmpfs none /run && mkdir -p /run/netns /run/lists /var/lib/cni && \
        mount -t tmpfs none /var/lib/cni && ip link set lo up && \
        ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up && \
        ip link add up2 type veth peer name up3 && ip link set up2 up && ip link set up3 up && \
        ip addr add 198.18.0.1/24 dev up0 && ip route add default via 198.18.0.2 && \
        echo 1 >/proc/sys/net/ipv4/ip_forward");
    let rounds: Option<usize> = words.iter().find_map(|word| word.parse().ok());
    let parts: Vec<&String> = words.iter().filter(|word| word.parse::<usize>().is_err()).collect();
    let asked = |word: &str| parts.is_empty() || parts.iter().any(|part| *part == word);
    if asked("calls") {
        calls(rounds.unwrap_or(ROUNDS));
    }
    if asked("wires") {
        wires::all(rounds.unwrap_or(wires::ROUNDS));
    }
}

/// A driver's configuration for one side, whose names and addresses are its own.
struct Driver {
    name: &'static str,
    /// What the kernel must be able to make: words of `ip link add probe`.
    needs: &'static str,
    /// Whose interface it works on, where it makes none: called before it, and not timed.
    behind: Option<&'static str>,
    conf: fn(side: usize) -> Value,
}

/// A driver that makes its interface.
const fn maker(name: &'static str, needs: &'static str, conf: fn(usize) -> Value) -> Driver {
    Driver { name, needs, behind: None, conf }
}

const DRIVERS: &[Driver] = &[
    maker(
        "bridge",
        "type bridge",
        |side| json!({"bridge": format!("br{side}"), "isGateway": true, "ipMasq": true}),
    ),
    maker("ptp", "type veth", |_| json!({"ipMasq": true})),
    maker("macvlan", "link up0 type macvlan", |_| json!({"master": "up0"})),
    // Not on macvlan's master: the kernel lets a link have one kind of both.
    maker("ipvlan", "link up2 type ipvlan", |_| json!({"master": "up2"})),
    maker("vlan", "link up0 type vlan id 7", |side| json!({"master": "up0", "vlanId": 100 + side})),
    maker("host-device", "type veth", |side| json!({"device": format!("lent{side}")})),
    maker("dummy", "type dummy", |_| json!({})),
    maker("tap", "type veth", |_| json!({})),
    Driver {
        name: "vrf",
        needs: "type vrf table 7",
        behind: Some("ptp"),
        conf: |_| json!({"vrfname": "blue"}),
    },
    maker("loopback", "type veth", |_| json!({})),
];

fn calls(rounds: usize) {
    install(Path::new(OURS));
    sh("for i in 0 1; do ip link add lent$i type veth peer name rest$i; done");
    println!("one plugin's call, medians of {rounds}, ms");
    println!(
        "{:12} {:>10} {:>10} {:>7}   {:>10} {:>10} {:>7}",
        "", "ADD", "reference", "ratio", "DEL", "reference", "ratio"
    );
    for driver in DRIVERS {
        println!("{:12} {}", driver.name, driver.row(rounds));
    }
}

impl Driver {
    fn row(&self, rounds: usize) -> String {
        let probe = format!("ip link add probe {0} && ip link del probe", self.needs);
        if !quiet(&probe) {
            return format!("this kernel has no such link (ip link add {})", self.needs);
        }
        let theirs = Path::new(REFERENCE);
        let sides: &[(usize, &Path)] = match theirs.join(self.name).exists() {
            true => &[(0, Path::new(OURS)), (1, theirs)],
            false => &[(0, Path::new(OURS))],
        };
        let mut times = [const { [const { Vec::new() }; 2] }; 2];
        // The first of a side makes what the others share; one container stays.
        for round in 0..=rounds {
            for (side, dir) in sides {
                let [add, del] = self.once(*side, dir, round, round == 0 && self.shares());
                if round > 0 {
                    times[*side][0].push(add);
                    times[*side][1].push(del);
                }
            }
        }
        let [ours, theirs] =
            times.map(|side| side.map(|times| (!times.is_empty()).then(|| median(times))));
        let pair = |i: usize| match (ours[i], theirs[i]) {
            (Some(our), Some(their)) => format!("{our:10.2} {their:10.2} {:6.1}x", their / our),
            (Some(our), None) => format!("{our:10.2} {:>10} {:>7}", "none here", ""),
            _ => String::new(),
        };
        format!("{}   {}", pair(0), pair(1))
    }

    /// Addresses of its own, which nobody else's routes lead to.
    fn ipam(&self, side: usize) -> Value {
        let row = DRIVERS.iter().position(|driver| driver.name == self.name);
        let subnet = format!("10.{}.0.0/16", 100 + 2 * row.expect("a row") + side);
        json!({"type": "host-local", "ranges": [[{"subnet": subnet}]],
               "routes": [{"dst": "0.0.0.0/0"}]})
    }

    /// Whether a container may stay: a device can't be lent twice, nor a tag have two links.
    fn shares(&self) -> bool {
        !["host-device", "vlan"].contains(&self.name)
    }

    /// What one side calls a plugin with.
    fn conf(&self, side: usize, kind: &str, of: &Value) -> Value {
        let mut conf = of.clone();
        conf["cniVersion"] = "1.0.0".into();
        conf["name"] = format!("{}{side}", self.name).into();
        conf["type"] = kind.into();
        conf
    }

    fn once(&self, side: usize, dir: &Path, round: usize, stays: bool) -> [Duration; 2] {
        let name = format!("{}{side}n{round}", self.name);
        let mut conf = self.conf(side, self.name, &(self.conf)(side));
        sh(&format!("ip netns add {name}"));
        let first = self.behind.map(|kind| {
            let conf = self.conf(side, kind, &json!({"ipam": self.ipam(side)}));
            (kind, call(dir, kind, "ADD", &name, &conf).1, conf)
        });
        match &first {
            Some((_, result, _)) => conf["prevResult"] = result.clone(),
            None if self.name == "loopback" => {}
            None => conf["ipam"] = self.ipam(side),
        }
        std::thread::sleep(SETTLE);
        let (add, result) = call(dir, self.name, "ADD", &name, &conf);
        if stays {
            return [add, add];
        }
        conf["prevResult"] = result;
        std::thread::sleep(SETTLE);
        let (del, _) = call(dir, self.name, "DEL", &name, &conf);
        if let Some((kind, result, mut conf)) = first {
            conf["prevResult"] = result;
            call(dir, kind, "DEL", &name, &conf);
        }
        sh(&format!("ip netns del {name}"));
        [add, del]
    }
}

/// Whether a shell command succeeds.
fn quiet(command: &str) -> bool {
    let mut done = Command::new("sh");
    done.args(["-c", command]).stdout(Stdio::null()).stderr(Stdio::null());
    done.status().is_ok_and(|status| status.success())
}

/// Milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}
