//! What `.ci/release` makes is the same from any folder, and has all that a package wants.
//!
//! Two releases of all programs take too long for every run. Here a package of the same form and a
//! few lines is compiled in two folders as they are; and what is packed is pause under the names
//! of all three programs, with the pages that the shim of this build writes.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{output, sh, sh_out, told};
use serde_json::Value;

const PROGRAMS: [&str; 3] = ["pause", "shim", "netsetup"];
/// 2023-11-14 22:13:20 UTC.
const DATE: &str = "1700000000";
/// What of the sources the archive is made from, with what cargo wants to see of them.
const SOURCES: &str = ".ci .cargo Cargo.toml Cargo.lock CHANGELOG.md LICENSE-APACHE LICENSE-MIT \
README.md benches build.rs docs netsetup oci-bundles pause shim";

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder");
    dir
}

fn host() -> String {
    sh_out(&format!("{} -vV | sed -n 's/^host: //p'", env!("PODKEEL_RUSTC")))
}

/// A folder with programs of these names; packing the real ones takes long.
fn programs() -> PathBuf {
    let dir = folder("programs");
    for name in PROGRAMS {
        fs::copy(env!("PODKEEL_PAUSE"), dir.join(name)).expect("a program");
    }
    dir
}

/// A package with a library, laid out and configured as this one.
fn package(name: &str) -> PathBuf {
    let place = folder(name);
    let (from, to) = (env!("CARGO_MANIFEST_DIR"), place.display());
    sh(&format!("cd {from} && cp -r .ci .cargo build.rs pause {to} && mkdir {to}/shim {to}/part"));
    sh(&format!("cd {from} && cp -r shim/arch shim/monitor shim/start {to}/shim"));
    let bin = |name: &str, path: &str| format!("[[bin]]\nname = \"{name}\"\npath = \"{path}\"\n");
    let package = |name: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n")
    };
    let manifest = [
        &package("podkeel"),
        "autobins = false\n[dependencies]\npart = { path = \"part\" }\n[workspace]\n",
        "[profile.release]\npanic = \"abort\"\ncodegen-units = 1\n",
        &bin("pause", "pause/main.rs"),
        &bin("shim", "shim.rs"),
    ];
    let lock = "version = 4\n[[package]]\nname = \"part\"\nversion = \"0.1.0\"\n\
                [[package]]\nname = \"podkeel\"\nversion = \"0.1.0\"\ndependencies = [\"part\"]\n";
    for (file, text) in [
        ("Cargo.toml", manifest.concat().as_str()),
        ("Cargo.lock", lock),
        ("shim.rs", "fn main() { part::tell(include_bytes!(env!(\"PODKEEL_PAUSE\"))) }\n"),
        ("part/Cargo.toml", &(package("part") + "[lib]\npath = \"lib.rs\"\n")),
        (
            "part/lib.rs",
            "pub fn tell(pause: &[u8]) { assert!(!pause.is_empty()); println!(\"{}\", file!()); }\n",
        ),
    ] {
        fs::write(place.join(file), text).expect("a file");
    }
    place
}

/// Symbols are in there, which cargo and the compiler make of what they know of the sources.
#[test]
fn two_folders_compile_to_the_same_bytes() {
    let target = host();
    let built = |name: &str, out: &str| {
        let place = package(name);
        let mut build = Command::new(place.join(".ci/build"));
        build.args([&target, "--bins"]);
        // What cargo told this test would count there, too.
        for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("CARGO_")) {
            build.env_remove(name);
        }
        let home = std::env::var("CARGO_HOME");
        build.envs(home.ok().map(|home| ("CARGO_HOME", home)));
        build.env("CARGO_TARGET_DIR", place.join(out));
        let output = output(&mut build);
        assert!(output.status.success(), "{}", told(".ci/build", &output));
        let dir = place.join(out).join(&target).join("release");
        sh_out(&format!("cd {} && sha256sum pause shim && ls deps", dir.display()))
    };
    assert_eq!(built("here", "target"), built("there/and-deeper", "built"));
}

/// A copy of the sources, and the archive that it packs. `before` is said to the shell.
fn packed(name: &str, programs: &Path, before: &str) -> PathBuf {
    let place = folder(name);
    let (from, to) = (env!("CARGO_MANIFEST_DIR"), place.display());
    let (programs, target) = (programs.display(), host());
    sh(&format!("cd {from} && mkdir {to}/dist && {before}; cp -r {SOURCES} {to}"));
    let shim = env!("CARGO_BIN_EXE_shim");
    sh(&format!(
        "{before}; cd / && SOURCE_DATE_EPOCH={DATE} {to}/.ci/pack {target} {programs} {shim} {to}/dist"
    ));
    let made = sh_out(&format!("ls -A {to}/dist"));
    let arch = target.split('-').next().expect("an architecture");
    assert_eq!(made, format!("podkeel-{}-{arch}-linux.tar.gz", env!("CARGO_PKG_VERSION")));
    place.join("dist").join(made)
}

#[test]
fn two_folders_pack_the_same_bytes() {
    let programs = programs();
    let one = packed("one", &programs, "umask 022");
    let elsewhere = "umask 077; export TZ=Asia/Tokyo LANG=C.UTF-8";
    let other = packed("another/and-deeper", &programs, elsewhere);
    let [first, second] = [&one, &other].map(|archive| fs::read(archive).expect("an archive"));
    assert!(first == second, "{} and {} differ", one.display(), other.display());
    holds_what_it_promises(&one, &programs);
}

