//! Flows that outlive what they were made by. conntrack keeps a UDP flow while packets
//! come, and translates them as it did the first: a client that goes on sending would
//! never see that a port was published, or to whom.

use std::net::{IpAddr, SocketAddr};

use podkeel_wire::ct::{self, Flow};

use super::nft::Nft;
use super::rtnl::Rtnl;
use super::ruleset::Entry;
use crate::error::Result;
use crate::request::Proto;

/// A published port of UDP.
struct Port {
    host_ip: Option<IpAddr>,
    host_port: u16,
    to: SocketAddr,
}

impl Port {
    fn of(entry: &Entry) -> Option<Port> {
        match *entry {
            Entry::Published { proto: Proto::Udp, host_ip, host_port, to, .. } => {
                Some(Port { host_ip, host_port, to })
            }
            _ => None,
        }
    }

    /// Whether a flow came by this port's number and is answered by this pod.
    fn leads_to_pod(&self, flow: &Flow) -> bool {
        flow.original.to.1 == self.host_port && flow.reply.from == (self.to.ip(), self.to.port())
    }

    /// Whether a flow to this port of the host ends elsewhere.
    fn leads_elsewhere(&self, flow: &Flow, local: &[IpAddr]) -> bool {
        let (ip, port) = flow.original.to;
        let is_ours = match self.host_ip {
            Some(host) => host == ip,
            None => local.contains(&ip),
        };
        is_ours && port == self.host_port && !self.leads_to_pod(flow)
    }
}

/// Forgets UDP flows to ports that were just published and end elsewhere.
pub fn published<'a>(
    host: &mut Rtnl,
    nft: &mut Nft,
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<()> {
    let ports: Vec<Port> = entries.filter_map(Port::of).collect();
    if ports.is_empty() {
        return Ok(());
    }
    let local: Vec<IpAddr> = host.addrs(0)?.into_iter().map(|addr| addr.ip).collect();
    forget(nft, &ports, &|port, flow| port.leads_elsewhere(flow, &local))
}

/// Forgets UDP flows that came by ports which are no longer published.
pub fn withdrawn<'a>(nft: &mut Nft, entries: impl Iterator<Item = &'a Entry>) -> Result<()> {
    let ports: Vec<Port> = entries.filter_map(Port::of).collect();
    forget(nft, &ports, &|port, flow| port.leads_to_pod(flow))
}

/// ctnetlink is asked by the socket of nftables: both speak nfnetlink.
fn forget(nft: &mut Nft, ports: &[Port], is_stale: &dyn Fn(&Port, &Flow) -> bool) -> Result<()> {
    for (family, v4) in [(libc::AF_INET, true), (libc::AF_INET6, false)] {
        let mut ports = ports.iter().filter(|port| port.to.is_ipv4() == v4).peekable();
        if ports.peek().is_none() {
            continue;
        }
        let ports: Vec<&Port> = ports.collect();
        let is_stale = |flow: &Flow| {
            flow.original.proto == libc::IPPROTO_UDP as u8
                && ports.iter().any(|port| is_stale(port, flow))
        };
        let socket = &mut nft.socket;
        let request = |batch: &mut _| _ = ct::dump(batch, family);
        let flows = match socket.dump(request, |m| Flow::read(m).filter(&is_stale))? {
            Ok(flows) => flows,
            // nfnetlink knows no such subsystem: without ctnetlink nobody can forget a flow.
            Err(r) if [libc::EINVAL, libc::EOPNOTSUPP].contains(&r.errno) => return Ok(()),
            Err(r) => return Err(r.error("list the flows of conntrack")),
        };
        for flow in flows {
            let mut batch = socket.batch();
            flow.delete(&mut batch);
            let refused = socket.exchange(batch, |_| {})?;
            if let Some(r) = refused.iter().find(|r| r.errno != libc::ENOENT) {
                return Err(r.error("delete a flow of conntrack"));
            }
        }
    }
    Ok(())
}
