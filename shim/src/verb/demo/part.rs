//! The programs that the demo runs in its pod: a web server, and an application beside it.

use std::fs;
use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// The word that shows that the server listens.
pub(super) const READY: &str = "the web server listens";

/// What the server leaves in memory that the pod shares.
const SHARED: &str = "/dev/shm/greeting";

/// How long anything in the demo may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Runs one of them. Returns the exit code.
pub fn run(name: &str) -> i32 {
    let done = match name {
        "web" => serve(),
        _ => look_around(),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("shim: {name} of the demo: {error}");
            1
        }
    }
}

/// Answers each request with the address that it came from.
fn serve() -> Result<()> {
    let listener = TcpListener::bind("0.0.0.0:80")?;
    fs::write(SHARED, "written by web")?;
    println!("{READY}");
    loop {
        let (mut stream, from) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let _ = stream.read(&mut [0; 512])?;
        let body = format!("hello {}, this is the pod\n", from.ip());
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    }
}

/// Says what it shares with the server: localhost, memory, processes.
fn look_around() -> Result<()> {
    let localhost = SocketAddr::from(([127, 0, 0, 1], 80));
    println!("its localhost answers:  {}", get(localhost)?.trim_end());
    println!("its shared memory:      {}", fs::read_to_string(SHARED)?);
    let mut pids: Vec<u32> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    let named = pids.iter().map(|pid| format!("{pid} {}", name_of(*pid)));
    println!("the processes it sees:  {}", named.collect::<Vec<_>>().join(", "));
    Ok(())
}

/// The last word of a command line.
fn name_of(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|b| *b == 0).rfind(|word| !word.is_empty()).unwrap_or_default();
    String::from_utf8_lossy(words).into_owned()
}

/// The body of an answer over HTTP.
pub(super) fn get(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.0 200") => Ok(body.to_owned()),
        _ => Err(Error::other(format!("it answered {answer:?}"))),
    }
}
