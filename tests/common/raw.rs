//! What the tracer asks of the kernel, a raw socket, a tap: the one file of the tests with
//! unsafe code.
#![allow(unsafe_code, reason = "ptrace, pre_exec, sockets; each site says why it is sound")]

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;

use super::syscalls::Syscall;

/// Starts the program; it stops right after its execve.
#[allow(clippy::zombie_processes, reason = "wait_any waits for it")]
pub(super) fn spawn(command: &mut Command) -> Pid {
    let prepare = || {
        ptrace::traceme()?;
        // SAFETY: personality(2) takes a number, touches no memory and is safe to call
        // between fork and exec.
        let old = unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) };
        if old == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure makes two system calls and neither allocates nor locks, as a
    // fork of a program with several threads must not.
    unsafe { command.pre_exec(prepare) };
    let child = command.spawn().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let main = Pid::from_raw(child.id().cast_signed());
    let (pid, status) = wait_any().expect("the program's first stop");
    assert!(pid == main && libc::WIFSTOPPED(status), "{command:?} did not stop: {status:#x}");
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::setoptions(main, options).expect("PTRACE_SETOPTIONS");
    main
}

/// The next change of state of a thread followed by the calling thread; `None` when
/// there is none left.
///
/// Not nix's waitpid: it turns a stop by a real-time signal into an error and loses it.
pub(super) fn wait_any() -> Option<(Pid, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for an int for the whole call.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD) };
        match Errno::result(pid) {
            Ok(pid) => return Some((Pid::from_raw(pid), status)),
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return None,
            Err(e) => panic!("waitpid: {e}"),
        }
    }
}

/// Lets a stopped thread run to its next call, with `signal` delivered (0: none).
///
/// Not nix's: it has no real-time signals, with which libc makes all threads change
/// their user. A thread killed meanwhile is no error; its end is seen next.
pub(super) fn resume(pid: Pid, signal: i32) {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SYSCALL reads and writes no memory of ours; a pid that is not a
    // stopped tracee of this thread gives ESRCH.
    unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid.as_raw(), none, libc::c_long::from(signal)) };
}

/// Kills the process of this thread. An error means that it is gone already.
pub(super) fn kill(tid: i32) {
    nix::sys::signal::kill(Pid::from_raw(tid), nix::sys::signal::Signal::SIGKILL).ok();
}

/// Stops this one thread (a process-wide SIGSTOP would be reported by any of them).
pub(super) fn stop(tid: i32) {
    // SAFETY: tkill(2) takes two numbers and touches no memory.
    unsafe { libc::syscall(libc::SYS_tkill, tid, libc::SIGSTOP) };
}

/// The number and the arguments of the call at whose entry a thread stands.
pub(super) fn entered(pid: Pid) -> Option<(i64, [u64; 6])> {
    let info = ptrace::syscall_info(pid).ok()?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: it is an entry, so `entry` is what the kernel has filled in.
    let entry = unsafe { info.u.entry };
    Some((entry.nr.cast_signed(), entry.args))
}

/// Which registers of a CPU hold a call's first argument and its result, and how the call is
/// skipped at whose entry a thread stands: by giving it a number that is none.
#[cfg(target_arch = "x86_64")]
mod cpu {
    use super::{Pid, ptrace};

    pub(super) fn argument(regs: &mut libc::user_regs_struct) -> &mut u64 {
        &mut regs.rdi
    }

    pub(super) fn result(regs: &mut libc::user_regs_struct) -> &mut u64 {
        &mut regs.rax
    }

    pub(super) fn skip(pid: Pid) -> nix::Result<()> {
        let regs = ptrace::getregs(pid)?;
        ptrace::setregs(pid, libc::user_regs_struct { orig_rax: u64::MAX, ..regs })
    }
}

#[cfg(target_arch = "aarch64")]
mod cpu {
    use super::{Errno, Pid};

