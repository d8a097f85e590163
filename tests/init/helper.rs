//! What the tests of the init mode run under an init: it tells what it sees. Built by the
//! test itself with rustc alone, so it declares the few C functions that it calls.
//!
//! `witness VERB...`, carried out from left to right:
//! - `state`: tell of process group, session, terminal, signal mask and ignored signals
//! - `ignored`: tell of the ignored signals alone
//! - `group`, `session`: lead a process group, a session of one's own
//! - `stop`: stop, and tell when continued
//! - `leave`: leave a child behind that lives on for a while, and exit with 3
//! - `orphan`: leave a child behind that tells when it gets TERM, and go on
//! - `neglect`: have a child that has ended, and never wait for it
//! - `record`: tell of every signal, and exit never
//! - `exit`: tell of the first signal, and exit with 50
//! - `default`: wait for a signal with its default action
//! - `reset`: give all signals their default action, and block none
//! - `ignore N,N,...`, `block`: ignore these signals, block all
//! - `deny N,N,...`, `allow N,N,...`: of the system calls, these fail with EPERM, or all
//!   others do
//! - `exec PROGRAM ARG...`: become that program
//! - `terminal PROGRAM ARG...`: run it as the leader of a session on a terminal, which is
//!   its standard input; what is typed comes from this one's

use std::ffi::{CString, c_char, c_int, c_uint, c_ulong};
use std::io::{Error, Read, Write};

/// `sigset_t` of glibc and musl.
type Signals = [c_ulong; 16];

// SAFETY: the declarations are those of the manual pages, with references in the place of
// pointers that must be valid, and None for null. fork is safe because the witness never
// has a second thread.
unsafe extern "C" {
    safe fn fork() -> c_int;
    safe fn _exit(code: c_int) -> !;
    safe fn pause() -> c_int;
    safe fn raise(signal: c_int) -> c_int;
    safe fn alarm(seconds: c_uint) -> c_uint;
    safe fn getpid() -> c_int;
    safe fn getppid() -> c_int;
    safe fn getpgid(pid: c_int) -> c_int;
    safe fn getsid(pid: c_int) -> c_int;
    safe fn setpgid(pid: c_int, group: c_int) -> c_int;
    safe fn setsid() -> c_int;
    safe fn waitpid(pid: c_int, status: Option<&mut c_int>, options: c_int) -> c_int;
    safe fn kill(pid: c_int, signal: c_int) -> c_int;
    safe fn posix_openpt(flags: c_int) -> c_int;
    safe fn grantpt(fd: c_int) -> c_int;
    safe fn unlockpt(fd: c_int) -> c_int;
    safe fn dup2(old: c_int, new: c_int) -> c_int;
    fn ptsname(fd: c_int) -> *const c_char;
    fn open(path: *const c_char, flags: c_int) -> c_int;
    safe fn tcgetpgrp(fd: c_int) -> c_int;
    safe fn sigfillset(set: &mut Signals) -> c_int;
    safe fn sigprocmask(how: c_int, set: &Signals, old: Option<&mut Signals>) -> c_int;
    safe fn sigwait(set: &Signals, signal: &mut c_int) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn execv(path: *const c_char, argv: *const *const c_char) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
}

fn main() {
    let mut args = std::env::args().skip(1);
    while let Some(verb) = args.next() {
        match verb.as_str() {
            "state" => state(),
            "ignored" => tell(&format!("ignored {}", status("SigIgn:"))),
            "group" => check(&verb, setpgid(0, 0)),
            "session" => check(&verb, setsid()),
            "stop" => {
                check(&verb, raise(19));
                tell("continued");
            }
            "leave" => leave(),
            "orphan" => orphan(),
            "neglect" => {
                if fork() == 0 {
                    _exit(0);
                }
            }
            "record" => record(false),
            "exit" => record(true),
            "default" => {
                tell("ready");
                pause();
            }
            "reset" => {
                (1..=64).for_each(|signal| act(signal, DEFAULT));
                mask(1);
            }
            "ignore" => {
                let signals = args.next().expect("signals");
                signals.split(',').for_each(|signal| act(number(signal), IGNORE));
            }
            "block" => mask(0),
            "deny" => filter(&args.next().expect("numbers"), false),
            "allow" => filter(&args.next().expect("numbers"), true),
            "exec" => exec(args.by_ref().collect()),
            "terminal" => terminal(args.by_ref().collect()),
            _ => panic!("{verb}: no such verb"),
        }
    }
}