fn holds_what_it_promises(archive: &Path, programs: &Path) {
    let listed = sh_out(&format!("TZ=UTC tar --numeric-owner -tvzf {}", archive.display()));
    for line in listed.lines() {
        assert!(line.contains(" 0/0 ") && line.contains(" 2023-11-14 22:13 "), "{line}");
        assert!(line.starts_with("drwxr-xr-x ") || line.starts_with("-rw"), "{line}");
    }
    let dir = folder("unpacked");
    sh(&format!("tar --strip-components=1 -C {} -xzf {}", dir.display(), archive.display()));
    for name in [
        "share/man/man1/shim-image-push.1",
        "share/man/man1/netsetup-add.1",
        "share/bash-completion/completions/shim",
        "share/zsh/site-functions/_netsetup",
        "share/fish/vendor_completions.d/shim.fish",
        "oci-bundles/infra/config.json",
        "oci-bundles/networks/ptp.conflist",
        "docs/image.md",
        "README.md",
        "LICENSE-MIT",
    ] {
        let size = dir.join(name).metadata().map(|file| file.len());
        assert!(size.is_ok_and(|size| size > 0), "{name} is missing:\n{listed}");
    }
    assert!(!listed.contains("rootfs"), "{listed}");
    let bill = fs::read_to_string(dir.join("sbom.spdx.json")).expect("a bill of materials");
    let bill: Value = serde_json::from_str(&bill).expect("JSON");
    for name in PROGRAMS {
        let path = dir.join("bin").join(name);
        let [packed, built] = [&path, &programs.join(name)].map(|path| fs::read(path).expect("it"));
        assert!(packed == built, "{name}");
        names(&bill, name, &sh_out(&format!("sha256sum <{}", path.display()))[..64]);
    }
    what_is_linked(&bill);
}

/// The bill names this program by this digest.
fn names(bill: &Value, name: &str, digest: &str) {
    let packages = bill["packages"].as_array().expect("packages");
    let file = format!("bin/{name}");
    let found = packages.iter().find(|package| package["packageFileName"] == file.as_str());
    assert_eq!(found.expect("the program")["checksums"][0]["checksumValue"], digest);
}

/// What cargo says is linked, and no other: neither what tests need nor what macros are made by.
fn what_is_linked(bill: &Value) {
    let packages = bill["packages"].as_array().expect("packages").iter();
    let of_cargo = packages.filter(|package| package["externalRefs"].is_array());
    let mut named: Vec<String> = of_cargo
        .map(|p| format!("{} v{}", p["name"].as_str().unwrap(), p["versionInfo"].as_str().unwrap()))
        .collect();
    named.sort();
    assert_eq!(named, linked(&["--package", "podkeel"]));
}

/// The crates that cargo links, in order: `name v1.2.3`.
fn linked(words: &[&str]) -> Vec<String> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
    cargo.args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none"]);
    cargo.args(["--format", "{p}"]).args(words).current_dir(env!("CARGO_MANIFEST_DIR"));
    let tree = output(&mut cargo);
    assert!(tree.status.success(), "{}", told("cargo tree", &tree));
    let text = String::from_utf8(tree.stdout).expect("UTF-8");
    // Of a crate of ours its path follows.
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let mut names: Vec<_> = text.lines().filter(|line| !line.is_empty()).map(name).collect();
    names.sort();
    names.dedup();
    names
}

/// The client of registries is where it was asked for, and not in the file that runtimes start
/// for every pod.
#[test]
fn the_image_costs_only_who_wants_it() {
    let client = |names: &[String]| {
        let of_client = ["podkeel-image ", "ureq ", "rustls ", "hickory-resolver ", "tokio "];
        names.iter().filter(|n| of_client.iter().any(|c| n.starts_with(c))).count()
    };
    assert_eq!(client(&linked(&["--package", "podkeel"])), 5);
    assert_eq!(client(&linked(&["--package", "podkeel", "--no-default-features"])), 0);
    assert_eq!(client(&linked(&["--package", "podkeel-netsetup"])), 0);
}

/// Before anything is built.
#[test]
fn what_cannot_be_released_is_said() {
    let place = folder("refused");
    let (from, to) = (env!("CARGO_MANIFEST_DIR"), place.display());
    sh(&format!("cd {from} && cp -r .ci {to}"));
    let release = |date: Option<&str>, words: &[&str]| {
        let mut command = Command::new(place.join(".ci/release"));
        command.args(words).env_remove("SOURCE_DATE_EPOCH");
        command.envs(date.map(|date| ("SOURCE_DATE_EPOCH", date)));
        let output = output(&mut command);
        assert_eq!(output.status.code(), Some(1), "{}", told("release", &output));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let said = release(Some(DATE), &["--arch", "x86_64,sparc"]);
    assert!(said.contains("pause is written for x86_64 and aarch64, not for sparc"), "{said}");
    let said = release(Some(DATE), &["--fast"]);
    assert!(said.contains("there is no option --fast"), "{said}");
    let said = release(None, &[]);
    assert!(said.contains("SOURCE_DATE_EPOCH") && said.contains("no commit"), "{said}");
    // In a clone, what isn't committed isn't released.
    sh(&format!(
        "cd {to} && git init -q && git add .ci && \
         git -c user.name=keel -c user.email=keel@keel.test commit -qm one && echo >>.ci/pack"
    ));
    let said = release(None, &[]);
    assert!(said.contains("commit them first") && said.contains(" .ci/pack"), "{said}");
}
