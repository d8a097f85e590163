//! System calls: their names, what one was called with, and how each can fail.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::raw::entered;

/// One system call of a followed thread, at its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// Its place in the order of all calls of the run; the first is 1.
    pub n: usize,
    /// The thread that makes it.
    pub tid: i32,
    /// Its number in the kernel's table.
    pub number: i64,
    /// `openat`, or `syscall_NUMBER` where this file has no name for it.
    pub name: String,
    #[allow(missing_docs)]
    pub args: [u64; 6],
    /// The path it names, or the first bytes it writes.
    pub text: Option<String>,
    /// Bytes 4 and 5 of what it sends: of netlink, the type of the first message.
    pub message: Option<u16>,
}

/// How a system call is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// With each of these in turn.
    With(&'static [Errno]),
    /// Not at all, for this reason.
    Never(&'static str),
}

impl Syscall {
    /// Reads the call at whose entry the thread stands.
    pub(super) fn read(n: usize, tid: Pid) -> Self {
        let (number, args) = entered(tid).expect("a thread at the entry of a call");
        let name = name(number);
        let text = match name.as_str() {
            "open" | "stat" | "lstat" | "access" | "mkdir" | "rmdir" | "unlink" | "rename"
            | "link" | "symlink" | "readlink" | "chdir" | "execve" | "umount2" | "chmod" => {
                string(tid, args[0], None)
            }
            "openat" | "openat2" | "newfstatat" | "statx" | "mkdirat" | "unlinkat" | "renameat"
            | "renameat2" | "linkat" | "readlinkat" | "faccessat" | "faccessat2" | "fchmodat"
            | "mknodat" | "symlinkat" | "mount" => string(tid, args[1], None),
            "write" | "pwrite64" | "sendto" => string(tid, args[1], Some(args[2])),
            _ => None,
        };
        let sent = if name == "sendto" { bytes(tid, args[1], args[2].min(6)) } else { None };
        let message = sent.and_then(|b| Some(u16::from_ne_bytes(*b.get(4..)?.first_chunk()?)));
        Self { n, tid: tid.as_raw(), number, name, args, text, message }
    }

    /// Whether it changes nothing that another process, or the next program, could see.
    pub fn only_looks(&self) -> bool {
        let flags = i32::try_from(self.args[2]).unwrap_or(-1);
        match self.name.as_str() {
            "openat" => flags & (libc::O_CREAT | libc::O_TRUNC) == 0,
            "read" | "pread64" | "fstat" | "stat" | "lstat" | "newfstatat" | "statx" | "statfs"
            | "fstatfs" | "getdents64" | "readlink" | "readlinkat" | "lseek" | "mmap"
            | "munmap" | "mprotect" | "mremap" | "brk" | "madvise" | "rt_sigaction"
            | "rt_sigprocmask" | "sigaltstack" | "fcntl" | "getpid" | "gettid" | "getppid"
            | "getuid" | "geteuid" | "getgid" | "getegid" | "getrandom" | "clock_gettime"
            | "poll" | "ppoll" | "prlimit64" | "sched_getaffinity" | "pidfd_open" | "pipe2"
            | "memfd_create" => true,
            _ => false,
        }
    }

    /// Whether all that it does ends with the process that makes it: a descriptor, a lock,
    /// a place to be in. If that one dies, and all that share it, it was never made.
    pub fn ends_with_its_process(&self) -> bool {
        let own = [
            "socket",
            "bind",
            "setsockopt",
            "getsockopt",
            "getsockname",
            "recvfrom",
            "recvmsg",
            "close",
            "close_range",
            "dup",
            "dup2",
            "dup3",
            "flock",
            "setns",
            "prctl",
            "umask",
            "nanosleep",
            "clock_nanosleep",
            "sched_yield",
            "set_robust_list",
            "set_tid_address",
            "rseq",
            "arch_prctl",
            "futex",
        ];
        self.only_looks() || own.contains(&self.name.as_str())
    }

    /// Whether it changes something that outlives its process, or starts one that may.
    pub fn changes(&self) -> bool {
        match self.name.as_str() {
            "sendto" => self.message.is_none_or(|kind| !is_question(kind)),
            "wait4" | "waitid" | "exit" | "exit_group" | "rt_sigreturn" | "uname" => false,
            // Where the changes that follow are made.
            "setns" | "unshare" => true,
            "ioctl" => self.args[1] != libc::NS_GET_NSTYPE,
            _ => !self.ends_with_its_process(),
        }
    }

    /// Whether what it changes is the kernel's and no file's.
    pub fn changes_kernel(&self) -> bool {
        let kernels = ["sendto", "ioctl", "setns", "mount", "umount2"];
        self.changes() && kernels.contains(&self.name.as_str())
    }

    /// How this call can fail.
    pub fn failure(&self) -> Failure {
        let command = i32::try_from(self.args[1]).unwrap_or(-1);
        match self.name.as_str() {
            "brk" if self.args[0] == 0 => Failure::Never("a question, not a request"),
            "fcntl" => match command {
                libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => Failure::With(&[Errno::EMFILE]),
                libc::F_SETLK | libc::F_SETLKW => Failure::With(&[Errno::ENOLCK]),
                libc::F_OFD_SETLK | libc::F_OFD_SETLKW => Failure::With(&[Errno::ENOLCK]),
                _ => Failure::Never("flags of an open descriptor can always be read and set"),
            },
            name => failure(name),
        }
    }
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = self.args.map(|a| format!("{a:#x}"));
        write!(f, "call {} {}({})", self.n, self.name, args.join(", "))?;
        match &self.text {
            Some(text) => write!(f, " {text:?}"),
            None => Ok(()),
        }
    }
}

