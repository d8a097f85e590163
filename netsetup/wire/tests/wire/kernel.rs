//! The kernel takes our bytes, and nft and ip read back what it made of them.
//!
//! Each test runs in a network namespace of its own: it starts its own program
//! again under unshare(1), with a user namespace where we aren't root.

use std::io::Write as _;
use std::process::{Command, Stdio};

use podkeel_wire::rt::{self, Addr, CREATE, Kind, Link, Port, REQUEST, Route};
use podkeel_wire::{Answer, Batch, messages, nf};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, netlink};

use crate::ruleset;

/// Says to a test that it is the one inside.
const INSIDE: &str = "PODKEEL_WIRE_INSIDE";

/// NETLINK_ROUTE is 0, and no protocol to rustix.
const ROUTE: Option<Protocol> = None;
const NETFILTER: Option<Protocol> = Some(netlink::NETFILTER);

/// Runs `body` in a new network namespace. `test` is the full name of the calling test.
fn in_namespace(test: &str, body: fn()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        return body();
    }
    let unshare = if is_root() { &["--net"][..] } else { &["--user", "--map-root-user", "--net"] };
    let program = std::env::current_exe().unwrap();
    let done = Command::new("unshare")
        .args(unshare)
        .arg(program)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, test)
        .output()
        .expect("unshare (util-linux) is needed");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    // A name that matches no test would pass with none run.
    assert!(
        done.status.success() && out.contains("1 passed"),
        "in a namespace of its own:\n{out}{err}"
    );
}

/// Root here means: uid 0 owns /proc/self.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// Sends a batch; returns what was refused: number of the message, errno.
fn refusals(protocol: Option<Protocol>, batch: &Batch) -> Vec<(u32, i32)> {
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, protocol).unwrap();
    let sent = rustix::net::send(&socket, batch.bytes(), SendFlags::empty()).unwrap();
    assert_eq!(sent, batch.bytes().len());
    let mut buffer = vec![0; 65536];
    let mut refused = Vec::new();
    // Everything is answered before send returns.
    while let Ok((len, _)) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT) {
        for message in messages(&buffer[..len]) {
            let message = message.unwrap();
            if let Answer::Error { errno, .. } = message.answer() {
                refused.push((message.seq, errno));
            }
        }
    }
    refused
}

/// Sends a batch that the kernel must take.
fn send(protocol: Option<Protocol>, fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new(1);
    fill(&mut batch);
    assert_eq!(refusals(protocol, &batch), []);
}

/// What a command prints; it must succeed.
fn run(command: &[&str]) -> String {
    let done = Command::new(command[0])
        .args(&command[1..])
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {err}");
    String::from_utf8(done.stdout).unwrap()
}

fn golden_text(name: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/golden/nft/{name}", env!("CARGO_MANIFEST_DIR")))
        .unwrap()
}

/// nft reads the text from its standard input.
fn nft_takes(text: &str) {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft (nftables)");
    nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "nft refused the text");
}

/// Every way in which nft shows a ruleset.
fn shown() -> [String; 3] {
    [
        run(&["nft", "list", "ruleset"]),
        without_handles(&run(&["nft", "-j", "list", "ruleset"])),
        run(&["nft", "--debug=netlink", "list", "ruleset"]),
    ]
}

