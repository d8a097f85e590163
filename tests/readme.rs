//! README.md is typed in, as a reader would: every command of its ```sh blocks, in
//! order, in one shell, in a world of its own. What it says of options, exit codes
//! and files is compared with the programs.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::dump::{assert_same_world, dump};
use common::{Kind, cgroup, neighbour, output, scratch, sh, world};

const README: &str = include_str!("../README.md");
const HOOK: &str = include_str!("../docs/hook.md");

/// Commands that are typed differently here: as README says it, what runs instead, why.
const INSTEAD: &[(&str, &str, &str)] = &[
    (
        "cargo run --release -- demo",
        "target/release/shim demo",
        "the program that cargo would run is there already",
    ),
    ("tests/run", "true", "it would run this test again"),
    ("cargo build --release", "true", "the programs are there already, from this build"),
    (".ci/release", "true", "it compiles all of it anew, twice; tests/release.rs has the rest"),
    ("netsetup map", "netsetup map >map.txt; cat map.txt", "it is compared with the picture"),
    ("shim ps", "shim ps >ps.txt; cat ps.txt", "it is compared with the table"),
];

/// What stays behind: pattern of a dump's line.
const STAYS: &[&str] = &[
    // Forwarding: something else may need it by then. The kernel turns the rest with it.
    "host sysctl net.ipv4.ip_forward*",
    "host sysctl net.ipv4.conf.*.forwarding*",
    "host sysctl net.ipv4.conf.all.accept_redirects*",
    // host-local's folder of a network; a lease in it would be a difference.
    "file /var/lib/cni/networks: added",
    "file /var/lib/cni/networks/bridge: added",
    "file /var/lib/cni/networks/custom-bridge: added",
    "file /var/lib/cni/networks/ptp: added",
    "file /var/lib/cni/networks/macvlan: added",
    // ip-netns(8) makes its folder a mount of its own.
    "mount /run/netns: added",
];

/// The lines of all fenced blocks of this kind.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    let after = text.split(&fence).skip(1);
    after.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// A line without the comment behind it.
fn command_of(line: &str) -> &str {
    line.split(" #").next().unwrap_or_default().trim_end()
}

/// The README's commands as one script.
fn script() -> String {
    let lines = blocks(README, "sh").concat();
    let typed: Vec<&str> = lines.lines().map(command_of).filter(|line| !line.is_empty()).collect();
    assert!(typed.len() > 20, "README has only {typed:?}");
    for (line, ..) in INSTEAD {
        assert!(typed.contains(line), "README no longer says {line:?}: take it off the list");
    }
    let run = typed.iter().map(|line| {
        let other = INSTEAD.iter().find(|(said, ..)| said == line);
        other.map_or(*line, |(_, instead, _)| *instead)
    });
    run.flat_map(|line| [line, "\n"]).collect()
}

/// A folder that looks as a clone does after `cargo build --release`.
fn clone_with_programs() -> PathBuf {
    let clone = scratch().join("clone");
    let (from, to) = (env!("CARGO_MANIFEST_DIR"), clone.display());
    sh(&format!("mkdir -p {to}/target/release; cp {from}/README.md {to}"));
    sh(&format!("cp -r {from}/oci-bundles {to}; rm -rf {to}/oci-bundles/*/rootfs"));
    for program in
        [env!("CARGO_BIN_EXE_pause"), env!("CARGO_BIN_EXE_shim"), env!("CARGO_BIN_EXE_netsetup")]
    {
        sh(&format!("cp {program} {to}/target/release/"));
    }
    clone
}

/// Cgroups are the host's: the containers' go where the harness removes them.
fn own_cgroup(config: &Path, name: &str) {
    let text = fs::read_to_string(config).expect("a bundle's config.json");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["linux"]["cgroupsPath"] = cgroup(name).into();
    fs::write(config, json.to_string()).expect("write the bundle's config.json");
}

