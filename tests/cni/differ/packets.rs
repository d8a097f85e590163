//! Who reaches whom, and with which source address: what addresses, routes and rules are
//! for.
//!
//! One datagram (or connection) each way. `seen from A, answered`: it
//! arrived, and the answer came back.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::common::{Ns, in_netns};
use super::cases::Case;
use super::sctp;

/// How long a packet may take: long, for two hops on one machine.
pub(super) const WITHIN: Duration = Duration::from_millis(250);
/// The same between two pods, where two neighbours are asked for first.
const BETWEEN: Duration = Duration::from_millis(1500);
/// A port that nobody else uses.
const PORT: u16 = 9;

/// One question.
pub(super) struct Probe {
    what: String,
    pub(super) from: Ns,
    pub(super) to: Ns,
    /// What is asked.
    pub(super) at: SocketAddr,
    /// Where `to` listens.
    pub(super) port: u16,
    ask: Ask,
    within: Duration,
}

/// How one asks.
#[derive(Clone, Copy)]
enum Ask {
    Udp,
    Tcp,
    Sctp,
}

/// Asks all that a case's result makes one expect or fear, when `when` has come: ADD, DEL, or
/// what harms. After DEL of a published port only the port, of a firewall all that it let pass.
pub(super) fn probe(
    case: &Case,
    all: &[Ns; 2],
    result: &Value,
    when: &str,
) -> Vec<(String, String)> {
    let ips: Vec<IpAddr> = addresses(result);
    let kind = case.conf["type"].as_str().unwrap_or_default();
    // Of an older version the rules alone could differ.
    let has_rules = ["portmap", "firewall"].contains(&kind);
    let is_usual = has_rules || case.conf["cniVersion"] == "1.0.0";
    let has_link = result["interfaces"].as_array().is_some_and(|list| !list.is_empty());
    if !is_usual || !has_link || kind == "loopback" {
        return Vec::new();
    }
    let ports = match kind {
        "portmap" => ips.iter().flat_map(|ip| ports(case, all, *ip)).collect(),
        _ => Vec::new(),
    };
    let around: Vec<Probe> = match when {
        "DEL" if kind != "firewall" => Vec::new(),
        _ => ips.iter().flat_map(|ip| around("pod", all.each_ref(), *ip)).collect(),
    };
    answers(&ports, &around, when)
}

/// Between the pod and a second one of its network, and between that one and all others.
pub(super) fn between(host: &Ns, pods: [(&Ns, &Value); 2]) -> Vec<(String, String)> {
    let [(one, first), (two, second)] = pods;
    let ways = [("pod to pod", one, two, second), ("pod from pod", two, one, first)];
    let mut probes: Vec<Probe> = ways
        .iter()
        .zip([PORT + 40, PORT + 50])
        .flat_map(|((what, from, to, result), port)| {
            let of = move |ip: IpAddr| Probe {
                what: format!("{what}, {}", family(ip)),
                from: (*from).clone(),
                to: (*to).clone(),
                at: SocketAddr::new(ip, port + u16::from(ip.is_ipv6())),
                port: port + u16::from(ip.is_ipv6()),
                ask: Ask::Udp,
                within: BETWEEN,
            };
            addresses(result).into_iter().map(of)
        })
        .collect();
    let others = addresses(second).into_iter().flat_map(|ip| around("pod2", [host, two], ip));
    probes.extend(others);
    answers(&[], &probes, "ADD")
}

