//! Builds what cargo can't say in Cargo.toml, in four steps: it refuses flags
//! that would make the programs need shared libraries, lays out `pause`,
//! compiles what `shim` carries (`pause` once more, its monitor, and what the kernel enters
//! it at), and stamps the version.
//!
//! For the programs and the tests of this package it sets
//! - `PODKEEL_PAUSE`, `PODKEEL_MONITOR`: the paths of the carried programs, for `include_bytes!`,
//! - `PODKEEL_START`: the path of the code that the kernel enters shim at, for its text,
//! - `PODKEEL_START_FLAGS`: how that is compiled, for the test that does it for another address,
//! - `PODKEEL_PAUSES`: Rust code, an array of the pauses for images, by architecture,
//! - `PODKEEL_COMMIT`, `PODKEEL_COMPILER`: what a release build is made of, for provenance,
//! - `PODKEEL_VERSION`: the version and which build of it this is,
//! - `PODKEEL_RUSTC`: the compiler, for tests that build a helper program,
//! - `PODKEEL_PAUSE_FLAGS`: how pause is compiled, for the test that does it for another CPU.

use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// How pause is linked, after the compiler's own link arguments: no C library
/// and none of its start files, a plain static program at a fixed address, and
/// of the rest only what `pause/pause.ld` lays out.
const PAUSE_LINK_ARGS: [&str; 8] = [
    "-nostartfiles",
    "-nostdlib",
    "-static",
    "-no-pie",
    "-Wl,--build-id=none",
    "-Wl,--no-eh-frame-hdr",
    "-Wl,-z,norelro",
    "-Wl,-z,noexecstack",
];

/// How the code that shim's file is entered at is linked: as pause is, and with no page around
/// what is loaded of it. Its format is taken off here: not every ld links without one.
const START_LINK_ARGS: [&str; 6] =
    ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-n"];

/// How it is compiled, where that isn't as pause: it may lie at any address, and has no table
/// of addresses, of which `core`'s own way of being compiled would bring one in.
const START_CODEGEN: [&str; 3] = ["relocation-model=pie", "relro-level=off", "lto=off"];

/// The same on aarch64, where addresses are else told by pages (adrp): right only where it is
/// as far into a page as it was linked for.
const START_CODEGEN_AARCH64: &str = "code-model=tiny";

/// How the carried programs are compiled, in development builds too: as the release
/// profile in Cargo.toml, with what `.cargo/static-rustc` adds, compiles
/// `target/release/pause`.
const PAUSE_CODEGEN: [&str; 8] = [
    "panic=abort",
    "opt-level=z",
    "relocation-model=static",
    "llvm-args=-min-jump-table-entries=1000",
    "lto=fat",
    "codegen-units=1",
    "strip=symbols",
    "target-feature=+crt-static",
];

/// The architectures that pause is written for: as the compiler and as images name them,
/// and the variable that hands in a pause of that architecture.
const ARCHITECTURES: [(&str, &str, &str); 2] =
    [("x86_64", "amd64", "PODKEEL_PAUSE_X86_64"), ("aarch64", "arm64", "PODKEEL_PAUSE_AARCH64")];

/// The two names of the compiler's option for code generation.
const CODEGEN: [&str; 2] = ["-C", "--codegen"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=pause");
    println!("cargo::rerun-if-changed=shim/arch");
    println!("cargo::rerun-if-changed=shim/monitor");
    println!("cargo::rerun-if-changed=shim/start");
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("cargo::error={reason}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR")?);
    refuse_dynamic(&root)?;

    let args = pause_link_args(&root);
    for arg in &args {
        println!("cargo::rustc-link-arg-bin=pause={arg}");
    }
    println!("cargo::rustc-env=PODKEEL_PAUSE_FLAGS={}", flags(&args).join(" "));
    let pause = carry(&root, "pause", "pause/main.rs", &args)?;
    println!("cargo::rustc-env=PODKEEL_PAUSE={}", pause.display());
    println!("cargo::rustc-env=PODKEEL_PAUSES={}", pauses(&root, &pause)?.display());
    // Laid out as pause is, but for where it begins.
    let args = [args, vec!["-Wl,-e,monitor_start".to_string()]].concat();
    let monitor = carry(&root, "monitor", "shim/monitor/main.rs", &args)?;
    println!("cargo::rustc-env=PODKEEL_MONITOR={}", monitor.display());
    start(&root)?;
    println!("cargo::rustc-env=PODKEEL_RUSTC={}", var("RUSTC")?);
    let commit = commit(&root)?;
    println!("cargo::rustc-env=PODKEEL_VERSION={}", version(commit.as_deref())?);
    println!("cargo::rustc-env=PODKEEL_COMMIT={}", commit.unwrap_or_default());
    println!("cargo::rustc-env=PODKEEL_COMPILER={}", compiler()?);
    Ok(())
}

