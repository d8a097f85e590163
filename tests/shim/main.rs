//! shim on the real kernel: a base, what joins it, and their life.
//!
//! ```text
//! run       every flag of `shim run`; what is refused, and what fails on the way, leaves nothing
//! share     what members share: localhost, ports, System V and POSIX IPC, signals, orphans
//! plain     the join that is done before the C library starts, beside the whole of shim
//! program   what a joined program gets: status, environment, user, standard streams
//! detached  logs, statuses, and how much fits into a log
//! signals   forwarded, and sent while a program is being started; ^C at a terminal
//! life      stop, start, rename, rm, and two at a time
//! show      ps and inspect
//! killed    kill -9 of any of them, in every order; a pid that is another's by now
//! clean     no other program, and no descriptor or lock that stays behind
//! crash     shim killed at, or refused, every one of its system calls
//! ```

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod clean;
mod crash;
mod detached;
mod killed;
mod life;
mod plain;
mod program;
mod run;
mod share;
mod show;
mod signals;
