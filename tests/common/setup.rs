//! What a world finds when its body starts.
//!
//! ```text
//! /run                  empty tmpfs, with /run/netns and the scratch directory
//! /etc, /var/lib        overlays: the host's files are seen, writes stay in the world;
//!                       where the kernel refuses that, links to the host's, read-only
//! /etc/cni, /etc/podkeel, /var/lib/cni    empty tmpfs
//! /dev/shm              empty tmpfs
//! /sys                  of the new netns, where the kernel permits it (/sys/class/net);
//!                       the host's cgroup mounts stay, but for a hybrid's `unified`:
//!                       crun refuses to run where both are mounted
//! lo                    up
//! ```

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::world::Kind;

/// For the test's own files, and TMPDIR.
pub(super) const SCRATCH: &str = "/run/scratch";

/// The roots of state in a `Kind::User` world.
pub(super) const USER_DIRS: [(&str, &str); 4] = [
    ("PODKEEL_RUN_DIR", "/run/rootless/podkeel"),
    ("PODKEEL_NETNS_DIR", "/run/netns"),
    ("PODKEEL_LEASE_DIR", "/run/rootless/leases"),
    ("PODKEEL_CONF_DIR", "/run/rootless/conf"),
];

/// Turns the fresh namespaces into the world described above. Panics when it cannot:
/// a test must not run in half a world.
pub(super) fn enter(kind: Kind) {
    // Where overlays keep what is written. A second tmpfs covers it right after, so
    // that /run looks empty.
    tmpfs("/run");
    let layered = ["/etc", "/var/lib"].map(|dir| (dir, overlay(kind, dir)));
    fresh_sys(kind);
    tmpfs("/run");
    for (dir, overlaid) in layered {
        if let Err(why) = overlaid {
            println!("no overlay on {dir} in this world ({why}): links instead");
            links(dir);
        }
    }
    for dir in ["/etc/cni", "/etc/podkeel", "/var/lib/cni"] {
        make(dir);
        tmpfs(dir);
    }
    tmpfs("/dev/shm");
    for dir in ["/run/netns", SCRATCH, "/run/lock"] {
        make(dir);
    }
    match kind {
        Kind::Root => ["/etc/podkeel/net.d", "/etc/cni/net.d"].map(make),
        Kind::User => [USER_DIRS[3].1, "/run/rootless"].map(make),
    };
    // Duplicate address detection changes the world a second after a link came up.
    super::sh("echo 0 | tee /proc/sys/net/ipv6/conf/*/accept_dad >/dev/null");
    super::sh("ip link set lo up");
}

fn make(dir: &str) {
    fs::create_dir_all(dir).unwrap_or_else(|e| panic!("cannot make {dir} in the world: {e}"));
}

fn tmpfs(on: &str) {
    let none = MsFlags::empty();
    mount(Some("tmpfs"), on, Some("tmpfs"), none, Some("mode=0755"))
        .unwrap_or_else(|e| panic!("cannot mount a tmpfs on {on} in the world: {e}"));
}

/// Covers `dir` with an overlay of itself whose upper layer is in /run.
///
/// EINVAL in a user namespace where something is mounted below `dir` (in most
/// containers /etc/resolv.conf is): the layer would uncover what lies beneath.
fn overlay(kind: Kind, dir: &str) -> nix::Result<()> {
    let layer = format!("/run/layers{dir}");
    let (upper, work) = (format!("{layer}/upper"), format!("{layer}/work"));
    make(&upper);
    make(&work);
    // In a user namespace trusted.* attributes cannot be written (overlayfs, 5.11).
    let attr = if kind == Kind::User { ",userxattr" } else { "" };
    let data = format!("lowerdir={dir},upperdir={upper},workdir={work}{attr}");
    mount(Some("overlay"), dir, Some("overlay"), MsFlags::empty(), Some(data.as_str()))
}

/// Covers `dir` with a tmpfs in which every entry is a link to the host's, which is
/// kept read-only below /run/host.
fn links(dir: &str) {
    let keep = format!("/run/host{dir}");
    let none: Option<&str> = None;
    make(&keep);
    let bound = mount(Some(dir), keep.as_str(), none, MsFlags::MS_BIND | MsFlags::MS_REC, none);
    // Flags that the host has set cannot be taken off in a user namespace.
    let flags = bound.and_then(|()| statvfs(keep.as_str())).map(|stat| stat.flags());
    let flags = flags.unwrap_or_else(|e| panic!("cannot keep {dir} at {keep}: {e}"));
    let mut wanted = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for (has, flag) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        wanted.set(flag, flags.contains(has));
    }
    mount(none, keep.as_str(), none, wanted, none)
        .unwrap_or_else(|e| panic!("cannot make {keep} read-only: {e}"));
    let kept = fs::read_dir(&keep).unwrap_or_else(|e| panic!("cannot list {keep}: {e}"));
    let names: Vec<_> = kept.map(|entry| entry.expect("an entry").file_name()).collect();
    tmpfs(dir);
    let ours = ["cni", "podkeel"];
    for name in names.iter().filter(|name| ours.iter().all(|our| *name != our)) {
        symlink(Path::new(&keep).join(name), Path::new(dir).join(name))
            .unwrap_or_else(|e| panic!("cannot link {} in {dir}: {e}", name.display()));
    }
}

/// Mounts a sysfs that shows the new netns, with the host's cgroup mounts put back.
///
/// A sysfs in a user namespace is refused where parts of the host's are masked (as
/// in a container); the body then sees the host's /sys, which no program under test
/// reads.
fn fresh_sys(kind: Kind) {
    let keep = "/run/cgroup";
    let cgroup = "/sys/fs/cgroup";
    let none: Option<&str> = None;
    make(keep);
    let kept = mount(Some(cgroup), keep, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).is_ok();
    match mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none) {
        Ok(()) if kept => {
            mount(Some(keep), cgroup, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
                .unwrap_or_else(|e| panic!("cannot put {cgroup} back: {e}"));
        }
        Ok(()) => {}
        Err(e) if kind == Kind::User => println!("no sysfs of its own in this world: {e}"),
        Err(e) => panic!("cannot mount sysfs on /sys in the world: {e}"),
    }
    let unified = "/sys/fs/cgroup/unified";
    if kind == Kind::Root && Path::new(unified).join("cgroup.procs").exists() {
        umount2(unified, MntFlags::MNT_DETACH)
            .unwrap_or_else(|e| panic!("cannot unmount {unified} in the world: {e}"));
    }
}
