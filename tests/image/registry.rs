//! `shim image push` and `inspect` against Debian's registry, without TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::bed::{Registry, SHIM, digest_of, done, fails, image, json, ok, refused};
use super::common::{Kind, output, scratch, sh, sh_out, told, world};
use super::names;

const ADDRESS: &str = "127.0.0.1:5000";

/// By an address, by a name of /etc/hosts, by names of DNS: whole, and below the search domain.
#[test]
#[ignore = "needs root"]
fn a_registry_is_found_by_name() {
    world(Kind::Root, || {
        let registry = Registry::start(ADDRESS, "");
        names::serve("127.0.0.53", "registry.keel.test");
        fs::write("/etc/resolv.conf", "nameserver 127.0.0.53\nsearch keel.test\n")
            .expect("resolv.conf");
        sh("echo '127.0.0.1 stands-in-hosts' >>/etc/hosts");
        let built = ok(&["build", "-o", &scratch().join("layout").display().to_string()]);
        let hosts = ["127.0.0.1", "localhost", "stands-in-hosts", "registry.keel.test", "registry"];
        for (i, host) in hosts.into_iter().enumerate() {
            let name = format!("{host}:5000/keel/pause:{i}");
            let pushed = ok(&["push", "--plain-http", &name]);
            assert!(pushed.starts_with(&format!("{name} ")), "{pushed}");
            assert_eq!(digest_of(&pushed), digest_of(&built), "{}", registry.log());
            let raw = format!(
                "skopeo inspect --raw --tls-verify=false docker://{ADDRESS}/keel/pause:{i}"
            );
            let there = sh_out(&format!("{raw} | sha256sum"));
            assert_eq!(format!("sha256:{}", &there[..64]), digest_of(&built));
        }
        // Five times the same image: what refers to it is there once.
        let mut seen = json(&ok(&["inspect", "--plain-http", "registry:5000/keel/pause:4"]));
        let mut local = json(&ok(&["inspect"]));
        for described in [&mut seen, &mut local] {
            described[0]["name"].take();
        }
        assert_eq!(seen, local);
        // By digest; and with the whole index.
        let by_digest = format!("{ADDRESS}/keel/pause@{}", digest_of(&built));
        ok(&["inspect", "--plain-http", &by_digest]);
        let copy = scratch().join("copy").display().to_string();
        sh(&format!(
            "skopeo copy --all --src-tls-verify=false docker://{ADDRESS}/keel/pause:0 oci:{copy}:x"
        ));
        let copied = json(&fs::read_to_string(format!("{copy}/index.json")).expect("index.json"));
        assert_eq!(copied["manifests"][0]["digest"], digest_of(&built));
    });
}

#[test]
#[ignore = "needs root"]
fn what_cannot_be_reached_is_said() {
    world(Kind::Root, || {
        let _registry = Registry::start(ADDRESS, "");
        names::serve("127.0.0.53", "registry.keel.test");
        fs::write("/etc/resolv.conf", "nameserver 127.0.0.53\n").expect("resolv.conf");
        let push = |code: i32, name: &str| fails(code, &["push", "--plain-http", name]);
        let said = push(5, "nowhere.keel.test:5000/pause:1");
        assert!(said.contains("look up nowhere.keel.test: no such host"), "{said}");
        let said = push(1, "127.0.0.1:5001/pause:1");
        assert!(
            said.contains("127.0.0.1:5001: Connection refused") && said.contains("port"),
            "{said}"
        );
        let said = push(1, "192.0.2.1:5000/pause:1");
        assert!(said.contains("Network is unreachable") && said.contains("route"), "{said}");
        let said = push(2, &format!("{ADDRESS}/UPPER:1"));
        assert!(said.contains("small letters") && said.contains("REGISTRY/NAME:TAG"), "{said}");
        // What speaks no TLS is asked for it, and says nothing that a client understands.
        let said = fails(1, &["push", &format!("{ADDRESS}/pause:1")]);
        assert!(said.contains("does not speak TLS") && said.contains("--plain-http"), "{said}");
        for what in [
            "none:1",
            "none@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        ] {
            let said = fails(5, &["inspect", "--plain-http", &format!("{ADDRESS}/{what}")]);
            assert!(said.contains("404 Not Found: manifest unknown"), "{said}");
        }
        let said = fails(5, &["inspect", "none"]);
        assert!(said.contains("there is no such folder"), "{said}");
        // Nobody answers for names at all.
        fs::write("/etc/resolv.conf", "nameserver 127.0.0.54\noptions timeout:1 attempts:1\n")
            .expect("resolv.conf");
        let said = push(1, "registry.keel.test:5000/pause:1");
        assert!(
            said.contains("no name server answers") && said.contains("/etc/resolv.conf"),
            "{said}"
        );
        fs::remove_file("/etc/resolv.conf").expect("resolv.conf");
        sh("echo '127.0.0.1 stands-in-hosts' >>/etc/hosts");
        ok(&["push", "--plain-http", "stands-in-hosts:5000/pause:1"]);
    });
}

