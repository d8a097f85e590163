//! Compilers of pause for other CPUs: this build's own, where it has the core library for that
//! CPU, or Debian's, unpacked from its packages and installed nowhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::Debian;
use super::run;

/// The release whose compiler runs here; it has one that is new enough for its browsers.
const RELEASE: &str = "bookworm";

/// A compiler and a linker.
pub(super) struct Compiler {
    rustc: PathBuf,
    libraries: String,
    sysroot: Option<PathBuf>,
    linker: PathBuf,
}

impl Compiler {
    /// This build's own; none if it has no core library for the target.
    pub(super) fn own(target: &str) -> Option<Compiler> {
        let rustc = PathBuf::from(env!("PODKEEL_RUSTC"));
        let folder =
            run(Command::new(&rustc).args(["--print", "target-libdir", "--target", target]));
        Path::new(folder.trim()).is_dir().then(|| Compiler {
            rustc,
            libraries: String::new(),
            sysroot: None,
            linker: rust_lld(),
        })
    }

    /// Debian's, with the core library of that architecture: of the same version, or the
    /// compiler will say so.
    pub(super) fn of_debian(of: &Debian) -> Compiler {
        let here = Debian::new(RELEASE, "amd64");
        let rustc = here.package("rustc-web");
        let driver = here.depends("libstd-rust-web-dev");
        let llvm = here.package(&here.needs(&driver, "libllvm"));
        let driver = here.package(&driver);
        let below = |root: &Path| root.join("usr/lib/x86_64-linux-gnu").display().to_string();
        Compiler {
            rustc: rustc.join("usr/bin/rustc"),
            libraries: [below(&driver), below(&llvm)].join(":"),
            sysroot: Some(of.package("libstd-rust-web-dev").join("usr")),
            linker: rust_lld(),
        }
    }

    /// Compiles pause as build.rs does it.
    pub(super) fn pause(&self, target: &str) -> PathBuf {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pause-{target}"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("pause/main.rs");
        let mut rustc = Command::new(&self.rustc);
        rustc.args(["--crate-name", "pause", "--crate-type", "bin", "--edition", "2024"]);
        rustc.args(self.sysroot.iter().flat_map(|path| [Path::new("--sysroot"), path]));
        rustc.args(["--target", target, "-o"]).arg(&program);
        rustc.arg(format!("-Clinker={}", self.linker.display())).arg("-Clinker-flavor=ld.lld");
        rustc.args(env!("PODKEEL_PAUSE_FLAGS").split(' ').flat_map(for_ld)).arg(source);
        if !self.libraries.is_empty() {
            rustc.env("LD_LIBRARY_PATH", &self.libraries);
        }
        rustc.env("CARGO_PKG_VERSION", env!("CARGO_PKG_VERSION"));
        run(&mut rustc);
        program
    }
}

/// The linker that comes with Rust, which links for all.
fn rust_lld() -> PathBuf {
    let folder = run(Command::new(env!("PODKEEL_RUSTC")).args(["--print", "target-libdir"]));
    let linker = Path::new(folder.trim()).with_file_name("bin").join("rust-lld");
    assert!(linker.is_file(), "{}: no such linker", linker.display());
    linker
}

/// A flag of the compiler's, with what is meant for gcc said to the linker itself.
fn for_ld(flag: &str) -> Vec<String> {
    match flag.strip_prefix("-Clink-arg=") {
        Some("-nostartfiles" | "-no-pie") => Vec::new(),
        Some(arg) => {
            let words = arg.strip_prefix("-Wl,").unwrap_or(arg).split(',');
            words.map(|word| format!("-Clink-arg={word}")).collect()
        }
        None => vec![flag.to_owned()],
    }
}