    /// include/uapi/linux/elf.h: the number of the call has a register set of its own.
    const NT_ARM_SYSTEM_CALL: libc::c_int = 0x404;

    pub(super) fn argument(regs: &mut libc::user_regs_struct) -> &mut u64 {
        &mut regs.regs[0]
    }

    pub(super) fn result(regs: &mut libc::user_regs_struct) -> &mut u64 {
        &mut regs.regs[0]
    }

    pub(super) fn skip(pid: Pid) -> nix::Result<()> {
        let mut none: libc::c_int = -1;
        let mut set = libc::iovec { iov_base: (&raw mut none).cast(), iov_len: size_of_val(&none) };
        let (call, set) = (libc::PTRACE_SETREGSET, &raw mut set);
        // SAFETY: the kernel reads one int by way of `set`; both live through the call.
        Errno::result(unsafe { libc::ptrace(call, pid.as_raw(), NT_ARM_SYSTEM_CALL, set) })?;
        Ok(())
    }
}

/// What is left to do when a failing call returns.
pub(super) enum AtExit {
    /// It has been skipped: it returns this.
    Return(Errno),
    /// It was made with another first argument, and a call leaves its arguments as
    /// they are: libc compares this one with the result.
    RestoreArgument(u64),
}

/// At the entry of a call: makes the kernel skip it.
///
/// A brk(2) that fails returns the old break, not an error: so it is made, as brk(0).
pub(super) fn start_failing(pid: Pid, call: &Syscall, errno: Errno) -> AtExit {
    if call.name != "brk" {
        cpu::skip(pid).expect("registers of a stopped thread");
        return AtExit::Return(errno);
    }
    change(pid, |regs| *cpu::argument(regs) = 0);
    AtExit::RestoreArgument(call.args[0])
}

/// At its exit.
pub(super) fn finish_failing(pid: Pid, at_exit: &AtExit) {
    change(pid, |regs| match at_exit {
        AtExit::Return(errno) => *cpu::result(regs) = i64::from(-(*errno as i32)).cast_unsigned(),
        // Where both are one register, nobody expects the argument in there.
        AtExit::RestoreArgument(_) if cfg!(target_arch = "aarch64") => {}
        AtExit::RestoreArgument(argument) => *cpu::argument(regs) = *argument,
    });
}

fn change(pid: Pid, change: impl FnOnce(&mut libc::user_regs_struct)) {
    let mut regs = ptrace::getregs(pid).expect("registers of a stopped thread");
    change(&mut regs);
    ptrace::setregs(pid, regs).expect("registers of a stopped thread");
}

/// A raw socket for ICMPv6 whose multicast messages go out with a hop limit of 255, as
/// neighbour discovery has it. std's type for a datagram socket serves for sending.
pub(super) fn icmp6_socket() -> std::io::Result<UdpSocket> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes three numbers and touches no memory.
    let fd = unsafe { libc::socket(libc::AF_INET6, kind, libc::IPPROTO_ICMPV6) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let hops: libc::c_int = 255;
    let size = size_of_val(&hops) as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS);
    // SAFETY: `hops` is an int, valid for `size` bytes for the whole call.
    let set = unsafe { libc::setsockopt(fd, level, name, (&raw const hops).cast(), size) };
    Errno::result(set)?;
    Ok(UdpSocket::from(socket))
}

/// Makes an open /dev/net/tun a queue of the tap of this name: TUNSETIFF with these flags.
pub(super) fn tun_attach(file: &std::fs::File, name: &str, flags: i32) -> std::io::Result<()> {
    // struct ifreq: 16 bytes of name, then a union of which ifr_flags is a short.
    let mut request = [0u8; size_of::<libc::ifreq>()];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&(flags as u16).to_ne_bytes());
    // SAFETY: `request` is as long as struct ifreq, which the kernel reads and writes, and
    // lives through the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    Ok(Errno::result(done).map(drop)?)
}