fn answers(ports: &[Probe], around: &[Probe], when: &str) -> Vec<(String, String)> {
    let answers = std::thread::scope(|scope| {
        // Each has a server of its own port, but for those of a published port.
        let all: Vec<_> = around.iter().map(|probe| scope.spawn(|| ask(probe))).collect();
        let mut answers: Vec<String> = ports.iter().map(ask).collect();
        answers.extend(all.into_iter().map(|thread| thread.join().expect("a probe")));
        answers
    });
    let key = |probe: &Probe| format!("{when} packets {}", probe.what);
    ports.iter().chain(around).map(key).zip(answers).collect()
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn addresses(result: &Value) -> Vec<IpAddr> {
    let list = result["ips"].as_array().into_iter().flatten();
    let ips = list.filter_map(|ip| ip["address"].as_str()?.split('/').next()?.parse().ok());
    ips.collect()
}

/// Between a pod and all others.
fn around(name: &str, [host, inner]: [&Ns; 2], pod: IpAddr) -> Vec<Probe> {
    let far = Ns::named("far");
    let family: u16 = if pod.is_ipv4() { 4 } else { 6 };
    let up = |n: u8| match family {
        4 => IpAddr::from([198, 18, 0, n]),
        _ => IpAddr::from([0x2001, 0xdb8, 0x18, 0, 0, 0, 0, u16::from(n)]),
    };
    let of = |what: &str, from: &Ns, to: &Ns, ip: IpAddr, port: u16| Probe {
        what: format!("{}, IPv{family}", what.replace("POD", name)),
        from: from.clone(),
        to: to.clone(),
        at: SocketAddr::new(ip, port + family),
        port: port + family,
        ask: Ask::Udp,
        within: WITHIN,
    };
    vec![
        of("POD to far", inner, &far, up(2), PORT),
        of("far to POD", &far, inner, pod, PORT + 10),
        of("host to POD", host, inner, pod, PORT + 20),
        of("POD to host", inner, host, up(1), PORT + 30),
    ]
}

/// To the first of the published ports, in the family of one of the pod's addresses.
fn ports(case: &Case, all: &[Ns; 2], pod_ip: IpAddr) -> Vec<Probe> {
    let mapping = &case.conf["runtimeConfig"]["portMappings"][0];
    let number = |key: &str| mapping[key].as_u64().and_then(|n| u16::try_from(n).ok());
    let (Some(host_port), Some(port)) = (number("hostPort"), number("containerPort")) else {
        return Vec::new();
    };
    let protocol = mapping["protocol"].as_str().unwrap_or_default().to_lowercase();
    let how = match protocol.as_str() {
        _ if host_port == 0 || port == 0 => return Vec::new(),
        "tcp" => Ask::Tcp,
        "sctp" => Ask::Sctp,
        _ => Ask::Udp,
    };
    let [host, pod] = all;
    let six = if pod_ip.is_ipv4() { "" } else { ", IPv6" };
    let of = |what: &str, from: &Ns, ip: IpAddr| Probe {
        what: format!("{what} to the port{six}"),
        from: from.clone(),
        to: pod.clone(),
        at: SocketAddr::from((ip, host_port)),
        port,
        ask: how,
        within: WITHIN,
    };
    let far = Ns::named("far");
    if pod_ip.is_ipv6() {
        let uplink = IpAddr::from([0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 1]);
        return vec![of("far", &far, uplink), of("host", host, uplink), of("pod", pod, uplink)];
    }
    let uplink = IpAddr::from([198, 18, 0, 1]);
    vec![
        of("far", &far, uplink),
        of("host", host, uplink),
        of("pod", pod, uplink),
        of("host by 127.0.0.1", host, IpAddr::from([127, 0, 0, 1])),
    ]
}

/// Asks one question, with a server for it alone.
fn ask(probe: &Probe) -> String {
    let any = match probe.at {
        SocketAddr::V4(_) => IpAddr::from([0, 0, 0, 0]),
        SocketAddr::V6(_) => IpAddr::from([0u16; 8]),
    };
    match probe.ask {
        Ask::Udp => ask_udp(probe, any),
        Ask::Tcp => ask_tcp(probe, any),
        Ask::Sctp => sctp::ask(probe),
    }
}

pub(super) fn in_words(seen: Option<SocketAddr>, answer: io::Result<()>) -> String {
    let seen = seen.map_or("not seen".to_owned(), |from| format!("seen from {}", from.ip()));
    match answer {
        Ok(()) => format!("{seen}, answered"),
        Err(_) => format!("{seen}, not answered"),
    }
}

fn ask_udp(probe: &Probe, any: IpAddr) -> String {
    let server = match in_netns(&probe.to, || UdpSocket::bind((any, probe.port))) {
        Ok(server) => server,
        Err(error) => return format!("no server: {}", error.kind()),
    };
    let client = || -> io::Result<UdpSocket> {
        let client = UdpSocket::bind((any, 0))?;
        client.connect(probe.at)?;
        client.set_read_timeout(Some(probe.within))?;
        client.send(b"?")?;
        Ok(client)
    };
    let client = in_netns(&probe.from, client);
    let mut buffer = [0; 16];
    server.set_read_timeout(Some(probe.within)).expect("a timeout");
    let seen = client.as_ref().ok().and_then(|_| server.recv_from(&mut buffer).ok());
    let seen = seen.map(|(_, from)| from);
    if let Some(from) = seen {
        // What can't be answered shows at the client.
        let _ = server.send_to(b"!", from);
    }
    in_words(seen, client.and_then(|client| client.recv(&mut buffer).map(|_| ())))
}

fn ask_tcp(probe: &Probe, any: IpAddr) -> String {
    let server = match in_netns(&probe.to, || TcpListener::bind((any, probe.port))) {
        Ok(server) => server,
        Err(error) => return format!("no server: {}", error.kind()),
    };
    server.set_nonblocking(true).expect("a socket that doesn't block");
    let client = in_netns(&probe.from, || TcpStream::connect_timeout(&probe.at, WITHIN));
    let end = Instant::now() + WITHIN;
    let mut seen = None;
    while client.is_ok() && seen.is_none() && Instant::now() < end {
        match server.accept() {
            Ok((mut stream, from)) => {
                seen = Some(from);
                let _ = stream.write_all(b"!");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    let answer = client.and_then(|mut client| {
        client.set_read_timeout(Some(WITHIN))?;
        client.read_exact(&mut [0; 1])
    });
    in_words(seen, answer)
}
