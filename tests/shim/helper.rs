//! What the members of the tests do and no shell command can: System V and POSIX IPC,
//! SO_REUSEPORT, signals counted. Built by the tests with rustc alone, so it declares the
//! few C functions that it calls.
//!
//! `helper VERB ARG...`:
//! - `sysv-send KEY TEXT`, `sysv-receive KEY`: System V message queue
//! - `shm-put NAME TEXT`, `shm-get NAME`: POSIX shared memory
//! - `mq-send NAME TEXT`, `mq-receive NAME`: POSIX message queue
//! - `serve PORT TEXT COUNT`: one of several listeners on 127.0.0.1:PORT: says TEXT to each
//!   client, and ends after COUNT
//! - `signals`: says `ready`, then the number of each signal that comes, and ends after TERM
//! - `orphans COUNT`: leaves so many grandchildren without a parent, which end a moment later

use std::ffi::{CString, c_char, c_int, c_long, c_ulong, c_void};
use std::io::{Error, Write};
use std::net::TcpListener;
use std::os::fd::FromRawFd;

/// `sigset_t` of glibc and musl.
type Signals = [c_ulong; 16];

/// A message as msgsnd(2) has it.
#[repr(C)]
struct Message {
    kind: c_long,
    text: [u8; 64],
}

// SAFETY: the declarations are those of the manual pages, with references in the place of
// pointers that must be valid. fork is safe because the helper has no second thread.
unsafe extern "C" {
    safe fn fork() -> c_int;
    safe fn sigfillset(set: &mut Signals) -> c_int;
    safe fn sigprocmask(how: c_int, set: &Signals, old: Option<&mut Signals>) -> c_int;
    safe fn sigwait(set: &Signals, signal: &mut c_int) -> c_int;
    safe fn msgget(key: c_int, flags: c_int) -> c_int;
    safe fn msgsnd(id: c_int, message: &Message, size: usize, flags: c_int) -> c_int;
    safe fn msgrcv(id: c_int, to: &mut Message, size: usize, kind: c_long, flags: c_int) -> isize;
    fn shm_open(name: *const c_char, flags: c_int, mode: c_int) -> c_int;
    fn mq_open(name: *const c_char, flags: c_int, ...) -> c_int;
    fn mq_send(queue: c_int, text: *const c_char, size: usize, priority: u32) -> c_int;
    fn mq_receive(queue: c_int, to: *mut c_char, size: usize, priority: *mut u32) -> isize;
    safe fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    safe fn setsockopt(fd: c_int, level: c_int, name: c_int, value: &c_int, size: u32) -> c_int;
    safe fn bind(fd: c_int, address: &Address, size: u32) -> c_int;
    safe fn listen(fd: c_int, backlog: c_int) -> c_int;
    safe fn waitpid(pid: c_int, status: &mut c_int, options: c_int) -> c_int;
}

/// `struct sockaddr_in`.
#[repr(C)]
struct Address {
    family: u16,
    port: [u8; 2],
    ip: [u8; 4],
    zero: [u8; 8],
}

const IPC_CREAT: c_int = 0o1000;
const O_RDWR: c_int = 2;
const O_CREAT: c_int = 0o100;
const SIG_BLOCK: c_int = 0;
const SIGTERM: c_int = 15;
const AF_INET: c_int = 2;
const SOCK_STREAM: c_int = 1;
const SOL_SOCKET: c_int = 1;
const SO_REUSEPORT: c_int = 15;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["sysv-send", key, text] => sysv_send(number(key), text),
        ["sysv-receive", key] => sysv_receive(number(key)),
        ["shm-put", name, text] => std::fs::write(shm(name, O_CREAT), text).expect("write"),
        ["shm-get", name] => println!("{}", std::fs::read_to_string(shm(name, 0)).expect("read")),
        ["mq-send", name, text] => mq_put(name, text),
        ["mq-receive", name] => mq_get(name),
        ["serve", port, text, count] => serve(number(port), text, number(count)),
        ["signals"] => signals(),
        ["orphans", count] => orphans(number(count)),
        _ => panic!("{words:?}: no such verb"),
    }
}

