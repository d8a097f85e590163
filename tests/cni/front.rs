//! The front: names, environment, versions, errors.

use serde_json::{Value, json};

use super::call::{Who, answer, bridge, failed, ours, reference, who, with};
use super::common::{Kind, dirs, ns_add, sh, sh_out, told, world};

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const NAMES: [&str; 16] = [
    "bridge",
    "dummy",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "static",
    "tap",
    "tuning",
    "vlan",
    "vrf",
    "vxlan",
];

#[test]
fn every_name_is_one_file_and_says_its_versions() {
    world(Kind::User, || {
        let plugins = ours();
        let inodes = sh_out(&format!("stat -L -c %i {}/*", plugins.dir.display()));
        assert!(inodes.lines().all(|inode| Some(inode) == inodes.lines().next()), "{inodes}");
        for name in NAMES {
            // podman's way: an empty container id, dummies for all else.
            let vars =
                [("CNI_COMMAND", "VERSION"), ("CNI_NETNS", "dummy"), ("CNI_IFNAME", "dummy")];
            let output = plugins.raw(name, &vars, r#"{"cniVersion":"1.0.0"}"#);
            assert!(output.status.success(), "{}", told(name, &output));
            assert_eq!(
                answer(&output),
                json!({"cniVersion": "1.1.0", "supportedVersions": VERSIONS})
            );
            let output = plugins.raw(name, &[], "");
            assert!(output.status.success() && output.stdout.is_empty(), "{}", told(name, &output));
            assert!(String::from_utf8_lossy(&output.stderr).contains("0.1.0, 0.2.0"), "{name}");
        }
        assert!(!dirs().run.exists(), "a look at versions leaves nothing");
    });
}

/// Without a plugin's name the configuration's type says which plugin it is.
#[test]
fn the_type_says_which_plugin_where_the_name_does_not() {
    world(Kind::User, || {
        ns_add("a");
        let plugins = ours();
        sh(&format!("ln {0}/bridge {0}/netsetup", plugins.dir.display()));
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "loopback"});
        let lo = Who { ifname: "lo".into(), ..who("a") };
        let output = plugins.call("netsetup", "ADD", &lo, &conf);
        assert_eq!(answer(&output)["interfaces"][0]["name"], "lo", "{}", told("ADD", &output));
        let conf = with(conf, json!({"type": "../x"}));
        let (code, msg) = failed("ADD", &plugins.call("netsetup", "ADD", &lo, &conf));
        assert_eq!(code, 2, "{msg}");
    });
}

#[test]
fn links_across_file_systems_are_symbolic_and_others_files_are_replaced() {
    world(Kind::User, || {
        let plugins = ours();
        let program = plugins.dir.join("bridge");
        sh("mkdir /run/other && mount -t tmpfs tmpfs /run/other && echo x >/run/other/bridge");
        // By a name that is no plugin's.
        sh(&format!("ln {} {}/ns", program.display(), plugins.dir.display()));
        let listed = sh_out(&format!("{}/ns install /run/other", plugins.dir.display()));
        assert_eq!(listed.lines().count(), NAMES.len(), "{listed}");
        let again = sh_out(&format!("{}/ns install /run/other", plugins.dir.display()));
        assert_eq!(again, listed);
        let links = sh_out("cd /run/other && find . -type l | wc -l && find . ! -type l ! -name .");
        assert_eq!(links, NAMES.len().to_string(), "all are symbolic links, nothing else is there");
        assert!(sh_out("CNI_COMMAND=VERSION /run/other/ptp").contains("supportedVersions"));
    });
}

