//! Entering a network namespace for good, and becoming another program.
//!
//! Nothing of this reaches the caller: netsetup enters alone, with one thread, and its
//! mount namespace is its own from then on.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::error::{Context, Error, Result};
use crate::kernel::Ns;

/// Files for one namespace alone, as ip-netns(8) has them.
const ETC: &str = "/etc/netns";

/// Where most machines mount the control groups.
const CGROUP: &str = "/sys/fs/cgroup";

/// Moves this process into the namespace, with a mount namespace in which /sys and /etc
/// fit it. What is not as it should be, but no reason to stop, goes to `say`.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub(super) fn enter(netns: &Ns, name: &str, say: &mut dyn FnMut(String)) -> Result<()> {
    setns(netns, CloneFlags::CLONE_NEWNET)
        .map_err(|e| Error::errno(format!("enter network namespace {name}"), e as i32))?;
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|e| Error::errno("make a mount namespace", e as i32))?;
    // Mounts of the host still come in; none of these goes out.
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).ctx(|| "keep mounts to itself".into())?;
    if let Err(error) = fresh_sys(name) {
        say(format!("/sys still shows another network namespace: {error}"));
    }
    for error in bind_etc(&Path::new(ETC).join(name)) {
        say(error.to_string());
    }
    Ok(())
}

/// Mounts a sysfs that shows this namespace, and keeps the control groups.
fn fresh_sys(name: &str) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let cgroup = rustix::mount::open_tree(CWD, CGROUP, flags);
    let old = rustix::fs::statvfs("/sys");
    // In a user namespace a read-only one can't be covered by one that is not.
    let read_only = old.is_ok_and(|old| old.f_flag.contains(StatVfsMountFlags::RDONLY));
    let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    // Where it can't be unmounted it is covered.
    let unmounted = rustix::mount::unmount("/sys", UnmountFlags::DETACH).is_ok();
    rustix::mount::mount(name, "/sys", "sysfs", flags, None).ctx(|| {
        let lost = if unmounted { ", which is empty now" } else { "" };
        format!("mount sysfs on /sys{lost}")
    })?;
    if let Ok(cgroup) = cgroup {
        // Best effort: `ip netns exec` leaves them out.
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let _ = rustix::mount::move_mount(&cgroup, "", CWD, CGROUP, flags);
    }
    Ok(())
}

/// Binds what is in the namespace's own directory over the entries of these names in /etc.
fn bind_etc(own: &Path) -> Vec<Error> {
    let entries = match std::fs::read_dir(own) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => return vec![Error::io(format!("list {}", own.display()), &e)],
        Ok(entries) => entries,
    };
    let bind = |entry: io::Result<std::fs::DirEntry>| {
        let entry = entry.ctx(|| format!("list {}", own.display()))?;
        let (from, to) = (entry.path(), Path::new("/etc").join(entry.file_name()));
        rustix::mount::mount_bind(&from, &to)
            .ctx(|| format!("bind {} over {}", from.display(), to.display()))
    };
    entries.filter_map(|entry| bind(entry).err()).collect()
}

/// Becomes the program; returns only if that fails, with the exit code that shells have
/// for it: 127 if there is no such program, 126 if it can't be run.
///
/// SIGPIPE, which Rust's run-time ignores, is given its default back; mask and other
/// dispositions are those that netsetup was started with.
pub(super) fn exec(command: &[OsString], err: &mut dyn Write) -> i32 {
    let Some((program, args)) = command.split_first() else { return 127 };
    let error = Command::new(program).args(args).exec();
    let what = format!("run {}", Path::new(program).display());
    let _ = writeln!(err, "netsetup: {}", Error::io(what, &error));
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}