fn var(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("cannot read {name} from the environment: {error}"))
}

/// The flags that cargo gives to every compiler call, from RUSTFLAGS or from a
/// configuration file.
fn rustflags() -> Vec<String> {
    let encoded = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    encoded.split('\x1f').filter(|flag| !flag.is_empty()).map(String::from).collect()
}

/// The values of an option among the flags, in all ways of writing it:
/// `-C value`, `-Cvalue`, `--codegen value`, `--codegen=value`.
fn values<'a>(flags: &'a [String], names: &[&str]) -> Vec<&'a str> {
    let mut values = Vec::new();
    let mut flags = flags.iter().map(String::as_str);
    while let Some(flag) = flags.next() {
        if names.contains(&flag) {
            values.extend(flags.next());
        } else if let Some(rest) = names.iter().find_map(|name| flag.strip_prefix(name)) {
            values.push(rest.strip_prefix('=').unwrap_or(rest));
        }
    }
    values
}

/// Refuses flags that would link the programs dynamically. They run inside
/// containers that have no libraries, or somebody else's.
///
/// On a target whose default isn't static, the wrapper `.cargo/static-rustc`
/// makes them so. clippy puts a wrapper of its own in that place and links nothing.
fn refuse_dynamic(root: &Path) -> Result<(), String> {
    let flags = rustflags();
    let options = values(&flags, &CODEGEN);
    let features = || options.iter().filter_map(|o| o.strip_prefix("target-feature="));
    let dynamic = "the programs must be static, for they run where no library is:";

    if let Some(flag) = options.iter().find(|o| o.starts_with("prefer-dynamic") && !is_off(o)) {
        return Err(format!("{dynamic} take `-C {flag}` out of RUSTFLAGS"));
    }
    if features().any(|list| list.split(',').any(|f| f == "-crt-static")) {
        return Err(format!("{dynamic} take `-C target-feature=-crt-static` out of RUSTFLAGS"));
    }
    let by_itself = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if by_itself.split(',').any(|feature| feature == "crt-static") {
        return Ok(());
    }

    let wrapper = env::var("RUSTC_WORKSPACE_WRAPPER").unwrap_or_default();
    let ours = root.join(".cargo/static-rustc");
    if is_clippy(&wrapper) || same_file(Path::new(&wrapper), &ours) {
        return Ok(());
    }
    let seen = match wrapper.as_str() {
        "" => "is not in use".to_string(),
        other => format!("has been replaced by {other}"),
    };
    Err(format!(
        "{dynamic} the compiler wrapper .cargo/static-rustc {seen}; run cargo inside the source \
         folder with RUSTC_WORKSPACE_WRAPPER unset, or add `-C target-feature=+crt-static` to \
         RUSTFLAGS and `--target {}` to cargo's arguments",
        var("TARGET")?
    ))
}

fn is_off(option: &str) -> bool {
    matches!(option.split_once('='), Some((_, "no" | "n" | "off" | "false")))
}

