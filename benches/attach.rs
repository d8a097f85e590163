//! What an attachment costs beside the kernel operations that it can't do
//! without, in one process and one run: `cargo bench --bench attach`.
//!
//! The floor is the same objects made by the same messages with nothing around
//! them: no facts, no record, no lease, no undo. Needs root, or a user
//! namespace; nothing of the host is touched.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use podkeel_netsetup::conf::Network;
use podkeel_netsetup::kernel::{Netns, Rtnl};
use podkeel_netsetup::request::{Publish, Wishes};
use podkeel_netsetup::roots::Roots;
use podkeel_netsetup::verbs::{self, Context, Target, Wanted};
use podkeel_wire::rt::{self, Link};

const ROUNDS: usize = 60;

fn main() {
    if std::env::var_os("PODKEEL_BENCH_INSIDE").is_none() {
        let own = std::env::current_exe().expect("own path");
        let flags = ["--net", "--mount", "--user", "--map-root-user", "--propagation", "private"];
        let done =
            Command::new("unshare").args(flags).arg(own).env("PODKEEL_BENCH_INSIDE", "1").status();
        std::process::exit(done.expect("unshare of util-linux").code().unwrap_or(1));
    }
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "none", "/run"]).status().expect("mount");
    assert!(mounted.success(), "a tmpfs of the bench's own");
    let context = Context::new(Roots {
        run: "/run/podkeel".into(),
        netns: "/run/netns".into(),
        leases: "/run/leases".into(),
        conf: Vec::new(),
    });
    // One attachment stays, so that the bridge and the table are there, as on any busy host.
    let stay = named("stay");
    verbs::add(&context, &wanted("stay", &[]), stay).expect("add");

    let mut rows: [Vec<Duration>; 6] = Default::default();
    for round in 0..ROUNDS {
        let (add, del) = ours(&context, round, &[]);
        rows[0].push(add);
        rows[1].push(del);
        let (add, del) = ours(&context, round, &["8080:80"]);
        rows[2].push(add);
        rows[3].push(del);
        let (add, del) = bare(round);
        rows[4].push(add);
        rows[5].push(del);
    }
    let medians = rows.map(|mut row| {
        row.sort();
        row[row.len() / 2].as_secs_f64() * 1e3
    });
    let [add, del, add_port, del_port, bare_add, bare_del] = medians;
    println!("medians of {ROUNDS}, ms      add            del");
    println!("bare kernel operations  {bare_add:6.3}         {bare_del:6.3}");
    println!(
        "netsetup                {add:6.3} x{:.2}   {del:6.3} x{:.2}",
        add / bare_add,
        del / bare_del
    );
    println!(
        "netsetup, one port      {add_port:6.3} x{:.2}   {del_port:6.3} x{:.2}",
        add_port / bare_add,
        del_port / bare_del
    );
}

fn named(name: &str) -> Target {
    let made = Command::new("ip").args(["netns", "add", name]).status().expect("ip of iproute2");
    assert!(made.success());
    Target::of_path(&Path::new("/run/netns").join(name)).expect("open")
}

fn wanted(name: &str, ports: &[&str]) -> Wanted {
    let wishes = Wishes {
        ports: Publish::parse_all(ports.iter().copied()).expect("ports"),
        ..Wishes::default()
    };
    let network = Network::builtin().expect("network");
    Wanted {
        network,
        container: name.into(),
        ifname: "eth0".into(),
        wishes,
        default_route: true,
        bundle: None,
        part: None,
    }
}

fn ours(context: &Context, round: usize, ports: &[&str]) -> (Duration, Duration) {
    let name = format!("ours{round}p{}", ports.len());
    let (wanted, target) = (wanted(&name, ports), named(&name));
    let began = Instant::now();
    verbs::add(context, &wanted, target).expect("add");
    let add = began.elapsed();
    let began = Instant::now();
    verbs::del(context, &wanted.id()).expect("del");
    (add, began.elapsed())
}

/// A veth born in place, lo and eth0 up, disable_ipv6, address, default route; and one deletion.
fn bare(round: usize) -> (Duration, Duration) {
    use std::os::fd::{AsFd, AsRawFd};
    let name = format!("bare{round}");
    let netns: Netns = named(&name).netns;
    let mut host = Rtnl::open().expect("socket");
    let master = host.index("podkeel0").expect("bridge");

    let began = Instant::now();
    let mut pod = netns.visit(Rtnl::open).expect("visit");
    let peer =
        Link { name: Some("eth0"), netns: Some(netns.as_fd().as_raw_fd()), ..Link::default() };
    let link = Link {
        name: Some(&name),
        master: Some(master),
        up: Some(true),
        kind: rt::Kind::Veth(&peer),
        ..Link::default()
    };
    let mut batch = host.socket.batch();
    rt::new_link(&mut batch, rt::CREATE, &link);
    assert!(host.socket.exchange(batch, |_| {}).expect("veth").is_empty());
    let quiet = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6";
    let written = netns.visit(|| Ok(std::fs::write(quiet, "1")));
    written.expect("visit").expect("sysctl");
    let mut batch = pod.socket.batch();
    for name in ["lo", "eth0"] {
        rt::new_link(
            &mut batch,
            rt::REQUEST,
            &Link { name: Some(name), up: Some(true), ..Link::default() },
        );
    }
    rt::get_link(&mut batch, "eth0");
    let mut index = 0;
    let read =
        |m: &podkeel_wire::Message<'_>| index = rt::LinkInfo::read(m).map_or(index, |l| l.index);
    assert!(pod.socket.exchange(batch, read).expect("up").is_empty());
    let mut batch = pod.socket.batch();
    let ip = [10, 89, 200, 200].into();
    rt::new_addr(
        &mut batch,
        &rt::Addr { index, ip, prefix: 16, broadcast: None, nodad: true, no_route: false },
    );
    let dst = ([0, 0, 0, 0].into(), 0);
    rt::new_route(&mut batch, &rt::Route::new(dst, Some([10, 89, 0, 1].into()), index));
    assert!(pod.socket.exchange(batch, |_| {}).expect("address").is_empty());
    let add = began.elapsed();

    let link = host.link(&name).expect("link").expect("link");
    let began = Instant::now();
    assert!(host.delete_link(&link).expect("delete"));
    (add, began.elapsed())
}