fn number(text: &str) -> c_int {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn check(what: &str, result: c_int) -> c_int {
    assert!(result >= 0, "{what}: {}", Error::last_os_error());
    result
}

fn sysv_send(key: c_int, text: &str) {
    let id = check("msgget", msgget(key, IPC_CREAT | 0o600));
    let mut message = Message { kind: 1, text: [0; 64] };
    message.text[..text.len()].copy_from_slice(text.as_bytes());
    check("msgsnd", msgsnd(id, &message, text.len(), 0));
}

fn sysv_receive(key: c_int) {
    let id = check("msgget", msgget(key, 0));
    let mut message = Message { kind: 0, text: [0; 64] };
    let size = msgrcv(id, &mut message, 64, 0, 0);
    check("msgrcv", size as c_int);
    println!("{}", String::from_utf8_lossy(&message.text[..size as usize]));
}

/// The path of an open POSIX shared memory object.
fn shm(name: &str, flags: c_int) -> String {
    let name = CString::new(name).expect("no zero byte");
    // SAFETY: the name ends in a zero byte and lives for the whole call.
    let fd = unsafe { shm_open(name.as_ptr(), O_RDWR | flags, 0o600) };
    format!("/proc/self/fd/{}", check("shm_open", fd))
}

fn mq_put(name: &str, text: &str) {
    let name = CString::new(name).expect("no zero byte");
    // SAFETY: the name ends in a zero byte; mode and a null pointer follow O_CREAT, as
    // mq_open(3) has it.
    let fd = unsafe {
        mq_open(name.as_ptr(), O_RDWR | O_CREAT, 0o600, std::ptr::null::<c_void>())
    };
    check("mq_open", fd);
    // SAFETY: the text is readable for its whole length.
    check("mq_send", unsafe { mq_send(fd, text.as_ptr().cast(), text.len(), 0) });
}

fn mq_get(name: &str) {
    let name = CString::new(name).expect("no zero byte");
    // SAFETY: the name ends in a zero byte and lives for the whole call.
    let fd = check("mq_open", unsafe { mq_open(name.as_ptr(), O_RDWR) });
    let mut text = vec![0_u8; 8192];
    // SAFETY: the buffer is as long as said; no priority is asked for.
    let size =
        unsafe { mq_receive(fd, text.as_mut_ptr().cast(), text.len(), std::ptr::null_mut()) };
    check("mq_receive", size as c_int);
    println!("{}", String::from_utf8_lossy(&text[..size as usize]));
}

fn serve(port: c_int, text: &str, count: c_int) {
    let fd = check("socket", socket(AF_INET, SOCK_STREAM, 0));
    check("setsockopt", setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &1, 4));
    let port = (port as u16).to_be_bytes();
    let address =
        Address { family: AF_INET as u16, port, ip: [127, 0, 0, 1], zero: [0; 8] };
    check("bind", bind(fd, &address, 16));
    check("listen", listen(fd, 64));
    // SAFETY: the descriptor was opened just now, and nobody else owns it.
    let listener = unsafe { TcpListener::from_raw_fd(fd) };
    println!("ready");
    for _ in 0..count {
        let (mut client, _) = listener.accept().expect("accept");
        writeln!(client, "{text}").expect("a client");
    }
}

fn signals() {
    let mut all: Signals = [0; 16];
    check("sigfillset", sigfillset(&mut all));
    check("sigprocmask", sigprocmask(SIG_BLOCK, &all, None));
    println!("ready");
    loop {
        let mut signal = 0;
        check("sigwait", sigwait(&all, &mut signal));
        println!("{signal}");
        if signal == SIGTERM {
            return;
        }
    }
}

/// A grandchild whose parent has ended belongs to the first process of the pid namespace.
fn orphans(count: c_int) {
    for _ in 0..count {
        let child = check("fork", fork());
        if child == 0 {
            if check("fork", fork()) == 0 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            std::process::exit(0);
        }
        let mut status = 0;
        check("waitpid", waitpid(child, &mut status, 0));
    }
}