/// Handles count what was made in the namespace, not what is there.
fn without_handles(json: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    for object in value["nftables"].as_array_mut().unwrap() {
        for (_, inner) in object.as_object_mut().unwrap() {
            inner.as_object_mut().map(|o| o.remove("handle"));
        }
    }
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn nft_shows_our_ruleset_as_its_own() {
    in_namespace("kernel::nft_shows_our_ruleset_as_its_own", || {
        nft_takes(&golden_text("ruleset.nft"));
        nft_takes(&golden_text("elements.nft"));
        let theirs = shown();
        run(&["nft", "delete", "table", "inet", "podkeel"]);
        assert_eq!(run(&["nft", "list", "ruleset"]), "");

        send(NETFILTER, |b| ruleset::make(b, 1));
        send(NETFILTER, ruleset::make_elements);
        for (theirs, ours) in theirs.iter().zip(shown()) {
            assert!(
                theirs.contains("masquerade") || theirs.contains("masq"),
                "nft shows nothing: {theirs}"
            );
            assert!(*theirs == ours, "{}", line_diff(theirs, &ours));
        }
    });
}

/// What `ip -d -j` says of the one object that it prints for these words.
fn ip(words: &str) -> serde_json::Value {
    let command: Vec<_> = ["ip", "-d", "-j"].into_iter().chain(words.split(' ')).collect();
    serde_json::from_str::<serde_json::Value>(&run(&command)).unwrap()[0].clone()
}

#[test]
fn ip_shows_our_links_addresses_and_routes() {
    in_namespace("kernel::ip_shows_our_links_addresses_and_routes", || {
        let peer = Link {
            index: 12,
            name: Some("eth0"),
            mac: Some([2, 0, 0, 0, 0, 2]),
            ..Link::default()
        };
        let of = |index| Link { index, ..Link::default() };
        let port = Port { hairpin: Some(true), isolated: Some(true) };
        let addr = Addr {
            index: 10,
            ip: [10, 1, 0, 1].into(),
            prefix: 24,
            broadcast: None,
            nodad: false,
            no_route: false,
        };
        let gateway = Some([10, 1, 0, 2].into());
        let route = Route::new(([0; 4].into(), 0), gateway, 10);
        // IFALIASZ: the kernel takes 255 bytes.
        let alias = "a".repeat(255);
        send(ROUTE, |b| {
            rt::new_link(b, CREATE, &Link { name: Some("br0"), kind: Kind::Bridge, ..of(10) });
            let ends = Link {
                name: Some("v0"),
                mtu: Some(1400),
                kind: Kind::Veth(&peer),
                master: Some(10),
                ..of(11)
            };
            rt::new_link(b, CREATE, &ends);
            rt::new_link(b, REQUEST, &Link { alias: Some(&alias), port: Some(port), ..of(11) });
            rt::new_link(b, REQUEST, &Link { up: Some(true), ..of(10) });
            rt::new_addr(b, &addr);
            rt::new_addr(
                b,
                &Addr { ip: "fd00::1".parse().unwrap(), prefix: 64, nodad: true, ..addr },
            );
            rt::new_route(b, &route);
        });
        let v0 = ip("link show v0");
        assert_eq!(
            (&v0["master"], &v0["mtu"], &v0["ifalias"]),
            (&"br0".into(), &1400.into(), &alias.as_str().into())
        );
        let data = &v0["linkinfo"]["info_slave_data"];
        assert_eq!((&data["hairpin"], &data["isolated"]), (&true.into(), &true.into()));
        assert_eq!(ip("link show eth0")["address"], "02:00:00:00:00:02");
        let addrs = ip("addr show br0")["addr_info"].to_string();
        assert!(addrs.contains("10.1.0.1") && addrs.contains("fd00::1"), "{addrs}");
        let default = ip("route show default");
        assert_eq!(
            (&default["gateway"], &default["protocol"]),
            (&"10.1.0.2".into(), &"112".into())
        );

        send(ROUTE, |b| {
            rt::del_route(b, &route);
            rt::del_addr(b, &addr);
            rt::new_link(b, REQUEST, &Link { alias: Some(""), ..of(11) });
        });
        assert_eq!(ip("route show default"), serde_json::Value::Null);
        assert!(!run(&["ip", "addr", "show", "br0"]).contains("10.1.0.1"));
        assert_eq!(ip("link show v0")["ifalias"], serde_json::Value::Null);
        send(ROUTE, |b| _ = rt::new_link(b, REQUEST, &Link { group: Some(77), ..of(11) }));
        assert_eq!(ip("link show v0")["group"], "77");
        let mut none = Batch::new(1);
        rt::del_group(&mut none, 78);
        assert_eq!(refusals(ROUTE, &none), [(1, libc::ENODEV)]);
        send(ROUTE, |b| _ = rt::del_group(b, 77));
        assert!(!run(&["ip", "link"]).contains("v0"));
    });
}

/// The id that this namespace has given to itself.
fn own_nsid(netns: i32) -> Option<u32> {
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, ROUTE).unwrap();
    let mut batch = Batch::new(1);
    rt::get_nsid(&mut batch, netns);
    rustix::net::send(&socket, batch.bytes(), SendFlags::empty()).unwrap();
    let mut buffer = [0; 4096];
    let (len, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT).unwrap();
    messages(&buffer[..len]).find_map(|message| rt::read_nsid(&message.unwrap()))
}

#[test]
fn ip_shows_the_id_that_we_give_a_namespace() {
    in_namespace("kernel::ip_shows_the_id_that_we_give_a_namespace", || {
        let netns = std::fs::File::open("/proc/self/ns/net").unwrap();
        let netns = std::os::fd::AsRawFd::as_raw_fd(&netns);
        assert_eq!((own_nsid(netns), run(&["ip", "netns", "list-id"])), (None, String::new()));
        send(ROUTE, |b| _ = rt::new_nsid(b, netns, 0x7fff_fff0));
        assert_eq!(run(&["ip", "netns", "list-id"]).trim(), "nsid 2147483632");
        let mut again = Batch::new(1);
        rt::new_nsid(&mut again, netns, 7);
        assert_eq!(refusals(ROUTE, &again), [(1, libc::EEXIST)], "it is given once");
        assert_eq!(own_nsid(netns), Some(0x7fff_fff0));
    });
}

#[test]
fn an_overlong_message_is_refused() {
    in_namespace("kernel::an_overlong_message_is_refused", || {
        let mut batch = Batch::new(1);
        let alias = "a".repeat(70_000);
        rt::new_link(
            &mut batch,
            REQUEST,
            &Link { index: 1, alias: Some(&alias), ..Link::default() },
        );
        assert_eq!(refusals(ROUTE, &batch), [(1, libc::EOPNOTSUPP)]);

        let table = nf::Table { family: nf::INET, name: "t" };
        let name = "x".repeat(70_000);
        let mut batch = Batch::new(1);
        nf::begin(&mut batch, None);
        table.make(&mut batch, nf::CREATE, "");
        table.make_chain(&mut batch, &name, None);
        nf::end(&mut batch);
        assert_eq!(refusals(NETFILTER, &batch), [(3, libc::EINVAL)]);
        assert_eq!(run(&["nft", "list", "ruleset"]), "", "nothing of the transaction is applied");
    });
}

fn line_diff(theirs: &str, ours: &str) -> String {
    let lines = theirs
        .lines()
        .zip(ours.lines())
        .filter(|(t, o)| t != o)
        .map(|(t, o)| format!("-{t}\n+{o}\n"));
    format!(
        "{}{} and {} lines",
        lines.collect::<String>(),
        theirs.lines().count(),
        ours.lines().count()
    )
}
