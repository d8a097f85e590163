//! Network namespaces of a world: name them, make them, enter them.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Output;

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use super::{parsed, sh, sh_any, told};

/// A network namespace of the world, and the name that reports use for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ns {
    /// `host`, or the name it was made with.
    pub name: String,
    /// A file that opens to it.
    pub path: PathBuf,
}

impl Ns {
    /// The world's own, which plays the host.
    pub fn host() -> Self {
        // Of the main thread: it never enters another, whatever this thread does.
        Self::at("host", "/proc/self/ns/net")
    }

    /// The one that `ip netns` calls `name`.
    pub fn named(name: &str) -> Self {
        Self::at(name, Path::new("/run/netns").join(name))
    }

    /// The one that process `pid` is in now.
    pub fn of_pid(name: &str, pid: u32) -> Self {
        Self::at(name, format!("/proc/{pid}/ns/net"))
    }

    /// Any file that opens to one.
    pub fn at(name: &str, path: impl Into<PathBuf>) -> Self {
        Self { name: name.to_owned(), path: path.into() }
    }

    /// Runs a shell command in it and expects success, as [`sh`] does.
    #[track_caller]
    pub fn sh(&self, command: &str) -> Output {
        let output = in_netns(self, || sh_any(command));
        assert!(output.status.success(), "in {}: {}", self.name, told(command, &output));
        output
    }

    /// Runs a shell command in it and returns what it printed, without the last newline.
    #[track_caller]
    pub fn sh_out(&self, command: &str) -> String {
        String::from_utf8_lossy(&self.sh(command).stdout).trim_end().to_owned()
    }

    /// Runs a shell command in it and returns the JSON that it printed.
    #[track_caller]
    pub fn sh_json(&self, command: &str) -> Value {
        parsed(command, &self.sh(command))
    }

    /// Runs a shell command in it and leaves the judgement to the caller.
    pub fn sh_any(&self, command: &str) -> Output {
        in_netns(self, || sh_any(command))
    }
}

/// Runs `visit` on a thread that has entered `ns`, and returns what it returns.
///
/// Sockets opened by the visit stay in `ns` for life; processes started by it are
/// born there. The caller's thread never moves. A panic of the visit is passed on.
pub fn in_netns<T: Send>(ns: &Ns, visit: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        let file = File::open(&ns.path)
            .unwrap_or_else(|e| panic!("cannot open {} of {}: {e}", ns.path.display(), ns.name));
        setns(file, CloneFlags::CLONE_NEWNET)
            .unwrap_or_else(|e| panic!("cannot enter {}: {e}", ns.name));
        visit()
    };
    std::thread::scope(|scope| match scope.spawn(enter).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Makes a named network namespace with lo up, as `ip netns add` does.
pub fn ns_add(name: &str) -> Ns {
    sh(&format!(
        "ip netns add {name} && ip netns exec {name} sh -c \
         'echo 0 | tee /proc/sys/net/ipv6/conf/*/accept_dad >/dev/null' && \
         ip -n {name} link set lo up"
    ));
    Ns::named(name)
}

/// Removes a named network namespace.
pub fn ns_del(name: &str) {
    sh(&format!("ip netns del {name}"));
}

/// Another host, one cable away from the world's "host".
///
/// The cable is a veth pair; each end has a default route through the other where
/// there is room for one: only neighbour 0 is the host's default gateway, so link
/// `up0` is the host's uplink.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// The neighbour's namespace; its end of the cable is `eth0`.
    pub ns: Ns,
    /// The host's end of the cable: `up<n>`.
    pub link: String,
    /// The host's addresses on the cable: `198.18.<n>.1/24`, `2001:db8:18:<n>::1/64`.
    pub host_v4: Ipv4Addr,
    #[allow(missing_docs)]
    pub host_v6: Ipv6Addr,
    /// The neighbour's own: `198.18.<n>.2/24`, `2001:db8:18:<n>::2/64`.
    pub v4: Ipv4Addr,
    #[allow(missing_docs)]
    pub v6: Ipv6Addr,
}

/// Makes neighbour number `n` (0 to 255) as a namespace called `name`.
///
/// On return both ends are up with all of their addresses valid: no duplicate
/// address detection is on its way that would change the world under a dump.
pub fn neighbour(name: &str, n: u8) -> Neighbour {
    let ns = ns_add(name);
    let link = format!("up{n}");
    let net6 = [0x2001, 0xdb8, 0x18, u16::from(n), 0, 0, 0];
    let v6 = |host| {
        let [a, b, c, d, e, f, g] = net6;
        Ipv6Addr::new(a, b, c, d, e, f, g, host)
    };
    let made = Neighbour {
        ns,
        link,
        host_v4: Ipv4Addr::new(198, 18, n, 1),
        host_v6: v6(1),
        v4: Ipv4Addr::new(198, 18, n, 2),
        v6: v6(2),
    };
    sh(&format!("ip link add {} type veth peer name eth0 netns {name}", made.link));
    end_up(&Ns::host(), &made.link, made.host_v4, made.host_v6);
    end_up(&made.ns, "eth0", made.v4, made.v6);
    made.ns.sh(&format!(
        "ip route add default via {} && ip -6 route add default via {}",
        made.host_v4, made.host_v6
    ));
    if n == 0 {
        sh(&format!(
            "ip route add default via {} && ip -6 route add default via {}",
            made.v4, made.v6
        ));
    }
    wait_up(&Ns::host(), &made.link);
    wait_up(&made.ns, "eth0");
    made
}

fn end_up(ns: &Ns, link: &str, v4: Ipv4Addr, v6: Ipv6Addr) {
    // No router advertisements either: nobody sends any on this cable.
    ns.sh(&format!(
        "cd /proc/sys/net/ipv6/conf/{link} && echo 0 >accept_dad && echo 0 >accept_ra && \
         echo 0 >router_solicitations && \
         ip addr add {v4}/24 dev {link} && ip addr add {v6}/64 dev {link} nodad && \
         ip link set {link} up"
    ));
}

/// Waits until the kernel's link watch, which may lag by a second, has settled, and the link
/// has its link-local address, whose route comes last.
fn wait_up(ns: &Ns, link: &str) {
    for _ in 0..300 {
        let seen = ns.sh_out(&format!(
            "ip -br link show dev {link}; ip -6 route show table local dev {link}"
        ));
        if seen.contains(" UP ") && seen.contains("local fe80:") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{link} in {} did not come up: {}", ns.name, ns.sh_out("ip -d addr"));
}
