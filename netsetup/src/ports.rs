//! Whether a socket of the host's own has a port that is to be published: its
//! service would silently get no more connections from outside. One that listens on
//! loopback alone never had any, and keeps what it has: loopback isn't translated, unless a port
//! is published there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::kernel::ruleset::Entry;
use crate::plan::{Object, Plan};
use crate::request::Proto;

/// Fails, and names the process where it can be seen, when a socket of the
/// host listens on a port of the plan.
pub(crate) fn free(plan: &Plan) -> Result<()> {
    for step in &plan.steps {
        if let Object::Entry(Entry::Published { proto, host_ip, host_port, to, .. }) = &step.what {
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

/// Binds the port and lets go at once, without listening. Only "in use" counts:
/// that an address isn't there yet, or that a low port needs a privilege, is no
/// one's claim.
fn probe(proto: Proto, addr: SocketAddr) -> Result<()> {
    if bind(proto, addr) != Err(Errno::ADDRINUSE) {
        return Ok(());
    }
    let sockets = sockets(proto, addr.port());
    let apart = !addr.ip().is_loopback();
    if apart && !sockets.is_empty() && sockets.iter().all(|s| s.loopback) {
        return Ok(());
    }
    let who = holder(&sockets).unwrap_or_else(|| "a process".into());
    let what = format!("publish port {}/{}", addr, proto.name());
    Err(Error::new(Kind::Taken, what, format!("{who} on the host listens there")))
}

fn bind(proto: Proto, addr: SocketAddr) -> std::result::Result<(), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let (kind, protocol) = match proto {
        Proto::Tcp => (SocketType::STREAM, None),
        Proto::Udp => (SocketType::DGRAM, None),
        // A kernel without it has no listener either.
        Proto::Sctp => (SocketType::STREAM, Some(rustix::net::ipproto::SCTP)),
    };
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    if proto != Proto::Udp {
        // Connections that linger don't hold the port; a listener does all the same.
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    rustix::net::bind(&fd, &addr)
}

/// A socket on a port, from /proc/net/{tcp,udp}{,6}; SCTP has no such list.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    loopback: bool,
    inode: String,
}

/// The sockets that hold a port: TCP's that listen, all of UDP's.
fn sockets(proto: Proto, port: u16) -> Vec<Socket> {
    let tables = ["", "6"].map(|v| format!("/proc/net/{}{v}", proto.name()));
    let texts = tables.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    texts
        .flat_map(|text| text.lines().filter_map(|l| read(l, proto, port)).collect::<Vec<_>>())
        .collect()
}

/// `sl local_address rem_address st ...`: fields 1, 3 and 9 are address:port in hex,
/// the state and the inode (tcp4_seq_show of net/ipv4/tcp_ipv4.c).
fn read(line: &str, proto: Proto, port: u16) -> Option<Socket> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (ip, hex) = fields.get(1)?.rsplit_once(':')?;
    let holds = proto == Proto::Udp || *fields.get(3)? == LISTEN;
    if !holds || u16::from_str_radix(hex, 16).ok()? != port {
        return None;
    }
    let inode = (*fields.get(9)?).to_owned();
    Some(Socket { loopback: address(ip)?.to_canonical().is_loopback(), inode })
}

/// An address as the kernel prints it: words of four bytes, each a number of the CPU's.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |i: usize| u32::from_str_radix(hex.get(i * 8..i * 8 + 8)?, 16).ok();
    let bytes = |i: usize| word(i).map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return bytes(0).map(IpAddr::from);
    }
    let mut all = [0; 16];
    for (i, part) in all.chunks_exact_mut(4).enumerate() {
        part.copy_from_slice(&bytes(i)?);
    }
    Some(all.into())
}

/// The process that has one of the sockets open, as far as /proc/PID/fd can be seen.
fn holder(sockets: &[Socket]) -> Option<String> {
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(fds) = std::fs::read_dir(entry.path().join("fd")) else { continue };
        for fd in fds.flatten() {
            let Ok(target) = std::fs::read_link(fd.path()) else { continue };
            let target = target.to_string_lossy();
            if sockets.iter().any(|s| target == format!("socket:[{}]", s.inode)) {
                let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                return Some(format!("process {pid} ({})", name.trim()));
            }
        }
    }
    None
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn sockets_as_the_kernel_lists_them() {
        let line = |ip: &str, state: &str| {
            format!(
                "   0: {ip}:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 77 1"
            )
        };
        let v6 = "00000000000000000000000001000000";
        let mapped = "0000000000000000FFFF00000100007F";
        for (ip, loopback) in [
            ("0100007F", true),
            ("0200A8C0", false),
            ("00000000", false),
            (v6, true),
            (mapped, true),
            ("00000000000000000000000000000000", false),
        ] {
            let socket = read(&line(ip, "0A"), Proto::Tcp, 8080);
            assert_eq!(socket, Some(Socket { loopback, inode: "77".into() }), "{ip}");
        }
        assert_eq!(read(&line(v6, "01"), Proto::Tcp, 8080), None, "a connection holds no port");
        assert!(read(&line(v6, "07"), Proto::Udp, 8080).is_some());
        assert_eq!(read(&line(v6, "0A"), Proto::Tcp, 8081), None);
        let head =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid";
        assert_eq!(read(head, Proto::Tcp, 8080), None);
    }
}
