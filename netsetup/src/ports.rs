//! Whether a socket of the host's own has a port that is to be published: its
//! service would silently get no more connections from outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use crate::error::{Error, Kind, Result};
use crate::kernel::ruleset::Entry;
use crate::plan::{Object, Plan};
use crate::request::Proto;

/// Fails, and names the process where it can be seen, when a socket of the
/// host listens on a port of the plan.
pub(crate) fn free(plan: &Plan) -> Result<()> {
    for step in &plan.steps {
        if let Object::Entry(Entry::Published { proto, host_ip, host_port, to }) = &step.what {
            let any: IpAddr = if to.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            let addr = SocketAddr::new(host_ip.unwrap_or(any), *host_port);
            probe(*proto, addr)?;
        }
    }
    Ok(())
}

/// Binds the port and lets go at once. Only "in use" counts: that an address
/// isn't there yet, or that a low port needs a privilege, is no one's claim.
fn probe(proto: Proto, addr: SocketAddr) -> Result<()> {
    let bound = match proto {
        Proto::Tcp => TcpListener::bind(addr).map(|_| ()),
        Proto::Udp => UdpSocket::bind(addr).map(|_| ()),
    };
    match bound {
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
            let who = listener(proto, addr.port()).unwrap_or_else(|| "a process".into());
            let what = format!("publish port {}/{}", addr, proto.name());
            Err(Error::new(Kind::Taken, what, format!("{who} on the host listens there")))
        }
        _ => Ok(()),
    }
}

/// The process that has a socket on this port: /proc/net/tcp tells the socket's
/// inode, /proc/PID/fd who holds it.
fn listener(proto: Proto, port: u16) -> Option<String> {
    let inodes: Vec<String> = ["", "6"]
        .iter()
        .filter_map(|v| std::fs::read_to_string(format!("/proc/net/{}{v}", proto.name())).ok())
        .flat_map(|table| table.lines().filter_map(|line| inode_of(line, port)).collect::<Vec<_>>())
        .collect();
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(fds) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        for fd in fds.flatten() {
            let Ok(target) = std::fs::read_link(fd.path()) else { continue };
            let target = target.to_string_lossy();
            if inodes.iter().any(|i| target == format!("socket:[{i}]")) {
                let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                return Some(format!("process {pid} ({})", name.trim()));
            }
        }
    }
    None
}

/// `sl local_address rem_address st ...`: fields 1 and 9 are address:port in hex and the inode.
fn inode_of(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, hex) = fields.get(1)?.rsplit_once(':')?;
    (u16::from_str_radix(hex, 16).ok()? == port).then(|| fields.get(9).map(|s| (*s).to_owned()))?
}