/// Codes are the specification's; the reference has the same for the same calls.
#[test]
fn bad_calls_have_the_codes_of_the_specification() {
    world(Kind::User, || {
        ns_add("a");
        let good =
            json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br-cni"});
        let text = |more: Value| with(good.clone(), more).to_string();
        let full =
            ["CNI_CONTAINERID=c", "CNI_NETNS=/run/netns/a", "CNI_IFNAME=eth0", "CNI_PATH=/x"];
        let but = |change: &'static str| {
            let key = change.split('=').next().unwrap();
            let kept = full.iter().copied().filter(move |var| !var.starts_with(key));
            kept.chain([change]).collect::<Vec<_>>()
        };
        let full = full.to_vec();
        let table = [
            ("ADD", but("CNI_CONTAINERID="), text(json!({})), 4, "[CNI_CONTAINERID]"),
            ("ADD", but("CNI_NETNS="), text(json!({})), 4, "[CNI_NETNS]"),
            ("CHECK", but("CNI_NETNS="), text(json!({})), 4, "[CNI_NETNS]"),
            ("DEL", but("CNI_IFNAME="), text(json!({})), 4, "[CNI_IFNAME]"),
            ("add", full.clone(), text(json!({})), 4, "unknown CNI_COMMAND: add"),
            ("ADD", but("CNI_CONTAINERID=../c"), text(json!({})), 4, "\"../c\""),
            ("ADD", but("CNI_IFNAME=a/b"), text(json!({})), 4, "\"a/b\""),
            ("ADD", but("CNI_IFNAME=0123456789abcdef"), text(json!({})), 4, "15 bytes"),
            ("ADD", full.clone(), "{".into(), 6, "EOF while parsing"),
            ("ADD", full.clone(), String::new(), 6, "EOF while parsing"),
            ("ADD", full.clone(), text(json!({"name": ""})), 7, "name"),
            ("ADD", full.clone(), text(json!({"name": "../x"})), 7, "\"../x\""),
            ("ADD", full.clone(), text(json!({"cniVersion": "9.0.0"})), 1, "incompatible"),
            ("DEL", full.clone(), text(json!({"cniVersion": "9.0.0"})), 1, "incompatible"),
            (
                "CHECK",
                full.clone(),
                text(json!({"cniVersion": "0.3.1"})),
                1,
                "does not allow CHECK",
            ),
        ];
        for (verb, vars, stdin, code, says) in table {
            let what = format!("{verb} {vars:?} {stdin}");
            let mut vars: Vec<(&str, &str)> =
                vars.iter().map(|v| v.split_once('=').unwrap()).collect();
            vars.push(("CNI_COMMAND", verb));
            let (is, msg) = failed(&what, &ours().raw("bridge", &vars, &stdin));
            assert_eq!(is, code, "{what}: {msg}");
            assert!(msg.contains(says), "{what}: {msg}");
            let (theirs, msg) = failed(&what, &reference().raw("bridge", &vars, &stdin));
            assert_eq!(theirs, code, "the reference: {what}: {msg}");
        }
        assert_eq!(sh_out("ip -br link"), sh_out("ip -br link show lo"), "nothing was made");
    });
}

/// What the reference says with its one code for everything, 999, or not at all.
#[test]
fn more_codes_than_the_reference_has() {
    world(Kind::User, || {
        ns_add("a");
        let plugins = ours();
        let conf =
            json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br-cni"});
        let who = who("a");
        let refused = |verb: &str, who: &Who, more: Value, code: u64, says: &str| {
            let conf = with(conf.clone(), more);
            let (is, msg) = plugins.fails(verb, who, &conf);
            assert_eq!(is, code, "{verb} {conf}: {msg}");
            assert!(msg.contains(says), "{verb} {conf}: {msg}");
        };
        let at = |netns: &str| Who { netns: netns.into(), ..who.clone() };
        refused("ADD", &at("/run/netns/none"), json!({}), 3, "/run/netns/none");
        refused("ADD", &at("/etc/passwd"), json!({}), 4, "not a namespace");
        refused("ADD", &at("/proc/self/ns/net"), json!({}), 4, "the host's own");
        let args = |args: &str| Who { args: args.into(), ..who.clone() };
        refused("ADD", &args("FOO=bar"), json!({}), 4, "FOO=bar");
        refused("ADD", &args("FOO"), json!({}), 4, "invalid pair");
        refused("ADD", &who, json!({"isGateway": 7}), 7, "isGateway");
        refused("CHECK", &who, json!({}), 7, "prevResult");
        refused("GC", &who, json!({}), 7, "cni.dev/valid-attachments");
        refused("GC", &who, json!({"cniVersion": "1.0.0"}), 1, "does not allow GC");
        refused("STATUS", &who, json!({"cniVersion": "1.0.0"}), 1, "does not allow STATUS");
        assert_eq!(sh_out("ip -br link"), sh_out("ip -br link show lo"), "nothing was made");
        assert!(
            plugins.call("bridge", "ADD", &args("IgnoreUnknown=1;FOO=bar"), &conf).status.success()
        );
        plugins.ok("DEL", &who, &conf);
    });
}