/// In front of the registry: spoils the first requests as `spoil` does, hands on all others.
/// Returns how many came.
fn in_front(address: &str, first: usize, spoil: fn(TcpStream)) -> &'static AtomicUsize {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind(address).expect("a port of the world");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if SEEN.fetch_add(1, Ordering::SeqCst) < first {
                spoil(stream);
                continue;
            }
            let there = TcpStream::connect(ADDRESS).expect("the registry");
            let [mut back, mut forth] = [&stream, &there].map(|s| s.try_clone().expect("dup"));
            let (mut from, mut to) = (stream, there);
            thread::spawn(move || std::io::copy(&mut from, &mut forth));
            thread::spawn(move || std::io::copy(&mut to, &mut back));
        }
    });
    &SEEN
}

fn read_request(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    let _ = stream.read(&mut bytes);
}

#[test]
#[ignore = "needs root"]
fn a_registry_that_is_busy_is_asked_again() {
    world(Kind::Root, || {
        let _registry = Registry::start(ADDRESS, "");
        let seen = in_front("127.0.0.1:5002", 2, |mut stream| {
            read_request(&mut stream);
            let busy = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(busy).expect("an answer");
        });
        let started = std::time::Instant::now();
        let output = output(&mut image(&["push", "--plain-http", "127.0.0.1:5002/pause:1"]));
        assert!(output.status.success(), "{}", told("push", &output));
        assert!(started.elapsed() >= Duration::from_secs(2), "it waits as long as it is told to");
        assert!(seen.load(Ordering::SeqCst) > 2);
        // It took more than a second: so what it does was told.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("127.0.0.1:5002/pause:1: asking (0 of "), "{said}");
        // And not where it didn't.
        let output =
            super::common::output(&mut image(&["push", "--plain-http", "127.0.0.1:5002/pause:1"]));
        assert!(
            output.stderr.is_empty() || started.elapsed() > Duration::from_secs(4),
            "{}",
            told("push", &output)
        );
        // On a terminal a bar, and nothing of it is left.
        seen.store(0, Ordering::SeqCst);
        let push = format!("{SHIM} image push --plain-http 127.0.0.1:5002/pause:1");
        let shown = sh_out(&format!("script -qec '{push}' /dev/null </dev/null"));
        assert!(shown.contains("\r\x1b[K[------------------------] 0/"), "{shown:?}");
        assert!(shown.contains("127.0.0.1:5002/pause:1: asking\r\x1b[K"), "{shown:?}");
    });
}

#[test]
#[ignore = "needs root"]
fn a_registry_that_hangs_up_is_asked_again_but_not_for_ever() {
    world(Kind::Root, || {
        let _registry = Registry::start(ADDRESS, "");
        in_front("127.0.0.1:5002", 2, |mut stream| read_request(&mut stream));
        ok(&["push", "--plain-http", "127.0.0.1:5002/pause:1"]);
        let listener = TcpListener::bind("127.0.0.1:5003").expect("a port");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                read_request(&mut stream);
            }
        });
        let said = fails(1, &["push", "--plain-http", "127.0.0.1:5003/pause:1"]);
        assert!(said.contains("127.0.0.1:5003"), "{said}");
    });
}

/// A whole image, of another architecture only; and what isn't asked for isn't pushed.
#[test]
#[ignore = "needs root"]
fn one_architecture_is_pushed_alone() {
    world(Kind::Root, || {
        let _registry = Registry::start(ADDRESS, "");
        let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        ok(&["push", "--plain-http", "--arch", own, &format!("{ADDRESS}/pause:1")]);
        let seen = json(&ok(&["inspect", "--plain-http", &format!("{ADDRESS}/pause:1")]));
        let platforms = seen[0]["platforms"].as_array().expect("platforms").clone();
        assert_eq!(platforms.len(), 1);
        assert_eq!(platforms[0]["architecture"], own);
        assert_eq!(platforms[0]["referrers"].as_array().map(Vec::len), Some(2));
        let mut dated = image(&["push", "--plain-http", &format!("{ADDRESS}/pause:2")]);
        done(dated.env("SOURCE_DATE_EPOCH", "1700000000"));
        let seen = ok(&["inspect", "--plain-http", &format!("{ADDRESS}/pause:2")]);
        assert!(seen.contains("2023-11-14T22:13:20Z"), "{seen}");
        let mut digest = image(&["push", "--plain-http"]);
        digest.arg(format!("{ADDRESS}/pause@sha256:{}", "0".repeat(64)));
        let said = refused(2, &mut digest);
        assert!(said.contains("a digest is no name"), "{said}");
    });
}
