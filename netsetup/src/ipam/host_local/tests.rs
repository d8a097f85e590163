use std::{
    collections::HashSet,
    fs::File,
    sync::{Barrier, mpsc},
    thread,
    time::Instant,
};

use rustix::fs::FlockOperation;

use super::*;

#[path = "../../../keep/src/testdir.rs"]
mod testdir;
use testdir::TestDir;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn range(subnet: &str, start: &str, end: &str, gateway: Option<&str>) -> Range {
    Range {
        subnet: subnet.parse().unwrap(),
        start: ip(start),
        end: ip(end),
        gateway: gateway.map(ip),
    }
}

/// 10.1.0.0/24 with the gateway at .1 and the addresses from .1 to `end`.
fn net24(end: &str) -> RangeSet {
    vec![range("10.1.0.0/24", "10.1.0.1", end, Some("10.1.0.1"))]
}

fn next(dir: &Path, set: &RangeSet) -> Result<Candidate> {
    candidate(dir, 0, set, "web", "eth0", None, &|_| false)
}

fn ask(dir: &Path, set: &RangeSet, address: &str) -> Result<Candidate> {
    candidate(dir, 0, set, "web", "eth0", Some(ip(address)), &|_| false)
}

/// Leases the next address and returns it, as an add does it.
fn take(dir: &Path, set: &RangeSet) -> Result<IpAddr> {
    loop {
        let lease = next(dir, set)?.lease;
        match lease.make() {
            Err(error) if error.kind == Kind::Taken => {}
            other => {
                other?;
                remember(dir, 0, lease.ip)?;
                return Ok(lease.ip);
            }
        }
    }
}

