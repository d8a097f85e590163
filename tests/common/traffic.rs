//! Servers that answer with the address they see, and clients with a deadline.
//!
//! So a test can say not only that a packet arrived but whose it was: what
//! masquerading, published ports and "pods see each other's true address" are about.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::netns::{Ns, in_netns};

/// How long a client waits when the packet should get through.
pub const SOON: Duration = Duration::from_secs(3);
/// How long a client waits when it should not.
pub const NEVER: Duration = Duration::from_millis(300);

/// What a server says to whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name that the server was started with: which pod answered.
    pub server: String,
    /// The server's own address (a UDP server bound to a wildcard says the wildcard).
    pub at: SocketAddr,
    /// The asker's address as the server sees it.
    pub peer: SocketAddr,
}

impl Answer {
    fn to_line(&self) -> String {
        format!("{} {} {}\n", self.server, self.at, self.peer)
    }

    /// Reads the line that a server sent (also what `curl` prints).
    pub fn parse(line: &str) -> io::Result<Self> {
        let bad = || io::Error::other(format!("not an answer of our server: {line:?}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        let [server, at, peer] = words[..] else { return Err(bad()) };
        let addr = |word: &str| word.parse().map_err(|_| bad());
        Ok(Self { server: server.to_owned(), at: addr(at)?, peer: addr(peer)? })
    }
}

/// A server that runs until the world ends.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens, with the port that it got.
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Server {
    /// Everybody who has reached it so far, whether or not the answer got back.
    pub fn seen(&self) -> Vec<SocketAddr> {
        self.seen.lock().expect("no server thread panics with the lock").clone()
    }

    fn saw(&self, peer: SocketAddr) {
        self.seen.lock().expect("no server thread panics with the lock").push(peer);
    }
}

/// Starts a TCP server in `ns`; it listens before this returns. Port 0 picks one.
///
/// It answers a line with one [`Answer`] line, and `GET`/`HEAD` with the same line
/// as an HTTP/1.0 page.
pub fn tcp_server(ns: &Ns, name: &str, ip: impl Into<IpAddr>, port: u16) -> Server {
    let wanted = SocketAddr::new(ip.into(), port);
    let listener = in_netns(ns, || TcpListener::bind(wanted))
        .unwrap_or_else(|e| panic!("cannot listen on tcp {wanted} in {}: {e}", ns.name));
    let addr = listener.local_addr().expect("a bound socket has an address");
    let server = Server { addr, seen: Arc::default() };
    let (name, copy) = (name.to_owned(), server.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (name, server) = (name.clone(), copy.clone());
            std::thread::spawn(move || serve(stream, name, &server));
        }
    });
    server
}

/// One TCP conversation. What goes wrong here shows at the client.
fn serve(mut stream: TcpStream, server: String, record: &Server) -> io::Result<()> {
    let answer = Answer { server, at: stream.local_addr()?, peer: stream.peer_addr()? };
    record.saw(answer.peer);
    stream.set_read_timeout(Some(SOON))?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut line)?;
    let http = line.starts_with("GET ") || line.starts_with("HEAD ");
    while http && reader.read_line(&mut line)? > 2 {}
    let body = answer.to_line();
    if http {
        let length = body.len();
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n")?;
    }
    stream.write_all(body.as_bytes())
}

/// Starts a UDP server in `ns`; it is bound before this returns. Port 0 picks one.
///
/// It answers each datagram with one [`Answer`] line.
pub fn udp_server(ns: &Ns, name: &str, ip: impl Into<IpAddr>, port: u16) -> Server {
    let wanted = SocketAddr::new(ip.into(), port);
    let socket = in_netns(ns, || UdpSocket::bind(wanted))
        .unwrap_or_else(|e| panic!("cannot bind udp {wanted} in {}: {e}", ns.name));
    let at = socket.local_addr().expect("a bound socket has an address");
    let server = Server { addr: at, seen: Arc::default() };
    let (name, copy) = (name.to_owned(), server.clone());
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        loop {
            // An ICMP error of an earlier answer surfaces here; the socket lives on.
            let Ok((_, peer)) = socket.recv_from(&mut buffer) else { continue };
            copy.saw(peer);
            let answer = Answer { server: name.clone(), at, peer };
            socket.send_to(answer.to_line().as_bytes(), peer).ok();
        }
    });
    server
}

/// Asks the TCP server at `to` from inside `ns`.
///
/// # Errors
/// What connect(2) and read(2) say: `ConnectionRefused`, `TimedOut` or `WouldBlock`
/// (nothing came back in time), `HostUnreachable`, ...
pub fn tcp(ns: &Ns, to: SocketAddr, within: Duration) -> io::Result<Answer> {
    in_netns(ns, || tcp_here(to, within))
}

/// [`tcp`] from the namespace that the calling thread is in.
pub(super) fn tcp_here(to: SocketAddr, within: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(b"?\n")?;
    let mut line = String::new();
    stream.read_to_string(&mut line)?;
    Answer::parse(&line)
}

/// Asks the UDP server at `to` from inside `ns`.
///
/// # Errors
/// `WouldBlock` when nothing came back in time, `ConnectionRefused` after an ICMP
/// port unreachable, what send(2) says otherwise.
pub fn udp(ns: &Ns, to: SocketAddr, within: Duration) -> io::Result<Answer> {
    in_netns(ns, || udp_here(to, within))
}

/// [`udp`] from the namespace that the calling thread is in.
pub(super) fn udp_here(to: SocketAddr, within: Duration) -> io::Result<Answer> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(within))?;
    socket.send(b"?\n")?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer)?;
    Answer::parse(&String::from_utf8_lossy(&buffer[..length]))
}

/// Asks the HTTP server at `to` with curl from inside `ns`; panics unless it answers.
pub fn curl(ns: &Ns, to: SocketAddr) -> Answer {
    let text = ns.sh_out(&format!("curl -sS --max-time 5 --noproxy '*' 'http://{to}/'"));
    Answer::parse(&text).unwrap_or_else(|e| panic!("curl http://{to}/ in {}: {e}", ns.name))
}
