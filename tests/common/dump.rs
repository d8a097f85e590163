//! The state of the world as words, and what two states differ in.
//!
//! A [`Dump`] is a flat list of objects, each with attributes:
//!
//! ```text
//! host link podkeel0                     mtu = 1500, flags = BROADCAST MULTICAST UP, ...
//! web addr eth0 10.88.0.2/16             scope = global, ...
//! host route -4 default via 198.18.0.2 dev up0      protocol = boot, ...
//! host nft rule ip nat post: {...}       (its text is its name)
//! host sysctl net.ipv4.ip_forward        value = 0
//! file /run/podkeel/net/...              mode, content
//! mount /run/netns/web                   type = nsfs
//! ```
//!
//! It is read with `ip` and `nft`, from /proc/sys/net and from the roots of state.
//! What is left out stands in [`IGNORED`], each with its reason. What a test accepts
//! beyond that it names itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::flatten;
use super::netns::{Ns, in_netns};
use super::world::dirs;

/// What a dump leaves out: kind of object, attribute (or name), reason.
///
/// An attribute is matched by its last part (`linkinfo.info_data.hello_timer` is
/// `hello_timer`), a sysctl by its name, a file by the start of its name.
pub const IGNORED: &[(&str, &str, &str)] = &[
    ("link", "ifindex", "a number that the kernel gives out; links are known by name"),
    ("link", "link_index", "the peer's ifindex"),
    ("link", "link_netnsid", "a number that the kernel gives out per pair of namespaces"),
    ("link", "stats", "counter"),
    ("link", "stats64", "counter"),
    ("link", "operstate", "the kernel's link watch sets it up to a second late"),
    ("link", "NO-CARRIER", "flag that follows operstate"),
    ("link", "state", "of a bridge port: follows operstate"),
    ("link", "hello_timer", "timer"),
    ("link", "tcn_timer", "timer"),
    ("link", "topology_change_timer", "timer"),
    ("link", "topology_change", "follows topology_change_timer"),
    ("link", "topology_change_detected", "follows topology_change_timer"),
    ("link", "gc_timer", "timer"),
    ("link", "hold_timer", "timer"),
    ("link", "message_age_timer", "timer"),
    ("link", "forward_delay_timer", "timer"),
    ("link", "fdb_n_learned", "counter of addresses that a bridge has learned"),
    ("addr", "valid_life_time", "timer"),
    ("addr", "preferred_life_time", "timer"),
    ("addr", "tentative", "duplicate address detection: ends by itself"),
    ("route", "expires", "timer"),
    ("route", "linkdown", "flag that follows operstate"),
    ("nft", "handle", "a number that the kernel gives out"),
    ("nft", "index", "a number that the kernel gives out"),
    ("nft", "packets", "counter"),
    ("nft", "bytes", "counter"),
    ("nft", "used", "counter of a quota"),
    ("nft", "last", "time since last use"),
    ("nft", "expires", "timer"),
    ("sysctl", "net.netfilter.nf_conntrack_count", "counter"),
    ("sysctl", "net.ipv4.tcp_fastopen_key", "a random value made when first read"),
    ("file", "last_reserved_ip.", "host-local's memory of the last address, not a lease"),
];

/// Whether [`IGNORED`] names `key` of a `kind`.
pub(super) fn ignored(kind: &str, key: &str) -> bool {
    IGNORED.iter().any(|(k, what, _)| *k == kind && *what == key)
}

/// Attributes of one object.
pub type Attrs = BTreeMap<String, String>;

/// The state of a world at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    objects: BTreeMap<String, Attrs>,
    /// Per namespace, in the kernel's order: path below /proc/sys, value. There are so
    /// many that they become objects only when two dumps differ in them.
    sysctls: BTreeMap<String, Vec<(String, String)>>,
}

/// Reads the state of the host namespace, of `others`, and of the roots of state.
///
/// Panics when one of the tools fails: a state that cannot be read equals nothing.
pub fn dump(others: &[Ns]) -> Dump {
    dump_of(&[&[Ns::host()], others].concat())
}