/// All that can be leased, in order, until the set is exhausted.
fn take_all(set: &RangeSet) -> Vec<String> {
    let dir = TestDir::new();
    let mut all = Vec::new();
    loop {
        match take(&dir, set) {
            Ok(ip) => all.push(ip.to_string()),
            Err(error) if error.why.starts_with("none is free") => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_file_is_the_one_that_host_local_writes() {
    let dir = TestDir::new();
    let found = next(&dir, &net24("10.1.0.254")).unwrap();
    assert_eq!(found.address, "10.1.0.2/24".parse::<IpNet>().unwrap());
    assert_eq!(found.gateway, Some(ip("10.1.0.1")));
    assert_eq!(fs::read_dir(&*dir).unwrap().count(), 0, "looking changes nothing");
    found.lease.make().unwrap();
    remember(&dir, 0, found.lease.ip).unwrap();
    assert_eq!(fs::read(dir.join("10.1.0.2")).unwrap(), b"web\r\neth0");
    assert_eq!(fs::read(dir.join("last_reserved_ip.0")).unwrap(), b"10.1.0.2");
    assert_eq!(found.lease.find().unwrap(), Some(("web".to_owned(), "eth0".to_owned())));
    assert!(found.lease.drop().unwrap());
    assert!(!found.lease.drop().unwrap());
    let left: Vec<_> = fs::read_dir(&*dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["last_reserved_ip.0"]);
}

#[test]
fn the_search_goes_on_after_the_last_lease_and_wraps_through_all_ranges() {
    let dir = TestDir::new();
    let set = vec![
        range("10.1.0.0/24", "10.1.0.10", "10.1.0.11", None),
        range("10.2.0.0/24", "10.2.0.1", "10.2.0.3", Some("10.2.0.1")),
    ];
    let mut seen = Vec::new();
    for _ in 0..6 {
        let lease = next(&dir, &set).unwrap().lease;
        lease.make().unwrap();
        remember(&dir, 0, lease.ip).unwrap();
        seen.push(lease.ip.to_string());
        lease.drop().unwrap();
    }
    assert_eq!(seen, ["10.1.0.10", "10.1.0.11", "10.2.0.2", "10.2.0.3", "10.1.0.10", "10.1.0.11"]);
    remember(&dir, 0, ip("10.2.0.2")).unwrap();
    assert_eq!(next(&dir, &set).unwrap().address.to_string(), "10.2.0.3/24");
    // A hint from another configuration, and one that is torn.
    for hint in ["192.168.0.1", "10.2.0.", "", "fd00::1"] {
        fs::write(dir.join("last_reserved_ip.0"), hint).unwrap();
        assert_eq!(next(&dir, &set).unwrap().lease.ip, ip("10.1.0.10"), "{hint:?}");
    }
}

#[test]
fn every_address_comes_once_wherever_the_walk_begins() {
    let set = vec![
        range("10.1.0.0/24", "10.1.0.10", "10.1.0.13", None),
        range("10.2.0.0/24", "10.2.0.1", "10.2.0.1", None),
        range("10.3.0.0/24", "10.3.0.7", "10.3.0.9", None),
    ];
    let mut expected: Vec<IpAddr> = walk(&set, None).map(|(_, ip)| ip).collect();
    assert_eq!(expected.len(), 8);
    for start in expected.clone() {
        let place = expected.iter().position(|ip| *ip == start).unwrap();
        expected.rotate_left(place + 1);
        let walked: Vec<IpAddr> = walk(&set, Some(start)).map(|(_, ip)| ip).collect();
        assert_eq!(walked, expected, "after {start}");
    }
    // The very last address there is.
    let top = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let set = vec![range(
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
        top,
        None,
    )];
    assert_eq!(walk(&set, Some(ip(top))).count(), 2);
}

#[test]
fn network_broadcast_and_gateway_are_never_leased() {
    let v4 = |subnet, start, end, gateway| take_all(&vec![range(subnet, start, end, gateway)]);
    assert_eq!(
        v4("10.1.0.0/29", "10.1.0.0", "10.1.0.7", Some("10.1.0.3")).join(" "),
        "10.1.0.1 10.1.0.2 10.1.0.4 10.1.0.5 10.1.0.6"
    );
    assert_eq!(v4("10.1.0.0/30", "10.1.0.0", "10.1.0.3", Some("10.1.0.1")), ["10.1.0.2"]);
    assert_eq!(v4("10.1.0.0/31", "10.1.0.0", "10.1.0.1", None), ["10.1.0.0", "10.1.0.1"]);
    assert_eq!(v4("10.1.0.0/31", "10.1.0.0", "10.1.0.1", Some("10.1.0.0")), ["10.1.0.1"]);
    assert_eq!(v4("10.1.0.7/32", "10.1.0.7", "10.1.0.7", None), ["10.1.0.7"]);
    assert_eq!(v4("fd00::/126", "fd00::", "fd00::3", Some("fd00::1")), ["fd00::2", "fd00::3"]);
    assert_eq!(v4("fd00::/127", "fd00::", "fd00::1", None), ["fd00::", "fd00::1"]);
    assert_eq!(v4("fd00::5/128", "fd00::5", "fd00::5", None), ["fd00::5"]);
}

#[test]
fn ipv6_files_have_go_s_text_form() {
    let dir = TestDir::new();
    let all = "fd00:0:0:1:ffff:ffff:ffff:ffff";
    let set = vec![range("fd00:0:0:1::/64", "fd00:0:0:1::", all, Some("fd00:0:0:1::1"))];
    let found = next(&dir, &set).unwrap();
    assert_eq!(found.address.to_string(), "fd00:0:0:1::2/64");
    found.lease.make().unwrap();
    // Of two runs of zeros the longer one, of equal ones the first, never a single group; lower case.
    for (address, name) in [
        ("FD00::1:0:0:0:9", "fd00:0:0:1::9"),
        ("fd00:0:0:1:2:0:0:9", "fd00::1:2:0:0:9"),
        ("fd00:0:0:1:2:0:3:9", "fd00::1:2:0:3:9"),
    ] {
        let set = vec![range("fd00::/16", "fd00::", "fdff::", None)];
        ask(&dir, &set, address).unwrap().lease.make().unwrap();
        assert!(dir.join(name).is_file(), "{address} as {name}");
    }
    // An IPv4 address is one in either notation.
    ask(&dir, &net24("10.1.0.254"), "::ffff:10.1.0.9").unwrap().lease.make().unwrap();
    assert!(dir.join("10.1.0.9").is_file());
}

#[test]
fn a_requested_address_must_be_free_and_in_the_set() {
    let dir = TestDir::new();
    let set = net24("10.1.0.99");
    let lease = ask(&dir, &set, "10.1.0.5").unwrap().lease;
    lease.make().unwrap();
    let error = ask(&dir, &set, "10.1.0.5").unwrap_err();
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (Kind::Taken, "cannot lease 10.1.0.5: 10.1.0.5 is leased to web/eth0")
    );
    let error = lease.make().unwrap_err();
    assert_eq!((error.kind, error.why.as_str()), (Kind::Taken, "10.1.0.5 is leased to web/eth0"));
    let error = ask(&dir, &set, "10.1.0.100").unwrap_err();
    assert_eq!((error.kind, error.why.as_str()), (Kind::Input, "it isn't in 10.1.0.1-10.1.0.99"));
    assert_eq!(ask(&dir, &set, "10.1.0.1").unwrap_err().why, "it is the gateway of 10.1.0.0/24");
    let whole = vec![range("10.1.0.0/24", "10.1.0.0", "10.1.0.255", None)];
    assert_eq!(ask(&dir, &whole, "10.1.0.255").unwrap_err().kind, Kind::Input);
    let skipped =
        candidate(&dir, 0, &set, "web", "eth0", Some(ip("10.1.0.6")), &|_| true).unwrap_err();
    assert_eq!(skipped.kind, Kind::Taken);
}

#[test]
fn an_exhausted_set_says_what_it_is_and_what_helps() {
    let dir = TestDir::new();
    for set in [net24("10.1.0.4"), net24("10.1.0.200")] {
        while take(&dir, &set).is_ok() {}
    }
    let text = |error: Error| error.to_string();
    let hint = "\n  hint: `netsetup gc` gives back the leases of containers that are gone";
    let few = text(next(&dir, &net24("10.1.0.4")).unwrap_err());
    assert_eq!(
        few,
        format!("cannot lease an address of 10.1.0.1-10.1.0.4: none is free; leased: 3{hint}")
    );
    let many = next(&dir, &net24("10.1.0.200")).unwrap_err();
    assert_eq!(
        (many.kind, text(many)),
        (
            Kind::Taken,
            format!(
                "cannot lease an address of 10.1.0.1-10.1.0.200: none is free; leased: 199{hint}"
            )
        )
    );
    let skipped = candidate(&dir, 0, &net24("10.1.0.202"), "web", "eth0", None, &|ip| {
        ip > self::ip("10.1.0.200")
    });
    assert!(text(skipped.unwrap_err()).contains("leased: 199, 2 are in use outside the leases"));
    // Past the probes, a gap is found, and one file without an owner.
    Lease {
        dir: dir.to_owned(),
        ip: ip("10.1.0.150"),
        id: "web".into(),
        ifname: "eth0".into(),
        set: 0,
    }
    .drop()
    .unwrap();
    assert_eq!(take(&dir, &net24("10.1.0.200")).unwrap(), ip("10.1.0.150"));
    fs::write(dir.join("10.1.0.177"), "").unwrap();
    assert_eq!(take(&dir, &net24("10.1.0.200")).unwrap(), ip("10.1.0.177"));
}

#[test]
fn a_subnet_of_which_all_is_skipped_ends() {
    let set = vec![range("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff", None)];
    let error = candidate(&TestDir::new(), 0, &set, "web", "eth0", None, &|_| true).unwrap_err();
    assert_eq!(error.kind, Kind::Taken);
}

#[test]
fn a_file_without_an_owner_is_free() {
    for torn in ["", "\r\n", "\r\neth0", "\0\0\0\0\0\0\0\0\0", " \n"] {
        let dir = TestDir::new();
        fs::write(dir.join("10.1.0.2"), torn).unwrap();
        let lease = next(&dir, &net24("10.1.0.9")).unwrap().lease;
        assert_eq!(lease.ip, ip("10.1.0.2"), "{torn:?}");
        assert_eq!(lease.find().unwrap(), None, "{torn:?}");
        lease.make().unwrap();
        assert_eq!(fs::read(dir.join("10.1.0.2")).unwrap(), b"web\r\neth0", "{torn:?}");
        assert!(dir.join("lock").is_file());
    }
}

#[test]
fn a_file_that_host_local_is_just_filling_is_waited_for() {
    let dir = TestDir::new();
    let lock = File::create(dir.join("lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    fs::write(dir.join("10.1.0.2"), "").unwrap();
    let lease = next(&dir, &net24("10.1.0.9")).unwrap().lease;
    assert_eq!(lease.ip, ip("10.1.0.2"));
    let (done, result) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| done.send(lease.make()).unwrap());
        assert!(result.recv_timeout(Duration::from_millis(50)).is_err(), "it waits for the lock");
        fs::write(dir.join("10.1.0.2"), "db\r\neth1").unwrap();
        drop(lock);
        assert_eq!(result.recv().unwrap().unwrap_err().why, "10.1.0.2 is leased to db/eth1");
    });
}

#[test]
fn only_our_own_lease_is_dropped() {
    let dir = TestDir::new();
    let lease = next(&dir, &net24("10.1.0.9")).unwrap().lease;
    for foreign in ["db\r\neth0", "web\r\neth1", "web", "web\r\neth0\r\nmore", ""] {
        fs::write(dir.join("10.1.0.2"), foreign).unwrap();
        assert!(!lease.drop().unwrap(), "{foreign:?}");
        assert_eq!(fs::read_to_string(dir.join("10.1.0.2")).unwrap(), foreign);
    }
    for ours in ["web\r\neth0", "web\neth0\n"] {
        fs::write(dir.join("10.1.0.2"), ours).unwrap();
        assert!(lease.drop().unwrap(), "{ours:?}");
    }
    assert!(!dir.join("lock").exists());
}

#[test]
fn names_that_two_lines_cannot_hold_are_refused() {
    let dir = TestDir::new();
    for (id, ifname) in [
        ("", "eth0"),
        ("web", ""),
        ("a\nb", "eth0"),
        (" web", "eth0"),
        ("web", "eth0\r\nx"),
        ("w\0", "eth0"),
    ] {
        let lease =
            candidate(&dir, 0, &net24("10.1.0.9"), id, ifname, None, &|_| false).unwrap().lease;
        assert_eq!(lease.make().unwrap_err().kind, Kind::Input, "{id:?} {ifname:?}");
    }
    assert_eq!(fs::read_dir(&*dir).unwrap().count(), 0);
}

#[test]
fn leases_lists_owners_only() {
    let dir = TestDir::new();
    assert_eq!(leases(Path::new("/nonexistent")).unwrap(), []);
    for (name, content) in [
        ("10.1.0.10", "b\r\neth0"),
        ("10.1.0.9", "old"),
        ("fd00::2", "c\r\nnet1"),
        ("10.1.0.3", ""),
        ("lock", ""),
        ("last_reserved_ip.0", "10.1.0.9"),
        (".10.1.0.4.tmp", "x\r\ny"),
    ] {
        fs::write(dir.join(name), content).unwrap();
    }
    let found = leases(&dir).unwrap();
    let text: Vec<String> =
        found.iter().map(|l| format!("{} {} {}", l.ip, l.id, l.ifname)).collect();
    assert_eq!(text, ["10.1.0.9 old ", "10.1.0.10 b eth0", "fd00::2 c net1"]);
    assert!(found.iter().all(|l| l.since.elapsed().unwrap() < Duration::from_secs(60)));
}

#[test]
fn eight_threads_lease_four_hundred_different_addresses() {
    let dir = TestDir::new();
    // Exactly as many as there are: the last ones are found among all that are taken.
    let set = vec![range("10.1.0.0/22", "10.1.0.1", "10.1.1.145", Some("10.1.0.1"))];
    let barrier = Barrier::new(8);
    let work = || {
        barrier.wait();
        (0..50).map(|_| take(&dir, &set).unwrap()).collect::<Vec<_>>()
    };
    let all: Vec<IpAddr> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (400, 400));
    assert_eq!(leases(&dir).unwrap().len(), 400);
    assert_eq!(next(&dir, &set).unwrap_err().kind, Kind::Taken);
}

