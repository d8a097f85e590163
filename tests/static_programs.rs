//! The programs need no library of the system they run on, and a build that
//! would make them need one is refused, with the reason.

#[path = "common/elf.rs"]
mod elf;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The flag that makes programs static on a target where they aren't by default.
const CRT_STATIC: &str = "-C target-feature=+crt-static";

#[test]
fn programs_load_nothing() {
    for program in [
        env!("CARGO_BIN_EXE_pause"),
        env!("CARGO_BIN_EXE_shim"),
        env!("CARGO_BIN_EXE_netsetup"),
        env!("PODKEEL_PAUSE"),
    ] {
        elf::assert_static(Path::new(program));
    }
}

/// A program that does load libraries, so that the look for them is known to see them.
#[test]
fn a_dynamic_program_is_told_from_a_static_one() {
    let program = std::env::current_exe().unwrap();
    let segments = elf::segments(&program);
    if cfg!(target_env = "gnu") {
        assert!(segments.iter().any(|s| s.kind == elf::PT_INTERP));
        assert!(elf::needed(&segments) > 0);
    }
}

/// What the kernel enters shim at has no relocations that somebody would apply: the bytes are
/// the same wherever they are thought to lie.
#[test]
fn start_may_lie_anywhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let compile = |address: &str| {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("start-{address}"));
        let mut rustc = Command::new(env!("PODKEEL_RUSTC"));
        rustc.args(["--crate-name", "start", "--crate-type", "bin", "--edition", "2024", "-o"]);
        rustc.arg(&file).args(env!("PODKEEL_START_FLAGS").split(' '));
        rustc.arg(format!("-Clink-arg=-Wl,--defsym=start_address={address}"));
        let output = rustc.arg(root.join("shim/start/main.rs")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let mut loads = elf::segments(&file).into_iter().filter(|s| s.kind == elf::PT_LOAD);
        let (Some(only), None) = (loads.next(), loads.next()) else { panic!("one segment") };
        only.bytes
    };
    let carried = fs::read(env!("PODKEEL_START")).unwrap();
    assert!(carried == compile("0"));
    assert!(carried == compile("0x7ffff7fc1230"));
    let shim = fs::read(env!("CARGO_BIN_EXE_shim")).unwrap();
    assert!(shim.windows(carried.len()).any(|part| part == carried), "shim carries it");
}

/// A package of three programs without dependencies that is built by this one's
/// build.rs, pause and cargo configuration: what cargo makes of flags and
/// wrappers shows in a second.
struct Package {
    root: PathBuf,
}

impl Package {
    fn new(name: &str) -> Self {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        match fs::remove_dir_all(&root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => fs::create_dir_all(root.join("shim")).unwrap(),
        }
        let of_shim = ["shim/arch", "shim/entry.rs", "shim/monitor", "shim/start"];
        for file in [&["build.rs", "pause", ".cargo"][..], &of_shim].concat() {
            symlink(ours.join(file), root.join(file)).unwrap();
        }
        let bin = |name, path| {
            format!("[[bin]]\nname = \"{name}\"\npath = \"{path}\"\ntest = false\nbench = false\n")
        };
        let manifest = [
            "[package]\nname = \"podkeel\"\nversion = \"0.1.0\"\nedition = \"2024\"\nautobins = false\n",
            "[workspace]\n[profile.dev]\npanic = \"abort\"\n",
            &bin("pause", "pause/main.rs"),
            &bin("shim", "shim.rs"),
            &bin("netsetup", "netsetup.rs"),
        ];
        fs::write(root.join("Cargo.toml"), manifest.concat()).unwrap();
        let shim = "#[path = \"shim/entry.rs\"] mod entry;\n\
                    const PAUSE: &[u8] = include_bytes!(env!(\"PODKEEL_PAUSE\"));\n\
                    fn main() { println!(\"{} {}\", env!(\"PODKEEL_VERSION\"), PAUSE.len()); }\n";
        fs::write(root.join("shim.rs"), shim).unwrap();
        fs::write(root.join("netsetup.rs"), "fn main() {}\n").unwrap();
        Self { root }
    }

