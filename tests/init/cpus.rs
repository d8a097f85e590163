//! pause for every CPU that it is written for: compiled here, its file looked at, and run by
//! QEMU's emulator of programs, over commands of this CPU.

use super::bed::{Place, Run, at_once, witness};
use super::compiler::Compiler;
use super::debian::Debian;
use super::own::{exits, run};
use std::path::Path;
use std::process::Command;

/// A CPU: the compiler's target, Debian's name, QEMU's, readelf's and the largest page in
/// hexadecimal, to which the segments have to be aligned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cpu(&'static str, &'static str, &'static str, &'static str, &'static str);

const CPUS: [Cpu; 5] = [
    Cpu("aarch64-unknown-linux-gnu", "arm64", "aarch64", "AArch64", "0x10000"),
    Cpu("riscv64gc-unknown-linux-gnu", "riscv64", "riscv64", "RISC-V", "0x1000"),
    Cpu("armv7-unknown-linux-gnueabihf", "armhf", "arm", "ARM", "0x10000"),
    Cpu("powerpc64le-unknown-linux-gnu", "ppc64el", "ppc64le", "PowerPC64", "0x10000"),
    Cpu("s390x-unknown-linux-gnu", "s390x", "s390x", "IBM S/390", "0x1000"),
];

/// The release that has the core library for all of them.
const RELEASE: &str = "trixie";

#[test]
fn every_cpu_has_its_pause() {
    witness();
    at_once(&CPUS, |cpu| {
        let Cpu(target, debian, qemu, machine, page) = *cpu;
        let compiler = Compiler::own(target);
        let whose = if compiler.is_some() { "this compiler" } else { "Debian's" };
        let of_debian = || Compiler::of_debian(&Debian::without_updates(RELEASE, debian));
        let program = compiler.unwrap_or_else(of_debian).pause(target);
        let size = std::fs::metadata(&program).expect("the program").len();
        println!("{target}: by {whose}, {size} bytes");
        lies_as_it_should(&program, machine, page);
        let qemu = format!("/usr/bin/qemu-{qemu}");
        let program = program.display().to_string();
        let pause = |name| [qemu.clone(), "-0".to_owned(), String::from(name), program.clone()];
        holds_a_pod(&pause("pause"));
        is_an_init(&pause("pause"), Place::Plain);
        for name in ["pause", "tini", "dumb-init", "catatonit"] {
            is_an_init(&pause(name), Place::First);
        }
    });
}

/// Two segments that can't be written to, aligned to pages of any size that the CPU may have.
fn lies_as_it_should(program: &Path, machine: &str, page: &str) {
    let output = Command::new("readelf").arg("-hlW").arg(program).output().expect("readelf");
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name));
    assert!(field("Machine:").is_some_and(|is| is.trim() == machine), "{text}");
    assert!(field("Type:").is_some_and(|is| is.trim().starts_with("EXEC")), "{text}");
    let loads: Vec<&str> = text.lines().filter(|line| line.trim().starts_with("LOAD ")).collect();
    assert_eq!(loads.len(), 2, "{text}");
    for load in loads {
        assert!(load.contains(" R E "), "{text}");
        assert!(load.ends_with(&format!(" {page}")), "{text}");
    }
    assert!(field("GNU_STACK").is_some_and(|is| is.contains(" RW ")), "{text}");
    for absent in ["INTERP", "DYNAMIC", "TLS"] {
        assert_eq!(field(absent), None, "{text}");
    }
}

fn holds_a_pod(pause: &[String]) {
    let words: Vec<&str> = pause.iter().map(String::as_str).collect();
    let version = run(Place::Plain, &[&words[..], &["-v"]].concat());
    exits(0, &version);
    assert_eq!(version.output, format!("podkeel-pause {}\n", env!("CARGO_PKG_VERSION")));
    for (signal, said) in [(15, "Terminated"), (2, "Interrupt")] {
        let run = Run::start(Place::First, &words);
        run.until_ignored();
        run.signal(signal);
        let outcome = run.end();
        exits(0, &outcome);
        assert_eq!(outcome.output, format!("Shutting down, got signal: {said}\n"));
    }
}

fn is_an_init(init: &[String], place: Place) {
    let over = |flags: &[&'static str], command: &[&str]| {
        let init: Vec<&str> = init.iter().map(String::as_str).collect();
        Run::start(place, &[&init[..], flags, &["--"], command].concat())
    };
    let shell = |flags: &[&'static str], line: &str| over(flags, &["/bin/sh", "-c", line]).end();
    exits(7, &shell(&[], "exit 7"));
    exits(143, &shell(&[], "kill -TERM $$"));
    exits(0, &shell(&["-e", "143"], "kill -TERM $$"));
    let outcome = over(&[], &["no-such-command"]).end();
    exits(127, &outcome);
    assert!(outcome.output.contains("cannot execute no-such-command: No such file"), "{outcome:?}");

    let run = over(&["-r", "10:12"], &[witness(), "record"]);
    run.saw("ready").settle();
    for (signal, seen) in [(1, "signal 1\n"), (10, "signal 12\n"), (28, "signal 28\n")] {
        run.signal(signal);
        run.saw(seen);
    }
    let run = over(&["--grace", "200ms"], &[witness(), "record"]);
    run.saw("ready").settle();
    run.signal(15);
    exits(137, &run.end());
    // Elsewhere it can't have orphans: the emulator doesn't know how they are adopted.
    if place == Place::First {
        let outcome = shell(&["-w"], "(sleep 0.1 &); sleep 0.5; exit 5");
        exits(5, &outcome);
        assert!(outcome.output.contains("reaped zombie process with pid="), "{outcome:?}");
        let run = over(&["--wait-all"], &[witness(), "orphan", "exit"]);
        run.saw_times("ready", 2);
        run.signal(10);
        run.until_children(1);
        run.signal(15);
        let outcome = run.end();
        exits(50, &outcome);
        assert!(outcome.output.contains("signal 15"), "{outcome:?}");
    }
}