/// Prints how long an allocation takes beside 50,000 leases; times are not asserted.
#[test]
fn fifty_thousand_leases() {
    let dir = TestDir::new();
    let set = vec![range("10.1.0.0/16", "10.1.0.1", "10.1.255.254", Some("10.1.0.1"))];
    let all: Vec<IpAddr> = walk(&set, None).map(|(_, ip)| ip).skip(1).take(50_000).collect();
    for ip in &all {
        fs::write(dir.join(ip.to_string()), "web\r\neth0").unwrap();
    }
    let time = |what: &str, times: u32, work: &mut dyn FnMut()| {
        let begun = Instant::now();
        (0..times).for_each(|_| work());
        println!("{what}: {:.1} us", begun.elapsed().as_secs_f64() * 1e6 / f64::from(times));
    };
    remember(&dir, 0, all[49_999]).unwrap();
    let mut last = all[0];
    time("candidate + make + remember, 50,000 leased", 100, &mut || {
        last = take(&dir, &set).unwrap()
    });
    assert_eq!(number(last), number(all[49_999]) + 100);
    time("candidate alone", 100, &mut || drop(next(&dir, &set).unwrap()));
    remember(&dir, 0, all[0]).unwrap();
    time("candidate behind 50,099 leased in a row", 3, &mut || drop(next(&dir, &set).unwrap()));
    let full = vec![range("10.1.0.0/16", "10.1.0.2", &all[49_999].to_string(), None)];
    time("exhausted, 50,000 leased", 3, &mut || drop(next(&dir, &full).unwrap_err()));
    time("leases()", 1, &mut || assert_eq!(leases(&dir).unwrap().len(), 50_100));
}