/// An answer that nobody reads is a failure, and leaves nothing.
#[test]
fn an_answer_that_cannot_be_given_is_taken_back() {
    world(Kind::User, || {
        ns_add("a");
        let conf = bridge("1.0.0");
        let path = ours().dir.display().to_string();
        sh(&format!("cat >/run/conf <<'EOF'\n{conf}\nEOF"));
        let failed = super::common::sh_fails(&format!(
            "CNI_COMMAND=ADD CNI_CONTAINERID=a CNI_NETNS=/run/netns/a CNI_IFNAME=eth0 CNI_PATH={path} \
             {path}/bridge </run/conf >/dev/full"
        ));
        assert_eq!(failed.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&failed.stderr).contains("cannot print the answer"));
        assert!(!sh_out("ip -n a -br link").contains("eth0"));
        let left = super::call::files(&super::call::leases("net"));
        assert!(left.iter().all(|(name, _)| name.starts_with("last_reserved_ip")), "{left:?}");
    });
}

/// The host's own namespace is nobody's pod: CHECK compares nothing there, and DEL leaves an
/// interface of the asked name alone, be it of the kind that the plugin makes.
#[test]
fn the_hosts_own_namespace_is_no_pods() {
    world(Kind::User, || {
        let plugins = ours();
        sh("ip link add under type veth peer name other && mkdir -p /run/cni/tuning");
        let veth = "ip link add up0 type veth peer name up1";
        let host = Who { netns: "/proc/self/ns/net".into(), ifname: "up0".into(), ..who("a") };
        let prev = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "up0", "sandbox": "/proc/self/ns/net"}],
            "ips": [{"interface": 0, "address": "10.99.0.1/24"}]});
        for (plugin, make, more) in [
            ("bridge", veth, json!({"bridge": "br-cni"})),
            ("ptp", veth, json!({})),
            ("loopback", veth, json!({})),
            ("macvlan", "ip link add link under name up0 type macvlan", json!({"master": "under"})),
            ("tap", "ip tuntap add dev up0 mode tap", json!({})),
            ("host-device", veth, json!({"device": "under"})),
            ("tuning", veth, json!({"mtu": 1300, "promisc": true})),
            ("firewall", veth, json!({})),
            (
                "portmap",
                veth,
                json!({"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}}),
            ),
        ] {
            // What the reference would have put down for its own DEL.
            let note = r#"{"mtu": 1300, "promisc": false}"#;
            sh(&format!("echo '{note}' >/run/cni/tuning/a_up0.json"));
            sh(&format!("{make} && ip addr add 10.99.0.1/24 dev up0"));
            sh("ip link set up0 alias home0 promisc on up");
            let before = sh_out("ip -d addr show up0");
            let base =
                json!({"cniVersion": "1.0.0", "name": "net", "type": plugin, "prevResult": prev});
            let conf = with(base, more);
            let (code, msg) = plugins.fails("CHECK", &host, &conf);
            assert!(code == 4 && msg.contains("the host's own"), "{plugin}: {code}: {msg}");
            plugins.ok("DEL", &host, &conf);
            assert_eq!(sh_out("ip -d addr show up0"), before, "{plugin}");
            sh("ip link del up0");
        }
    });
}