fn is_clippy(wrapper: &str) -> bool {
    Path::new(wrapper).file_stem().is_some_and(|name| name == "clippy-driver")
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn pause_link_args(root: &Path) -> Vec<String> {
    let script = format!("-T{}", root.join("pause/pause.ld").display());
    PAUSE_LINK_ARGS.iter().map(|arg| arg.to_string()).chain([script]).collect()
}

/// Compiles a program into OUT_DIR and returns the path. `target/.../pause` can't be
/// carried: cargo links it after, or beside, the program that would carry it.
/// Of the user's flags only those count that say where the tools are.
fn carry(root: &Path, name: &str, main: &str, link_args: &[String]) -> Result<PathBuf, String> {
    compile(name, name, root.join(main), &bare_target()?, &tools()?, &flags(link_args))
}

/// What programs without a C library are compiled for: for glibc's target where Rust's library
/// for it is there, so that they are the same bytes in a shim with musl.
fn bare_target() -> Result<String, String> {
    let target = var("TARGET")?;
    let gnu = target.replace("-musl", "-gnu");
    Ok(if library_of(&gnu)?.is_dir() { gnu } else { target })
}

/// Where the compiler has its library for a target, if it has one.
fn library_of(target: &str) -> Result<PathBuf, String> {
    let what = ["--print", "target-libdir", "--target", target];
    let output = Command::new(var("RUSTC")?).args(what).output();
    let output = output.map_err(|error| format!("cannot run rustc {what:?}: {error}"))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// The flags that say which tools the user has chosen.
fn tools() -> Result<Vec<String>, String> {
    let linker = var("RUSTC_LINKER").map(|linker| format!("-Clinker={linker}"));
    Ok(linker.into_iter().chain(tool_flags(&rustflags())).collect())
}

/// Compiles a program as [`PAUSE_CODEGEN`] says, into the file of that name in OUT_DIR.
fn compile(
    file: &str,
    name: &str,
    main: PathBuf,
    target: &str,
    tools: &[String],
    options: &[String],
) -> Result<PathBuf, String> {
    let program = PathBuf::from(var("OUT_DIR")?).join(file);
    let mut rustc = Command::new(var("RUSTC")?);
    rustc.args(["--crate-name", name, "--crate-type", "bin", "--edition", "2024"]);
    rustc.args(["--target", target]).arg("-o").arg(&program);
    rustc.args(tools);
    rustc.args(options);
    rustc.arg(main);

    let output = rustc.output().map_err(|error| format!("cannot run {rustc:?}: {error}"))?;
    if !output.status.success() {
        eprintln!("{rustc:?}\n{}", String::from_utf8_lossy(&output.stderr));
        return Err(format!("cannot compile the {file} that shim carries: {}", output.status));
    }
    Ok(program)
}

/// Compiles the code that shim's file is entered at, of bytes that may lie anywhere, and has
/// the linker enter it there.
fn start(root: &Path) -> Result<(), String> {
    let script = format!("-T{}", root.join("shim/start/start.ld").display());
    let args = START_LINK_ARGS.iter().map(|arg| arg.to_string()).chain([script]);
    let mut options = flags(&args.collect::<Vec<_>>());
    // Of two of a kind the last one counts.
    let aarch64 = var("TARGET")?.starts_with("aarch64").then_some(&START_CODEGEN_AARCH64);
    options.extend(START_CODEGEN.iter().chain(aarch64).map(|option| format!("-C{option}")));
    let target = bare_target()?;
    // There Rust brings the C library's start files along, and links them in by itself.
    if target.ends_with("-musl") {
        options.push("-Clink-self-contained=no".into());
    }
    println!("cargo::rustc-env=PODKEEL_START_FLAGS={}", options.join(" "));
    let program = compile(
        "start.elf",
        "start",
        root.join("shim/start/main.rs"),
        &target,
        &tools()?,
        &options,
    )?;
    let name = program.display();
    let elf = std::fs::read(&program).map_err(|e| format!("cannot read {name}: {e}"))?;
    let bytes = loaded(&elf).ok_or_else(|| format!("{name} isn't one segment to load"))?;
    // Its name tells its content: the assembler reads it behind the compiler's back, which
    // takes what it made of the same words before.
    let mut hash = DefaultHasher::new();
    bytes.hash(&mut hash);
    let code = program.with_file_name(format!("start.{:016x}", hash.finish()));
    std::fs::write(&code, bytes).map_err(|e| format!("cannot write {}: {e}", code.display()))?;
    println!("cargo::rustc-env=PODKEEL_START={}", code.display());
    println!("cargo::rustc-link-arg-bin=shim=-Wl,-e,shim_start");
    Ok(())
}

/// What the kernel would load of a program that is one segment: elf(5), 64 bit, little endian.
fn loaded(elf: &[u8]) -> Option<&[u8]> {
    const PT_LOAD: usize = 1;
    let number = |at: usize, length: usize| {
        let bytes = elf.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let headers = (0..count).map(|index| table + index * size);
    let mut loads = headers.filter(|at| number(*at, 4) == Some(PT_LOAD));
    let (only, None) = (loads.next()?, loads.next()) else { return None };
    let (offset, length) = (number(only + 8, 8)?, number(only + 32, 8)?);
    elf.get(offset..offset + length)
}

/// The compiler's flags for a carried program.
fn flags(link_args: &[String]) -> Vec<String> {
    let options = PAUSE_CODEGEN.iter().map(|option| format!("-C{option}"));
    options.chain(link_args.iter().map(|arg| format!("-Clink-arg={arg}"))).collect()
}

/// The flags that tell where the standard library and the linker are.
fn tool_flags(flags: &[String]) -> Vec<String> {
    let sysroot = values(flags, &["--sysroot"]).into_iter().map(|path| format!("--sysroot={path}"));
    let linker = values(flags, &CODEGEN).into_iter().filter(|o| o.starts_with("linker"));
    sysroot.chain(linker.map(|option| format!("-C{option}"))).collect()
}

/// Writes the array of pauses for images: that of this build's own target, and of every other
/// architecture whose pause was handed in, or that this compiler can build for.
fn pauses(root: &Path, own: &Path) -> Result<PathBuf, String> {
    let target = var("TARGET")?;
    let mut code = String::from("[\n");
    for (rustc_name, image_name, variable) in ARCHITECTURES {
        println!("cargo::rerun-if-env-changed={variable}");
        let program = match env::var_os(variable) {
            Some(file) => {
                println!("cargo::rerun-if-changed={}", PathBuf::from(&file).display());
                Some(PathBuf::from(file))
            }
            None if target.starts_with(rustc_name) => Some(own.to_owned()),
            None => cross_pause(root, rustc_name)?,
        };
        if let Some(program) = program {
            let found = program.canonicalize();
            let found = found.map_err(|e| format!("cannot find {}: {e}", program.display()))?;
            let line = format!("    (\"{image_name}\", include_bytes!({found:?})),\n");
            code.push_str(&line);
        }
    }
    code.push_str("]\n");
    let path = PathBuf::from(var("OUT_DIR")?).join("pauses.rs");
    std::fs::write(&path, code).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    Ok(path)
}

/// pause for another architecture, compiled by this compiler: where it has the core library for
/// it, and the linker that comes with Rust, which links for all. Nothing where one is missing.
fn cross_pause(root: &Path, architecture: &str) -> Result<Option<PathBuf>, String> {
    let target = format!("{architecture}-unknown-linux-gnu");
    let linker = library_of(&var("HOST")?)?.with_file_name("bin").join("rust-lld");
    if !library_of(&target)?.is_dir() || !linker.is_file() {
        return Ok(None);
    }
    // The same words without the C compiler's way of handing them on.
    let args = pause_link_args(root);
    let args = args.iter().filter(|arg| *arg != "-nostartfiles" && *arg != "-no-pie");
    let args = args.map(|arg| arg.strip_prefix("-Wl,").unwrap_or(arg).replace(',', " "));
    let args: Vec<String> =
        args.flat_map(|arg| arg.split(' ').map(String::from).collect::<Vec<_>>()).collect();
    let linker = [format!("-Clinker={}", linker.display()), "-Clinker-flavor=ld.lld".into()];
    compile(
        &format!("pause.{architecture}"),
        "pause",
        root.join("pause/main.rs"),
        &target,
        &linker,
        &flags(&args),
    )
    .map(Some)
}

/// The compiler as it names itself: `rustc 1.95.0 (59807616e 2026-04-14)`.
fn compiler() -> Result<String, String> {
    let output = Command::new(var("RUSTC")?).arg("--version").output();
    let output = output.map_err(|error| format!("cannot ask rustc for its version: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The version and, in brackets, the commit of a release build.
fn version(commit: Option<&str>) -> Result<String, String> {
    let number = var("CARGO_PKG_VERSION")?;
    Ok(match commit {
        _ if var("PROFILE")? != "release" => format!("{number} (development)"),
        Some(commit) => format!("{number} ({})", &commit[..12.min(commit.len())]),
        None => number,
    })
}

/// The commit that a release build is of. A development build doesn't look: it would
/// otherwise have to be built anew with every commit, its tests included.
fn commit(root: &Path) -> Result<Option<String>, String> {
    if var("PROFILE")? != "release" {
        return Ok(None);
    }
    // The log of HEAD grows with each commit and with each change of branch.
    let Some(log) = git(root, &["rev-parse", "--git-path", "logs/HEAD"]) else {
        return Ok(None);
    };
    let log = root.join(log);
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    Ok(git(root, &["rev-parse", "HEAD"]))
}

/// What git says about the folder; nothing if it isn't the top of a repository:
/// a source archive unpacked inside of one isn't described by its commits.
fn git(root: &Path, args: &[&str]) -> Option<String> {
    if !root.join(".git").exists() {
        return None;
    }
    let output = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_string())
}