fn number(text: &str) -> c_int {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn check(what: &str, result: c_int) {
    assert!(result >= 0, "{what}: {}", Error::last_os_error());
}

/// One line, at once: whoever reads it may end this process next.
fn tell(what: &str) {
    let mut out = std::io::stdout();
    out.write_all(format!("{what}\n").as_bytes()).expect("write");
    out.flush().expect("flush");
}

/// By relation, not by number: it is compared between two runs.
fn state() {
    let who = |id: c_int| match id {
        -1 => "none",
        id if id == getpid() => "own",
        id if id == getpgid(getppid()) => "the init's",
        _ => "another",
    };
    let foreground = match tcgetpgrp(0) {
        -1 => "no terminal",
        group if group == getpgid(0) => "foreground",
        _ => "background",
    };
    let session = if getsid(0) == getpid() { "own" } else { "the init's" };
    let group = who(getpgid(0));
    tell(&format!("group {group}, session {session}, {foreground}"));
    tell(&format!("blocked {}, ignored {}", status("SigBlk:"), status("SigIgn:")));
}

/// A line of /proc/PID/status.
fn status(name: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim().to_owned()
}

/// Blocks all signals (0) or none (1): `asm-generic/signal-defs.h`.
fn mask(how: c_int) {
    let mut all = [0; 16];
    check("sigfillset", sigfillset(&mut all));
    check("sigprocmask", sigprocmask(how, &all, None));
}

fn record(leaves: bool) {
    mask(0);
    tell("ready");
    let mut all = [0; 16];
    check("sigfillset", sigfillset(&mut all));
    loop {
        let mut signal = 0;
        check("sigwait", sigwait(&all, &mut signal));
        tell(&format!("signal {signal}"));
        if leaves {
            std::process::exit(50);
        }
    }
}

fn leave() {
    if fork() == 0 {
        setsid();
        mask(1);
        alarm(1);
        pause();
    }
    tell("leaving");
    _exit(3);
}

fn orphan() {
    // Twice, so that its parent is gone and the init gets it.
    let between = fork();
    if between == 0 {
        if fork() == 0 {
            setsid();
            record(true);
        }
        _exit(0);
    }
    check("waitpid", waitpid(between, None, 0));
}

/// What is done about a signal: SIG_DFL, SIG_IGN.
const DEFAULT: usize = 0;
const IGNORE: usize = 1;

/// For KILL, STOP and the C library's own this does nothing.
fn act(which: c_int, action: usize) {
    // SAFETY: neither is a function that could run.
    unsafe { signal(which, action) };
}

/// Installs a seccomp filter: `linux/seccomp.h`, `linux/bpf_common.h`.
fn filter(calls: &str, allowed: bool) {
    #[repr(C)]
    struct Instruction(u16, u8, u8, u32);
    #[repr(C)]
    struct Program(u16, *const Instruction);
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS: offset 0 is the number of the call
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO_EPERM: u32 = 0x0005_0001;

    let calls: Vec<c_int> = calls.split(',').map(number).collect();
    let (listed, others) = if allowed { (ALLOW, ERRNO_EPERM) } else { (ERRNO_EPERM, ALLOW) };
    let mut filter = vec![Instruction(LOAD, 0, 0, 0)];
    for (index, call) in calls.iter().enumerate() {
        let to_listed = (calls.len() - index) as u8;
        filter.push(Instruction(JUMP_IF_EQUAL, to_listed, 0, *call as u32));
    }
    filter.push(Instruction(RETURN, 0, 0, others));
    filter.push(Instruction(RETURN, 0, 0, listed));
    let program = Program(filter.len() as u16, filter.as_ptr());
    let (no_new_privs, seccomp, mode_filter): (c_int, c_int, c_ulong) = (38, 22, 2);
    let (one, zero): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: takes numbers only.
    check("no_new_privs", unsafe { prctl(no_new_privs, one, zero, zero, zero) });
    // SAFETY: the program and the filter that it points to live until the end of this
    // function; the kernel makes a copy.
    check("seccomp", unsafe { prctl(seccomp, mode_filter, &raw const program) });
}

fn terminal(args: Vec<String>) {
    let (master, read_write, no_control) = (posix_openpt(0o2), 0o2, 0o400);
    check("posix_openpt", master);
    check("grantpt", grantpt(master));
    check("unlockpt", unlockpt(master));
    let child = fork();
    if child == 0 {
        check("setsid", setsid());
        // SAFETY: the master was opened; the name is a string until the next call.
        let slave = unsafe { open(ptsname(master), read_write) };
        check("open", slave);
        check("dup2", dup2(slave, 0));
        return exec(args);
    }
    // Held open, or the terminal were gone with its last program.
    // SAFETY: as above.
    check("open", unsafe { open(ptsname(master), read_write | no_control) });
    let typist = fork();
    if typist == 0 {
        check("dup2", dup2(master, 1));
        let mut key = [0];
        while matches!(std::io::stdin().read(&mut key), Ok(1)) {
            let mut out = std::io::stdout();
            out.write_all(&key).and_then(|()| out.flush()).expect("typing");
        }
        _exit(0);
    }
    let mut status = 0;
    check("waitpid", waitpid(child, Some(&mut status), 0));
    kill(typist, 9);
    let (signal, code) = (status & 0x7f, status >> 8 & 0xff);
    std::process::exit(if signal == 0 { code } else { 128 + signal });
}

fn exec(args: Vec<String>) {
    let args: Vec<CString> = args.into_iter().map(|arg| CString::new(arg).unwrap()).collect();
    let mut argv: Vec<*const c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    // SAFETY: argv is strings that end in a zero, and ends in a null; one of them at
    // least, or indexing panics.
    check("execv", unsafe { execv(argv[0], argv.as_ptr()) });
}