/// On the program's own file system the names are hard links to it.
#[test]
fn names_are_hard_links_where_they_can_be() {
    world(Kind::User, || {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_netsetup"));
        // Beside the program, and gone at the end however that comes about.
        let dir = Beside(program.with_file_name(format!("names.{}", std::process::id())));
        // A copy, for the program may be mounted where it is: no link leaves a mount.
        let copy = Beside(program.with_file_name(format!("copy.{}", std::process::id())));
        std::fs::create_dir(&copy.0).expect("a directory");
        std::fs::copy(program, copy.0.join("netsetup")).expect("a copy");
        let program = copy.0.join("netsetup");
        let install = || sh(&format!("{} install {}", program.display(), dir.0.display()));
        let links = || {
            use std::os::unix::fs::MetadataExt;
            let is = std::fs::symlink_metadata(dir.0.join("bridge")).expect("a name");
            let own = program.metadata().expect("the program");
            assert_eq!((is.dev(), is.ino()), (own.dev(), own.ino()));
            is.nlink()
        };
        install();
        let nlink = links();
        assert!(nlink > NAMES.len() as u64, "{nlink}");
        let kinds = sh_out(&format!("find {} -type f | wc -l", dir.0.display()));
        assert_eq!(kinds, NAMES.len().to_string());
        // A file of others', and one of an earlier program, under a plugin's name.
        std::fs::remove_file(dir.0.join("ptp")).expect("a name");
        std::fs::write(dir.0.join("ptp"), "x").expect("a file");
        install();
        assert_eq!(links(), nlink);
        assert_eq!(
            sh_out(&format!("find {} | wc -l", dir.0.display())),
            (NAMES.len() + 1).to_string()
        );
    });
}

/// A directory that goes with the test.
struct Beside(std::path::PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// stdin that can't be read, or never ends; and a signal in the middle.
#[test]
fn what_stops_a_call() {
    world(Kind::User, || {
        ns_add("a");
        let plugins = ours();
        let bridge = plugins.dir.join("bridge").display().to_string();
        let vars = "CNI_COMMAND=ADD CNI_CONTAINERID=a CNI_NETNS=/run/netns/a CNI_IFNAME=eth0";
        let call = |stdin: &str| {
            let output = super::common::sh_any(&format!("{vars} CNI_PATH=/x {bridge} <{stdin}"));
            failed(stdin, &output)
        };
        let (code, msg) = call("/run");
        assert!(code == 5 && msg.contains("Is a directory"), "{code}: {msg}");
        sh("head -c 16777217 /dev/zero >/run/long");
        let (code, msg) = call("/run/long");
        assert!(code == 5 && msg.contains("16777216"), "{code}: {msg}");
        // It waits for the lock around what pods share: a signal ends that.
        let conf = with(super::call::bridge("1.0.0"), json!({"ipMasq": true}));
        std::fs::write("/run/conf", conf.to_string()).expect("a file");
        let run = dirs().run.display().to_string();
        sh(&format!("mkdir -p -m 700 {run}"));
        let output = super::common::sh_any(&format!(
            "exec 9<{run}; flock 9; {vars} CNI_PATH=/x {bridge} </run/conf >/run/said & \
             pid=$!; until grep -qs 'SigCgt:.*4[0-9a-f]\\{{3\\}}$' /proc/$pid/status; do :; done; \
             kill -TERM $pid; wait $pid"
        ));
        assert_eq!(output.status.code(), Some(1), "{}", told("ADD", &output));
        let said: Value = serde_json::from_str(&sh_out("cat /run/said")).expect("an answer");
        assert_eq!(said["code"], 11, "{said}");
        assert!(said["msg"].as_str().expect("a message").contains("signal 15"), "{said}");
        assert!(
            !sh_out("ip -br link").contains("br-cni")
                && !sh_out("ip -n a -br link").contains("eth0")
        );
        assert!(!dirs().run.exists() || sh_out(&format!("find {run} -type f")).is_empty());
    });
}
