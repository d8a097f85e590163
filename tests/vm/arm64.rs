//! The programs for aarch64, run on an emulated CPU.
//!
//! ```text
//! pause           out of the infra image, as a registry would hand it out. Where this build's
//!                 compiler had no such target, shim carries none; then it is compiled with Debian's
//!                 cross compiler, unpacked from its packages and installed nowhere
//! netsetup, shim  built as for a release, but in the dev profile and without the infra image: by
//!                 this build's compiler, and Debian's gcc-aarch64-linux-gnu as the linker
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::compiler::Compiler;
use super::cpio::{Archive, Entry};
use super::debian::Debian;
use super::kernel::Kernel;
use super::machine::ARM64;
use super::{common, inner, run};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The release that has a core library for it and a busybox.
const RELEASE: &str = "bookworm";

/// The pause for aarch64 in the image that shim builds; none where it carries none.
fn out_of_the_image() -> Option<PathBuf> {
    let layout = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-aarch64");
    let _ = std::fs::remove_dir_all(&layout);
    let mut build = Command::new(env!("CARGO_BIN_EXE_shim"));
    build.args(["image", "build", "--arch", "arm64", "-o"]).arg(&layout);
    let output = common::output(&mut build);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(5) && said.contains("this shim carries pause for amd64") {
        println!("{said}");
        return None;
    }
    assert!(output.status.success(), "{}", common::told("shim image build", &output));
    // Down from the index, by digests, to the one file of the one layer.
    let script = "blob() { printf 'blobs/sha256/%s' \"${1#sha256:}\"; }; set -e; \
        index=$(jq -r '.manifests[0].digest' index.json); \
        manifest=$(jq -r '.manifests[0].digest' $(blob $index)); \
        layer=$(jq -r '.layers[0].digest' $(blob $manifest)); \
        tar -xzf $(blob $layer) pause";
    run(Command::new("sh").args(["-c", script]).current_dir(&layout));
    Some(layout.join("pause"))
}

/// What pause is tested by; all else tests netsetup and shim.
const OF_PAUSE: [&str; 10] = [
    "says_its_version",
    "warns_where_it_is_not_the_first_process",
    "leaves_on_term",
    "leaves_on_int",
    "stays_on_other_signals",
    "reaps_orphans",
    "runs_a_command",
    "passes_signals_on",
    "reaps_as_an_init",
    "waits_and_kills",
];

