//! pause for aarch64, run on an emulated CPU: out of the infra image, as a registry would hand it
//! out. Where this build's compiler had no such target, shim carries none; then it is compiled with
//! Debian's cross compiler, unpacked from its packages and installed nowhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

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

/// Boots a VM in which pause is tested by a shell script, and judges what it says.
pub(super) fn boot(kernel: &Kernel, label: &str, most: Duration) {
    let pause = out_of_the_image()
        .unwrap_or_else(|| Compiler::of_debian(&Debian::new(RELEASE, "arm64")).pause(TARGET));
    let busybox = Debian::new(RELEASE, "arm64").package("busybox-static").join("bin/busybox");
    let mut image = Archive::default();
    for dir in ["/dev", "/inits", "/proc", "/sys", "/run", "/new"] {
        image.add(Path::new(dir), Entry::Folder);
    }
    image.add(Path::new("/bin/busybox"), Entry::Copy(busybox, 0o755));
    image.add(Path::new("/pause"), Entry::Copy(pause, 0o755));
    for name in ["pause", "tini", "dumb-init", "catatonit"] {
        image.add(&Path::new("/inits").join(name), Entry::Link("/pause".into()));
    }
    let version = concat!("version='podkeel-pause ", env!("CARGO_PKG_VERSION"), "'\n");
    let job = version.to_owned() + include_str!("arm64.sh");
    for (at, text) in [("/init", include_str!("init.sh")), ("/job", &job), ("/modules", "")] {
        image.add(Path::new(at), Entry::Text(text.into(), 0o755));
    }
    let applets = "sh unshare nsenter sleep grep ps cat kill cut seq";
    for applet in applets.split(' ') {
        image.add(&Path::new("/bin").join(applet), Entry::Link("busybox".into()));
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("vm-{label}.cpio"));
    image.write(std::fs::File::create(&file).expect("make the image")).expect("write the image");
    let mut seen = inner::Seen::new();
    let end = ARM64.boot(&kernel.vmlinuz, &file, most, |line| inner::note(label, line, &mut seen));
    let names = include_str!("arm64.sh").lines().filter_map(|line| line.strip_prefix("try "));
    inner::judge(label, names.map(str::to_owned), &seen, &end);
}
