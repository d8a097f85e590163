//! A registry behind a proxy: the one machine that knows its name.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use super::bed::{Registry, done, image, refused};
use super::common::{Kind, world};
use super::names;
use super::tls::{certificate, speak_tls};

const REGISTRY: &str = "127.0.0.1:5000";
const NAME: &str = "registry.keel.test:5000/keel/pause:1";
/// base64 of keel:secret
const LOGIN: &str = "Proxy-Authorization: Basic a2VlbDpzZWNyZXQ=";

/// A proxy for who logs in, whose every tunnel ends at the registry; what it was asked for.
fn proxy(address: &str) -> Arc<Mutex<Vec<String>>> {
    let listener = TcpListener::bind(address).expect("a port of the world");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (first, login) = request(&stream);
            note.lock().expect("the list").push(first);
            let _ = if login { tunnel(stream) } else { turn_away(stream) };
        }
    });
    asked
}

/// Reads a request: its first line, and whether the login is in it.
fn request(stream: &TcpStream) -> (String, bool) {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    (head.first().cloned().unwrap_or_default(), head.iter().any(|line| line == LOGIN))
}

fn turn_away(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
}

fn tunnel(mut from: TcpStream) -> std::io::Result<()> {
    let mut to = TcpStream::connect(REGISTRY)?;
    from.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut back, mut forth) = (from.try_clone()?, to.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from, &mut forth));
    thread::spawn(move || std::io::copy(&mut to, &mut back));
    Ok(())
}

#[test]
#[ignore = "needs root"]
fn a_registry_is_reached_through_a_proxy() {
    world(Kind::Root, || {
        // This machine can look up the proxy alone.
        names::serve("127.0.0.53", "proxy.keel.test");
        std::fs::write("/etc/resolv.conf", "nameserver 127.0.0.53\n").expect("resolv.conf");
        let (ca, certificate, key) = certificate("registry.keel.test", 1);
        let _registry = Registry::start(REGISTRY, &speak_tls(&certificate, &key));
        let asked = proxy("127.0.0.1:3128");
        let push = |proxy: &str| {
            let mut command = image(&["push", "--ca-file", &ca.display().to_string(), NAME]);
            command.env("HTTPS_PROXY", proxy).env_remove("NO_PROXY");
            command
        };
        done(&mut push("http://keel:secret@proxy.keel.test:3128"));
        let tunnels = std::mem::take(&mut *asked.lock().expect("the list"));
        assert!(!tunnels.is_empty());
        for line in tunnels {
            assert_eq!(line, "CONNECT registry.keel.test:5000 HTTP/1.1");
        }

        let says = |code: i32, command: &mut Command, words: &[&str]| {
            let said = refused(code, command);
            for word in words {
                assert!(said.contains(word), "{word:?} isn't in {said}");
            }
            assert!(!said.contains("secret"), "a password is nobody's to read: {said}");
        };
        let login = "the proxy proxy.keel.test:3128 of HTTPS_PROXY wants a login";
        let wrong = "http://keel:wrong@proxy.keel.test:3128";
        says(1, &mut push(wrong), &[login, "USER:PASSWORD"]);
        let dead = "http://keel:secret@proxy.keel.test:3129";
        let refuses = "the proxy proxy.keel.test:3129 of HTTPS_PROXY: Connection refused";
        says(1, &mut push(dead), &[refuses, "NO_PROXY=HOST"]);
        says(5, &mut push("nowhere.keel.test:3128"), &["look up nowhere.keel.test: no such host"]);
        says(2, &mut push("socks5://proxy.keel.test"), &["use the proxy that HTTPS_PROXY names"]);
        // Around it, the name is unknown.
        let mut around = push("http://keel:secret@proxy.keel.test:3128");
        around.env("NO_PROXY", "10.0.0.0/8,keel.test");
        says(5, &mut around, &["look up registry.keel.test: no such host"]);
        // Without TLS there is none; and loopback is never asked of one.
        let mut loopback = image(&["push", "--plain-http", "127.0.0.1:5001/pause:1"]);
        let _plain = Registry::start("127.0.0.1:5001", "");
        done(loopback.env("HTTPS_PROXY", dead).env("HTTP_PROXY", dead));
    });
}