fn types_it_all(script: &str) {
    // What is installed here must not stay on the host.
    sh("mount -t tmpfs tmpfs /usr/local/bin");
    let clone = clone_with_programs();
    for entry in fs::read_dir(clone.join("oci-bundles")).expect("bundles").flatten() {
        let config = entry.path().join("config.json");
        if config.exists() {
            own_cgroup(&config, &entry.file_name().to_string_lossy());
        }
    }
    // The Ethernet that a pod can be put on, and its router.
    neighbour("router", 0).ns.sh("ip addr add 192.168.1.1/24 dev eth0");
    let before = dump(&[]);
    // Containers keep the outputs: a pipe of ours would wait for them.
    let mut shell = Command::new("sh");
    shell.args(["-eux", "-c", script]).current_dir(&clone).stdin(Stdio::null());
    let path = std::env::var("PATH").expect("PATH");
    shell.env("PATH", format!("/usr/local/bin:/usr/sbin:/sbin:{path}"));
    let status = shell.status().expect("sh");
    assert!(status.success(), "the README's commands: {status}; the last one printed failed");
    assert_same_world(&before, &dump(&[]), STAYS);

    let text = blocks(README, "text");
    for (file, start) in [("map.txt", "host\n"), ("ps.txt", "NAME ")] {
        let shown = fs::read_to_string(clone.join(file)).expect("what was shown");
        let promised = text.iter().find(|block| block.starts_with(start)).expect("a picture");
        assert_eq!(without_chance(promised), without_chance(&shown), "{file}");
    }
}

/// Names, numbers, ages and MAC addresses that are new each time, made the same.
fn without_chance(picture: &str) -> Vec<String> {
    let word = |word: &str| match word {
        w if w.starts_with("pk") && w.len() == 14 => "pk*".to_owned(),
        w if w.trim_end_matches('s').bytes().all(|b| b.is_ascii_digit()) => "N".to_owned(),
        // Which one it is depends on what had one before.
        w if w.starts_with("10.89.0.") && !w.starts_with("10.89.0.1/") => "ADDRESS".to_owned(),
        w if w.starts_with("net:[") => "net:[*]".to_owned(),
        w if w.len() == 17 && w.matches(':').count() == 5 => "MAC".to_owned(),
        w => w.to_owned(),
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    picture.lines().map(line).collect()
}

#[test]
#[ignore = "needs root"]
fn the_commands_work_as_written() {
    world(Kind::Root, || types_it_all(&script()));
}

#[test]
#[ignore = "needs root"]
fn crun_takes_the_same_words() {
    world(Kind::Root, || types_it_all(&script().replace("runc ", "crun ")));
}

fn help(words: &[&str]) -> String {
    let output = output(Command::new(env!("CARGO_BIN_EXE_netsetup")).args(words).arg("--help"));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words in backquotes that begin like this, without what follows them.
fn quoted<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let spans = text.split('`').skip(1).step_by(2);
    let first = spans.filter_map(|span| span.split([' ', '=', '|']).next());
    first.filter(|word| word.starts_with(start)).collect()
}

#[test]
fn options_and_variables_are_the_programs_own() {
    let all = [&["add"][..], &["gc"], &["hook"], &[]].map(help).join(" ");
    for (text, start) in [(README, "--"), (README, "PODKEEL_"), (HOOK, "--")] {
        let words = quoted(text, start);
        assert!(words.len() > 2, "no {start} in the text: {words:?}");
        for word in words.iter().filter(|word| !word.contains('*')) {
            assert!(all.contains(word), "{word} is in no help");
        }
    }
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let help = help(&[]);
    let codes = help.split("Exit codes: ").nth(1).expect("exit codes in the help");
    let told: Vec<&str> = codes.split("; ").filter_map(|item| item.split(' ').next()).collect();
    let table = README.split("| code |").nth(1).expect("the table").split("\n\n").next();
    let rows = table.expect("rows").lines().skip(2);
    let written: Vec<&str> =
        rows.filter_map(|row| row.split("| ").nth(1)?.split(' ').next()).collect();
    assert_eq!(written, told);
}

#[test]
fn files_that_are_linked_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (text, folder) in [(README, root.to_owned()), (HOOK, root.join("docs"))] {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(folder.join(link).is_file(), "{link} is linked, but not there");
        }
    }
}