/// Whether a netlink message of this type asks: of rtnetlink every fourth type, of nftables
/// every third, of conntrack one.
fn is_question(kind: u16) -> bool {
    match (kind >> 8, kind & 0xff) {
        (0, kind) => kind >= libc::RTM_NEWLINK && kind % 4 == libc::RTM_GETLINK % 4,
        (subsystem, kind) if i32::from(subsystem) == libc::NFNL_SUBSYS_NFTABLES => kind % 3 == 1,
        (_, kind) => kind == 1,
    }
}

/// Text in the memory of a stopped process: `length` bytes, or up to a zero byte.
fn string(tid: Pid, address: u64, length: Option<u64>) -> Option<String> {
    const MOST: u64 = 200;
    let mut bytes = bytes(tid, address, length.unwrap_or(MOST).min(MOST))?;
    if length.is_none() {
        bytes.truncate(bytes.iter().position(|b| *b == 0)?);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Bytes in the memory of a stopped process, as many as are there.
fn bytes(tid: Pid, address: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let memory = File::open(format!("/proc/{tid}/mem")).ok()?;
    let got = memory.read_at(&mut bytes, address).ok()?;
    bytes.truncate(got);
    Some(bytes)
}

/// How a call of this name can fail: errors that its man page (section 2) lists and
/// that a machine in trouble gives, not those of a wrong argument.
pub fn failure(name: &str) -> Failure {
    use Errno::*;
    use Failure::{Never, With};
    match name {
        "exit" | "exit_group" | "rt_sigreturn" => Never("does not return"),
        "restart_syscall" => Never("the kernel's own, inside another call"),
        "close" => Never("the descriptor is freed in any case; close(2): do not retry"),
        "munmap" => Never("ENOMEM only where it splits a mapping; allocators ignore it"),
        "madvise" => Never("advice: allocators ignore its result"),
        "rt_sigaction" | "rt_sigprocmask" | "sigaltstack" | "rt_sigsuspend" | "rt_sigpending"
        | "arch_prctl" | "set_tid_address" | "set_robust_list" | "rseq" | "futex" => {
            Never("no error but for wrong arguments; libc relies on it")
        }
        "getpid" | "gettid" | "getppid" | "getuid" | "geteuid" | "getgid" | "getegid"
        | "getpgrp" | "getsid" | "getpgid" | "umask" | "uname" | "sched_yield" | "sysinfo"
        | "clock_gettime" | "gettimeofday" | "time" | "getresuid" | "getresgid" | "alarm"
        | "getrlimit" | "getgroups" | "setsid" => Never("its man page: no error, or no such case"),
        "nanosleep" | "clock_nanosleep" | "pause" | "rt_sigtimedwait" => {
            Never("EINTR comes only with a signal handler")
        }
        "mmap" | "mprotect" | "mremap" | "brk" => With(&[ENOMEM]),
        "clone" | "clone3" | "fork" | "vfork" => With(&[EAGAIN]),
        "execve" | "execveat" => With(&[ENOMEM]),
        "wait4" | "waitid" => With(&[ECHILD]),
        "kill" | "tgkill" | "tkill" | "pidfd_send_signal" | "pidfd_getfd" => With(&[EPERM]),
        "getrandom" | "close_range" => With(&[ENOSYS]),
        "prctl" => With(&[EINVAL]),
        "open" | "openat" | "openat2" | "creat" | "socket" | "socketpair" | "accept"
        | "accept4" | "pipe" | "pipe2" | "dup" | "dup2" | "dup3" | "eventfd2" | "signalfd4"
        | "timerfd_create" | "epoll_create1" | "inotify_init1" | "memfd_create" | "pidfd_open"
        | "open_tree" => With(&[EMFILE]),
        "read" | "pread64" | "readv" | "preadv" | "preadv2" | "getdents64" | "fsync"
        | "fdatasync" | "stat" | "lstat" | "fstat" | "newfstatat" | "statx" | "readlink"
        | "readlinkat" | "access" | "faccessat" | "faccessat2" | "statfs" | "fstatfs"
        | "unlink" | "unlinkat" | "rmdir" | "utimensat" | "lseek" => With(&[EIO]),
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "fallocate" | "ftruncate"
        | "truncate" | "sendfile" | "copy_file_range" | "splice" => With(&[ENOSPC]),
        "link" | "linkat" | "rename" | "renameat" | "renameat2" | "mkdir" | "mkdirat" | "mknod"
        | "mknodat" | "symlink" | "symlinkat" => With(&[ENOSPC, EIO]),
        "chmod" | "fchmod" | "fchmodat" | "chown" | "fchown" | "lchown" | "fchownat"
        | "setxattr" | "fsetxattr" => With(&[EPERM]),
        "chdir" | "fchdir" | "chroot" | "pivot_root" => With(&[EACCES]),
        "getcwd" => With(&[ENOENT]),
        "flock" => With(&[ENOLCK]),
        "sendmsg" | "sendto" | "sendmmsg" => With(&[ENOBUFS, EPERM]),
        "recvmsg" | "recvfrom" | "recvmmsg" => With(&[ENOMEM, ENOBUFS]),
        "bind" => With(&[EADDRINUSE]),
        "connect" => With(&[ECONNREFUSED]),
        "listen" => With(&[EADDRINUSE]),
        "getsockname" | "getpeername" => With(&[ENOBUFS]),
        // A kernel that doesn't know an option (ENOPROTOOPT) knows it at no other call either.
        "getsockopt" => With(&[ENOBUFS]),
        "setsockopt" => With(&[ENOPROTOOPT]),
        "poll" | "ppoll" | "select" | "pselect6" | "epoll_wait" | "epoll_pwait" => With(&[ENOMEM]),
        "epoll_ctl" => With(&[ENOSPC]),
        "mount" | "umount2" | "move_mount" | "fsopen" | "fsconfig" | "fsmount" => {
            With(&[EPERM, ENOMEM])
        }
        "setns" | "unshare" => With(&[EPERM, ENOMEM]),
        // A seccomp filter may refuse any call, and with this.
        _ => With(&[EPERM]),
    }
}

/// The name of a system call, as its man page has it.
pub fn name(number: i64) -> String {
    macro_rules! names {
        ($($sys:ident)*) => {
            match number {
                $(libc::$sys => return stringify!($sys)["SYS_".len()..].to_owned(),)*
                _ => {}
            }
        };
    }
    // Every name that libc has for this CPU; these for no newer one.
    #[cfg(target_arch = "x86_64")]
    names! {
        SYS__sysctl SYS_access SYS_afs_syscall SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown
        SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_ctl_old SYS_epoll_wait SYS_epoll_wait_old
        SYS_eventfd SYS_fchmodat2 SYS_fork SYS_futimesat SYS_get_thread_area SYS_getdents
        SYS_getpgrp SYS_getpmsg SYS_getrlimit SYS_inotify_init SYS_ioperm SYS_iopl SYS_lchown
        SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pause SYS_pipe
        SYS_poll SYS_putpmsg SYS_readlink SYS_rename SYS_renameat SYS_rmdir SYS_security
        SYS_select SYS_set_thread_area SYS_setrlimit SYS_signalfd SYS_stat SYS_symlink
        SYS_sync_file_range SYS_sysfs SYS_time SYS_tuxcall SYS_unlink SYS_uselib SYS_ustat
        SYS_utime SYS_utimes SYS_vfork SYS_vserver
    }
    names! {
        SYS_accept SYS_accept4 SYS_acct SYS_add_key SYS_adjtimex SYS_bind SYS_bpf SYS_brk
        SYS_capget SYS_capset SYS_chdir SYS_chroot SYS_clock_adjtime SYS_clock_getres
        SYS_clock_gettime SYS_clock_nanosleep SYS_clock_settime SYS_clone SYS_clone3 SYS_close
        SYS_close_range SYS_connect SYS_copy_file_range SYS_delete_module SYS_dup SYS_dup3
        SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_execve
        SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64
        SYS_fallocate SYS_fanotify_init SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat
        SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr SYS_finit_module
        SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsconfig SYS_fsetxattr SYS_fsmount
        SYS_fsopen SYS_fspick SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex
        SYS_futex_waitv SYS_get_mempolicy SYS_get_robust_list SYS_getcpu SYS_getcwd
        SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer
        SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom
        SYS_getresgid SYS_getresuid SYS_getrusage SYS_getsid SYS_getsockname SYS_getsockopt
        SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr SYS_init_module SYS_inotify_add_watch
        SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel SYS_io_destroy SYS_io_getevents
        SYS_io_setup SYS_io_submit SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup
        SYS_ioctl SYS_ioprio_get SYS_ioprio_set SYS_kcmp SYS_kexec_file_load SYS_kexec_load
        SYS_keyctl SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset
        SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr
        SYS_llistxattr SYS_lookup_dcookie SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise
        SYS_mbind SYS_membarrier SYS_memfd_create SYS_memfd_secret SYS_migrate_pages SYS_mincore
        SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_mount
        SYS_mount_setattr SYS_move_mount SYS_move_pages SYS_mprotect SYS_mq_getsetattr
        SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink SYS_mremap
        SYS_mseal SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock
        SYS_munlockall SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat
        SYS_nfsservctl SYS_open_by_handle_at SYS_open_tree SYS_openat SYS_openat2
        SYS_perf_event_open SYS_personality SYS_pidfd_getfd SYS_pidfd_open SYS_pidfd_send_signal
        SYS_pipe2 SYS_pivot_root SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll
        SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_process_madvise
        SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev SYS_pselect6 SYS_ptrace
        SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_quotactl SYS_quotactl_fd SYS_read SYS_readahead
        SYS_readlinkat SYS_readv SYS_reboot SYS_recvfrom SYS_recvmmsg SYS_recvmsg
        SYS_remap_file_pages SYS_removexattr SYS_renameat2 SYS_request_key SYS_restart_syscall
        SYS_rseq SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo
        SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo
        SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getaffinity
        SYS_sched_getattr SYS_sched_getparam SYS_sched_getscheduler SYS_sched_rr_get_interval
        SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler
        SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget SYS_semop SYS_semtimedop SYS_sendfile
        SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_mempolicy SYS_set_mempolicy_home_node
        SYS_set_robust_list SYS_set_tid_address SYS_setdomainname SYS_setfsgid SYS_setfsuid
        SYS_setgid SYS_setgroups SYS_sethostname SYS_setitimer SYS_setns SYS_setpgid
        SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setsid
        SYS_setsockopt SYS_settimeofday SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt
        SYS_shmget SYS_shutdown SYS_sigaltstack SYS_signalfd4 SYS_socket SYS_socketpair
        SYS_splice SYS_statfs SYS_statx SYS_swapoff SYS_swapon SYS_symlinkat SYS_sync SYS_syncfs
        SYS_sysinfo SYS_syslog SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete
        SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create
        SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask
        SYS_umount2 SYS_uname SYS_unlinkat SYS_unshare SYS_userfaultfd SYS_utimensat SYS_vhangup
        SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
    }
    format!("syscall_{number}")
}