/// netsetup and shim, for this CPU, without what is for debuggers. Nothing where tests/run
/// has said that they can't be built.
fn programs() -> Option<[PathBuf; 2]> {
    if std::env::var_os("PODKEEL_TEST_NO_AARCH64").is_some() {
        println!("only pause is tested, for there is no Rust library for {TARGET}: {OF_PAUSE:?}");
        return None;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--locked", "--no-default-features", "--message-format=json"]);
    cargo.args(["--bin", "netsetup", "--bin", "shim", "--target", TARGET]);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = common::output(&mut cargo);
    assert!(
        output.status.success(),
        "{}\nit takes `rustup target add {TARGET}`, and Debian's gcc-aarch64-linux-gnu and libc6-dev-arm64-cross",
        common::told("cargo build for aarch64", &output)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built: Vec<PathBuf> =
        messages.filter_map(|m| m["executable"].as_str().map(PathBuf::from)).collect();
    Some(["netsetup", "shim"].map(|name| {
        let program = built.iter().find(|path| path.ends_with(name));
        let program = program.unwrap_or_else(|| panic!("cargo built no {name}"));
        let small = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-aarch64"));
        run(Command::new("aarch64-linux-gnu-strip").arg("-o").arg(&small).arg(program));
        small
    }))
}

/// What netsetup's drivers need of the kernel's modules, and what those need.
const MODULES: &str = "veth bridge nf_conntrack_netlink nf_tables nft_chain_nat nft_ct nft_fib_inet \
    nft_masq nft_nat nft_reject_inet tun macvlan ipvlan 8021q dummy vrf bonding";

/// These modules alone: unpacking takes an emulated CPU a while.
fn modules(image: &mut Archive, kernel: &Kernel) {
    let read = |file: &str| {
        let path = kernel.modules.join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let (dep, to) = (read("modules.dep"), Path::new("/lib/modules").join(&kernel.version));
    let named = |path: &str, name: &str| path.ends_with(&format!("/{name}.ko"));
    let mut wanted = BTreeSet::new();
    for (file, needs) in dep.lines().filter_map(|line| line.split_once(':')) {
        if MODULES.split_whitespace().any(|name| named(file, name)) {
            wanted.insert(file);
            wanted.extend(needs.split_whitespace());
        }
    }
    let built_in = read("modules.builtin");
    for name in MODULES.split_whitespace() {
        let all = wanted.iter().copied().chain(built_in.lines());
        assert!(all.into_iter().any(|path| named(path, name)), "no module {name}");
    }
    for file in wanted {
        image.add(&to.join(file), Entry::Copy(kernel.modules.join(file), 0o644));
    }
    for list in ["modules.dep", "modules.alias"] {
        image.add(&to.join(list), Entry::Text(read(list).into(), 0o644));
    }
}

const APPLETS: &str = "sh unshare nsenter sleep grep ps cat kill cut seq ip ping nc modprobe readlink \
    sed awk wc mkdir rm test id timeout sort";

/// Boots a VM in which a shell script tests them, and judges what it says.
pub(super) fn boot(kernel: &Kernel, label: &str, most: Duration) {
    let pause = out_of_the_image()
        .unwrap_or_else(|| Compiler::of_debian(&Debian::new(RELEASE, "arm64")).pause(TARGET));
    let others = programs();
    let is_left_out = |line: &str| {
        let name = line.strip_prefix("try ");
        others.is_none() && name.is_some_and(|name| !OF_PAUSE.contains(&name))
    };
    let lines = include_str!("arm64.sh").lines();
    let job: Vec<&str> = lines.filter(|line| !is_left_out(line)).collect();
    let busybox = Debian::new(RELEASE, "arm64").package("busybox-static").join("bin/busybox");
    let mut image = Archive::default();
    for dir in ["/dev", "/inits", "/proc", "/sys", "/run", "/new", "/tmp", "/var/lib", "/etc"] {
        image.add(Path::new(dir), Entry::Folder);
    }
    image.add(Path::new("/bin/busybox"), Entry::Copy(busybox, 0o755));
    image.add(Path::new("/pause"), Entry::Copy(pause, 0o755));
    for (at, from) in ["/bin/netsetup", "/bin/shim"].into_iter().zip(others.into_iter().flatten()) {
        image.add(Path::new(at), Entry::Copy(from, 0o755));
    }
    for name in ["pause", "tini", "dumb-init", "catatonit"] {
        image.add(&Path::new("/inits").join(name), Entry::Link("/pause".into()));
    }
    modules(&mut image, kernel);
    let version = concat!("version='podkeel-pause ", env!("CARGO_PKG_VERSION"), "'\n");
    let script = version.to_owned() + &job.join("\n");
    for (at, text) in [("/init", include_str!("init.sh")), ("/job", &script), ("/modules", MODULES)]
    {
        image.add(Path::new(at), Entry::Text(format!("{text}\n").into(), 0o755));
    }
    for applet in APPLETS.split_whitespace() {
        image.add(&Path::new("/bin").join(applet), Entry::Link("busybox".into()));
    }
    image.add(Path::new("/sbin/modprobe"), Entry::Link("/bin/busybox".into()));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("vm-{label}.cpio"));
    image.write(std::fs::File::create(&file).expect("make the image")).expect("write the image");
    let mut seen = inner::Seen::new();
    let end = ARM64.boot(&kernel.vmlinuz, &file, most, |line| inner::note(label, line, &mut seen));
    let names = job.iter().filter_map(|line| line.strip_prefix("try "));
    inner::judge(label, names.map(str::to_owned), &seen, &end);
}