    /// Runs cargo in the package with these variables and no others that would
    /// tell the compiler something.
    fn cargo(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_") && name != "CARGO_HOME" || name.starts_with("RUST") {
                cargo.env_remove(name);
            }
        }
        for name in ["RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            cargo.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        cargo.env("CARGO_TARGET_DIR", self.root.join("target")).envs(variables.iter().copied());
        cargo.env("CARGO_NET_OFFLINE", "true").args(args).current_dir(&self.root).output().unwrap()
    }

    fn assert_built(&self, folder: &str, args: &[&str], variables: &[(&str, &str)]) {
        let output = self.cargo(args, variables);
        assert!(output.status.success(), "{variables:?}: {}", text(&output));
        for program in ["pause", "shim", "netsetup"] {
            elf::assert_static(&self.root.join("target").join(folder).join(program));
        }
    }

    fn assert_refused(&self, reason: &str, args: &[&str], variables: &[(&str, &str)]) {
        let output = self.cargo(args, variables);
        let text = text(&output);
        assert!(!output.status.success(), "{variables:?} was accepted: {text}");
        let line = text.lines().find(|line| line.starts_with("error: podkeel@0.1.0: "));
        assert!(line.is_some_and(|line| line.contains(reason)), "{variables:?}: {text}");
    }
}

fn text(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("cargo writes text")
}

/// One after the other in one package: so each build also has to notice that the
/// flags have changed since the one before.
#[test]
fn builds_that_would_be_dynamic_are_refused() {
    let package = Package::new("flags");
    let build = &["build"][..];
    package.assert_built("debug", build, &[]);

    let wrapper = "RUSTC_WORKSPACE_WRAPPER";
    for flags in ["-C target-feature=-crt-static", "-Ctarget-feature=+sse3,-crt-static"] {
        let reason = "take `-C target-feature=-crt-static` out of RUSTFLAGS";
        package.assert_refused(reason, build, &[("RUSTFLAGS", flags)]);
    }
    for flags in ["-C prefer-dynamic", "--codegen=prefer-dynamic=yes"] {
        let reason = "take `-C prefer-dynamic";
        package.assert_refused(reason, build, &[("RUSTFLAGS", flags)]);
        // Not helped by asking for the opposite at the same time.
        let both = format!("{CRT_STATIC} {flags}");
        package.assert_refused(reason, &["check"], &[("RUSTFLAGS", &both)]);
    }
    package.assert_built("debug", build, &[("RUSTFLAGS", "-C prefer-dynamic=no -C debuginfo=0")]);
    package.assert_built("debug", build, &[]);
    if cfg!(target_env = "gnu") {
        let replaced = "static-rustc has been replaced by /usr/bin/env;";
        package.assert_refused(replaced, build, &[(wrapper, "/usr/bin/env")]);
        package.assert_refused(replaced, &["check"], &[(wrapper, "/usr/bin/env")]);
        package.assert_refused("static-rustc is not in use;", build, &[(wrapper, "")]);
    }
    package.assert_built("debug", build, &[]);

    // What the refusal advises works.
    let target = Command::new(env!("PODKEEL_RUSTC")).arg("-vV").output().unwrap();
    let target = String::from_utf8(target.stdout).unwrap();
    let target = target.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let variables = [(wrapper, ""), ("RUSTFLAGS", CRT_STATIC)];
    package.assert_built(&format!("{target}/debug"), &["build", "--target", target], &variables);
}

#[test]
fn nothing_is_built_twice() {
    let package = Package::new("twice");
    let commands =
        [&["build"][..], &["clippy", "--all-targets", "--verbose", "--", "-D", "warnings"]];
    for command in commands {
        let output = package.cargo(command, &[]);
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }
    for command in [&["build", "--verbose"][..], commands[1]] {
        let output = package.cargo(command, &[]);
        let text = text(&output);
        assert!(text.contains("Fresh podkeel"), "{command:?}: {text}");
        assert!(!text.contains("Running"), "{command:?}: {text}");
    }

    let output = Command::new(package.root.join("target/debug/shim")).output().unwrap();
    let size = fs::metadata(env!("PODKEEL_PAUSE")).unwrap().len();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("0.1.0 (development) {size}\n"));
}