/// The same of these namespaces alone.
pub fn dump_of(all: &[Ns]) -> Dump {
    let mut whole = Dump::default();
    std::thread::scope(|scope| {
        let readers: Vec<_> = all.iter().map(|ns| scope.spawn(|| read_ns(ns))).collect();
        read_roots(&mut whole);
        for reader in readers {
            match reader.join() {
                Ok(part) => {
                    whole.objects.extend(part.objects);
                    whole.sysctls.extend(part.sysctls);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    whole
}

impl Dump {
    /// All objects by name, sysctls among them.
    pub fn objects(&self) -> BTreeMap<String, Attrs> {
        self.objects_but(&Self::default())
    }

    /// All objects, but of the sysctls only those that `other` has not, or with another
    /// value.
    fn objects_but(&self, other: &Self) -> BTreeMap<String, Attrs> {
        let mut all = self.objects.clone();
        for (ns, list) in &self.sysctls {
            let same: HashSet<_> = other.sysctls.get(ns).into_iter().flatten().collect();
            for (path, value) in list.iter().filter(|sysctl| !same.contains(sysctl)) {
                let name = sysctl_name(path);
                if !ignored("sysctl", &name) {
                    let attrs = Attrs::from([("value".to_owned(), value.clone())]);
                    all.insert(format!("{ns} sysctl {name}"), attrs);
                }
            }
        }
        all
    }

    /// The objects of both that aren't the same in the other: what was, what is. Sysctls
    /// that are the same are never made objects of: there are thousands.
    pub fn against(&self, after: &Self) -> [BTreeMap<String, Attrs>; 2] {
        let keep = |mine: BTreeMap<String, Attrs>, other: &Self| {
            let same = |name: &str, attrs: &Attrs| other.objects.get(name) == Some(attrs);
            mine.into_iter().filter(|(name, attrs)| !same(name, attrs)).collect()
        };
        [keep(self.objects_but(after), after), keep(after.objects_but(self), self)]
    }

    /// Changes attributes of every object that isn't a sysctl; what becomes `None` is left out.
    pub fn retouch(&mut self, mut touch: impl FnMut(&str, Attrs) -> Option<Attrs>) {
        let objects = std::mem::take(&mut self.objects).into_iter();
        self.objects = objects
            .filter_map(|(name, attrs)| touch(&name, attrs).map(|attrs| (name, attrs)))
            .collect();
    }

    /// The objects that aren't sysctls.
    pub fn plain(&self) -> &BTreeMap<String, Attrs> {
        &self.objects
    }

    /// Attributes of the object of this name.
    pub fn get(&self, name: &str) -> Option<Attrs> {
        self.objects().remove(name)
    }

    /// Adds an object; a second one of the same name becomes `name #2`.
    pub fn add(&mut self, name: String, attrs: Attrs) {
        let mut free = name.clone();
        let mut count = 1;
        while self.objects.contains_key(&free) {
            count += 1;
            free = format!("{name} #{count}");
        }
        self.objects.insert(free, attrs);
    }
}

/// What `after` differs in from `before`, one line per object:
/// `host link podkeel0: added`, `host link up0: mtu 1500 -> 1400`.
///
/// Sysctls of an interface that came or went are not told one by one.
pub fn diff(before: &Dump, after: &Dump) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    let (before, after) = (before.objects_but(after), after.objects_but(before));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        match (before.get(name), after.get(name)) {
            (None, Some(_)) if !told_by_link(name, &before, &after) => {
                lines.push(format!("{name}: added"));
            }
            (Some(_), None) if !told_by_link(name, &before, &after) => {
                lines.push(format!("{name}: removed"));
            }
            (Some(old), Some(new)) if old != new => {
                lines.push(format!("{name}: {}", changes(old, new)));
            }
            _ => {}
        }
    }
    lines
}

/// [`diff`] without the lines that one of the `allowed` patterns matches: an object's
/// name or a whole line, with `*` for any text.
pub fn differences(before: &Dump, after: &Dump, allowed: &[&str]) -> Vec<String> {
    let mut lines = diff(before, after);
    lines.retain(|line| {
        let object = line.split(": ").next().unwrap_or(line);
        !allowed.iter().any(|p| glob(p, line) || glob(p, object))
    });
    lines
}

/// Panics with every difference that is not allowed.
#[track_caller]
pub fn assert_same_world(before: &Dump, after: &Dump, allowed: &[&str]) {
    let lines = differences(before, after, allowed);
    assert!(lines.is_empty(), "the world has changed:\n  {}", lines.join("\n  "));
}

/// Whether `name` is a sysctl of an interface that only one of the two states has.
fn told_by_link(
    name: &str,
    before: &BTreeMap<String, Attrs>,
    after: &BTreeMap<String, Attrs>,
) -> bool {
    let Some((ns, sysctl)) = name.split_once(" sysctl ") else { return false };
    let parts: Vec<&str> = sysctl.split('.').collect();
    let ["net", _, "conf" | "neigh", link, ..] = parts[..] else { return false };
    let link = format!("{ns} link {}", link.replace('/', "."));
    before.contains_key(&link) != after.contains_key(&link)
}

/// `mtu 1500 -> 1400, alias (none) -> x`, long values shortened to where they differ.
fn changes(old: &Attrs, new: &Attrs) -> String {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = keys.into_iter().filter(|k| old.get(*k) != new.get(*k));
    let show = |attrs: &Attrs, key: &String| attrs.get(key).map_or("(none)".into(), |v| short(v));
    let words = differing.map(|k| format!("{k} {} -> {}", show(old, k), show(new, k)));
    words.collect::<Vec<_>>().join(", ")
}

fn short(value: &str) -> String {
    const MOST: usize = 400;
    match value.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}... ({} bytes)", &value[..at], value.len()),
        None => value.to_owned(),
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any text.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// All that one namespace holds. The tools run beside the reading of sysctls.
fn read_ns(ns: &Ns) -> Dump {
    let mut dump = Dump::default();
    if !ns.path.exists() {
        dump.add(format!("{} namespace", ns.name), Attrs::from([("state".into(), "gone".into())]));
        return dump;
    }
    in_netns(ns, || {
        // rule has no -6 of its own inside a batch; addr and route list both families.
        let nft = start(&["nft", "-j", "list", "ruleset"], "");
        let ip = start(&["ip", "-d", "-j", "-batch", "-"], "addr\nroute show table all\nrule\n");
        let ip6 = start(&["ip", "-6", "-d", "-j", "rule"], "");
        let mut sysctls = Vec::with_capacity(1024);
        read_sysctls(&mut "/proc/sys/net".to_owned(), &mut sysctls);
        dump.sysctls.insert(ns.name.clone(), sysctls);
        let lists = finish("ip", ip);
        let [links, routes, rules] = &lists[..] else {
            panic!("ip -batch printed {} lists, not 3", lists.len())
        };
        flatten::links(&ns.name, links, &mut dump);
        flatten::routes(&ns.name, routes, &mut dump);
        flatten::rules(&ns.name, "-4", rules, &mut dump);
        flatten::rules(&ns.name, "-6", &finish("ip -6 rule", ip6)[0], &mut dump);
        flatten::ruleset(&ns.name, &finish("nft", nft)[0], &mut dump);
    });
    dump
}

fn start(command: &[&str], input: &str) -> Child {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    // A few bytes: they fit the pipe. The pipe closes here, so the program sees its end.
    let pipe = child.stdin.take();
    pipe.expect("stdin is piped").write_all(input.as_bytes()).ok();
    child
}

/// Waits for a tool and returns the JSON documents that it printed.
fn finish(what: &str, child: Child) -> Vec<Value> {
    let output = child.wait_with_output().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(output.status.success(), "{}", super::told(what, &output));
    let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    let values: Result<Vec<Value>, _> = values.collect();
    let values = values.unwrap_or_else(|e| panic!("{what}: {e}: {}", super::told(what, &output)));
    assert!(!values.is_empty(), "{what} printed nothing");
    values
}

/// Every file below `path`. Write-only (route.flush) and refused ones keep their error
/// as a value.
fn read_sysctls(path: &mut String, list: &mut Vec<(String, String)>) {
    let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    for entry in entries {
        let entry = entry.unwrap_or_else(|e| panic!("{path}: {e}"));
        let length = path.len();
        path.push('/');
        path.push_str(&entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            read_sysctls(path, list);
        } else {
            let value = sysctl(path).unwrap_or_else(|e| format!("unreadable: {e}"));
            list.push((path["/proc/sys/".len()..].to_owned(), value));
        }
        path.truncate(length);
    }
}

/// As sysctl(8) spells it: a dot inside a name (`eth0.100`) becomes a slash.
fn sysctl_name(path: &str) -> String {
    path.chars()
        .map(|c| {
            if c == '/' {
                '.'
            } else if c == '.' {
                '/'
            } else {
                c
            }
        })
        .collect()
}

/// The value in one file of /proc/sys: one read gives it whole (proc_sys(5)), and
/// thousands are read per dump, so nothing else is asked.
fn sysctl(path: &str) -> std::io::Result<String> {
    // The kernel clears a buffer of its own of the size that is asked for: nearly all
    // values are short.
    let mut short = [0; 128];
    let length = File::open(path)?.read(&mut short)?;
    if length < short.len() {
        return Ok(String::from_utf8_lossy(&short[..length]).trim_end().to_owned());
    }
    let mut long = vec![0; 1 << 16];
    let length = File::open(path)?.read(&mut long)?;
    Ok(String::from_utf8_lossy(&long[..length]).trim_end().to_owned())
}

/// The roots of state on disk, and what is mounted below them.
fn read_roots(dump: &mut Dump) {
    let dirs = dirs();
    read_tree(&dirs.run, dump);
    read_tree(&dirs.leases, dump);
    if let Ok(entries) = fs::read_dir(&dirs.netns) {
        for entry in entries.flatten() {
            dump.add(format!("netns {}", entry.file_name().to_string_lossy()), Attrs::new());
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    for line in mounts.lines() {
        // ID parent dev root POINT options [tags] - TYPE source (proc_pid_mountinfo(5))
        let point = line.split(' ').nth(4).expect("mount point");
        let kind = line.split(" - ").nth(1).and_then(|l| l.split(' ').next()).expect("type");
        if [&dirs.run, &dirs.leases, &dirs.netns].iter().any(|d| Path::new(point).starts_with(d)) {
            dump.add(format!("mount {point}"), Attrs::from([("type".into(), kind.into())]));
        }
    }
}

fn read_tree(path: &Path, dump: &mut Dump) {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let ignored = IGNORED.iter().any(|(k, start, _)| *k == "file" && name.starts_with(start));
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    if ignored {
        return;
    }
    let kind = meta.file_type();
    let unreadable = |e: std::io::Error| format!("unreadable: {e}");
    let content = if kind.is_dir() {
        "(directory)".to_owned()
    } else if kind.is_symlink() {
        fs::read_link(path).map_or_else(unreadable, |to| format!("-> {}", to.display()))
    } else if kind.is_fifo() || kind.is_socket() {
        "(not a file)".to_owned()
    } else {
        fs::read(path).map_or_else(unreadable, |b| String::from_utf8_lossy(&b).into_owned())
    };
    let mode = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
    let attrs = Attrs::from([("mode".to_owned(), mode), ("content".to_owned(), content)]);
    dump.add(format!("file {}", path.display()), attrs);
    if kind.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            read_tree(&entry.path(), dump);
        }
    }
}
