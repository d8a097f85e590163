//! What the tests of pause need another program for. Built by the test itself
//! with rustc alone, so it declares the few C functions that it calls.
//!
//! `helper VERB...`, carried out from left to right:
//! - `block`: block every signal
//! - `raise N`: send signal N to itself
//! - `deny N,N,...`: these system calls fail with EPERM from now on
//! - `zombie`: have a child that is dead and not waited for
//! - `exec PROGRAM ARG...`: become that program
//! - `signal PID N,N,...`: send each of these signals to PID
//! - `storm ROUNDS SIZE`: make ROUNDS * SIZE orphans: half of each round are
//!   zombies when their parent leaves them, half end only afterwards
//! - `reap-by-handler`, `reap-by-wait`: be a PID 1 that collects its zombies
//!   itself, to compare pause with

use std::ffi::{CString, c_char, c_int, c_uint, c_ulong};
use std::io::{Error, Read};

/// `sigset_t` of glibc and musl.
type Signals = [c_ulong; 16];
/// `siginfo_t`, unread.
type Info = [u64; 16];

// SAFETY: the declarations are those of the manual pages, with references in the
// place of pointers that must be valid, and None for null. fork is safe because
// the helper never has a second thread.
unsafe extern "C" {
    safe fn fork() -> c_int;
    safe fn _exit(code: c_int) -> !;
    safe fn waitpid(pid: c_int, status: Option<&mut c_int>, options: c_int) -> c_int;
    safe fn waitid(kind: c_uint, id: c_uint, info: &mut Info, options: c_int) -> c_int;
    safe fn pause() -> c_int;
    safe fn kill(pid: c_int, signal: c_int) -> c_int;
    safe fn raise(signal: c_int) -> c_int;
    safe fn signal(signal: c_int, handler: extern "C" fn(c_int)) -> usize;
    safe fn sigfillset(set: &mut Signals) -> c_int;
    safe fn sigprocmask(how: c_int, set: &Signals, old: Option<&mut Signals>) -> c_int;
    fn execv(path: *const c_char, argv: *const *const c_char) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
}

const SIGCHLD: c_int = 17;
const WNOHANG: c_int = 1;
const WEXITED: c_int = 4;
const WNOWAIT: c_int = 0x0100_0000;
const SIG_BLOCK: c_int = 0;
const P_PID: c_uint = 1;
const ANY: c_int = -1;

fn main() {
    let mut args = std::env::args().skip(1);
    while let Some(verb) = args.next() {
        let mut next = || args.next().unwrap_or_else(|| panic!("{verb}: argument missing"));
        match verb.as_str() {
            "block" => block(),
            "raise" => check(&verb, raise(number(&next()))),
            "deny" => deny(&numbers(&next())),
            "zombie" => zombie(),
            "exec" => exec(args.by_ref().collect()),
            "signal" => send(number(&next()), &numbers(&next())),
            "storm" => storm(number(&next()), number(&next())),
            "reap-by-handler" => reap_by_handler(),
            "reap-by-wait" => reap_by_wait(),
            _ => panic!("{verb}: no such verb"),
        }
    }
}

fn number(text: &str) -> c_int {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn numbers(text: &str) -> Vec<c_int> {
    text.split(',').map(number).collect()
}

fn check(what: &str, result: c_int) {
    assert!(result >= 0, "{what}: {}", Error::last_os_error());
}

fn block() {
    let mut all = [0; 16];
    check("sigfillset", sigfillset(&mut all));
    check("sigprocmask", sigprocmask(SIG_BLOCK, &all, None));
}

/// Installs a seccomp filter: `linux/seccomp.h`, `linux/bpf_common.h`.
fn deny(calls: &[c_int]) {
    #[repr(C)]
    struct Instruction(u16, u8, u8, u32);
    #[repr(C)]
    struct Program(u16, *const Instruction);
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS: offset 0 is the number of the call
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO_EPERM: u32 = 0x0005_0001;

    let mut filter = vec![Instruction(LOAD, 0, 0, 0)];
    for (index, call) in calls.iter().enumerate() {
        let to_errno = (calls.len() - index) as u8;
        filter.push(Instruction(JUMP_IF_EQUAL, to_errno, 0, *call as u32));
    }
    filter.push(Instruction(RETURN, 0, 0, ALLOW));
    filter.push(Instruction(RETURN, 0, 0, ERRNO_EPERM));
    let program = Program(filter.len() as u16, filter.as_ptr());
    let (no_new_privs, seccomp, mode_filter): (c_int, c_int, c_ulong) = (38, 22, 2);
    let (one, zero): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: takes numbers only.
    check("no_new_privs", unsafe { prctl(no_new_privs, one, zero, zero, zero) });
    // SAFETY: the program and the filter that it points to live until the end of
    // this function; the kernel makes a copy.
    check("seccomp", unsafe { prctl(seccomp, mode_filter, &raw const program) });
}

fn exec(args: Vec<String>) {
    let args: Vec<CString> = args.into_iter().map(|arg| CString::new(arg).unwrap()).collect();
    let mut argv: Vec<*const c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    // SAFETY: argv is strings that end in a zero, and ends in a null; one of them
    // at least, or indexing panics.
    check("execv", unsafe { execv(argv[0], argv.as_ptr()) });
}

/// Forks; the child does its work and ends without returning.
fn child(work: impl FnOnce()) -> c_int {
    let pid = fork();
    if pid == 0 {
        work();
        _exit(0);
    }
    check("fork", pid);
    pid
}

fn zombie() {
    let pid = child(|| ());
    let mut info = [0; 16];
    check("waitid", waitid(P_PID, pid as c_uint, &mut info, WEXITED | WNOWAIT));
}

fn send(pid: c_int, signals: &[c_int]) {
    for signal in signals {
        check(&format!("kill {signal}"), kill(pid, *signal));
    }
}

fn storm(rounds: c_int, size: c_int) {
    for _ in 0..rounds {
        let parent = child(|| {
            let (mut input, output) = std::io::pipe().expect("pipe");
            let mut output = Some(output);
            for index in 0..size {
                let late = index % 2 == 1;
                child(|| {
                    drop(output.take());
                    // Ends when the parent has ended: nobody else holds the output.
                    if late {
                        let ended = input.read(&mut [0]);
                        assert_eq!(ended.expect("read"), 0);
                    }
                });
            }
        });
        let mut status = 0;
        check("waitpid", waitpid(parent, Some(&mut status), 0));
        assert_eq!(status, 0, "a round of the storm has failed");
    }
}

fn reap_by_handler() {
    extern "C" fn reap(_: c_int) {
        while waitpid(ANY, None, WNOHANG) > 0 {}
    }
    signal(SIGCHLD, reap);
    loop {
        pause();
    }
}

fn reap_by_wait() {
    // A child that stays: waitpid then sleeps instead of failing with ECHILD.
    child(|| {
        pause();
    });
    loop {
        waitpid(ANY, None, 0);
    }
}
