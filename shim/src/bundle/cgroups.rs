//! Control groups of a container whose runtime was killed after it had made them, and
//! before it had written down that it did: then its own `delete` knows nothing of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use podkeel_netsetup::error::{Error, Result};
use rustix::fs::statfs;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;

use super::config;

/// How long what is left of the container may take to leave them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes them. `copy` is the bundle that the runtime was given.
///
/// Who is in one that is called after the container's id is of the container, or of its
/// runtime's making of it, and is killed. A group that its config.json names may be shared
/// with others, and stays for them.
///
/// # Errors
/// Somebody is in one all the same.
pub(super) fn remove(copy: &Path, id: &str) -> Result<()> {
    let named = named(copy);
    let found: Vec<PathBuf> = hierarchies()
        .iter()
        .flat_map(|root| match &named {
            Some(path) => vec![root.join(path)],
            None => called(root, id),
        })
        .collect();
    let end = Instant::now() + PATIENCE;
    for path in found {
        while let Err(e) = remove_all(&path) {
            if named.is_none() {
                kill_all(&path);
            }
            if Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            } else if named.is_some() {
                break;
            } else {
                return Err(Error::io(format!("remove control group {}", path.display()), &e));
            }
        }
    }
    Ok(())
}

/// Kills who is in a group, and in those below it.
fn kill_all(group: &Path) {
    children(group).iter().for_each(|child| kill_all(child));
    let inside = || fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in inside().lines().filter_map(|line| line.parse::<i32>().ok()) {
        let Some(Ok(held)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()))
        else {
            continue;
        };
        // Looked at again now that it is held: no other has got its pid.
        if inside().lines().any(|line| line.parse() == Ok(pid)) {
            let _ = pidfd_send_signal(&held, Signal::KILL);
        }
    }
}

/// The path in config.json, without its slash. One without that is relative to the
/// runtime's own group, and then it is only known by its name.
fn named(copy: &Path) -> Option<PathBuf> {
    let text = fs::read(copy.join(config::FILE)).ok()?;
    let json: Value = serde_json::from_slice(&text).ok()?;
    let path = json["linux"]["cgroupsPath"].as_str()?.strip_prefix('/')?;
    let plain = Path::new(path).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    (plain && !path.is_empty()).then(|| path.into())
}

/// Where the kernel's hierarchies are mounted: proc_pid_mountinfo(5).
fn hierarchies() -> BTreeSet<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let place = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let is = matches!(after.split(' ').next()?, "cgroup" | "cgroup2");
        is.then(|| before.split(' ').nth(4).map(PathBuf::from)).flatten()
    };
    // What is mounted there by now may be something else: the list has what is covered, too.
    let is = |root: &PathBuf| statfs(root).is_ok_and(|fs| MAGICS.contains(&(fs.f_type as u32)));
    text.lines().filter_map(place).filter(is).collect()
}

/// CGROUP_SUPER_MAGIC and CGROUP2_SUPER_MAGIC of linux/magic.h.
const MAGICS: [u32; 2] = [0x0027_e0eb, 0x6367_7270];

/// The groups of this name, wherever they are.
fn called(dir: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for child in children(dir) {
        if child.file_name().is_some_and(|n| n == name) {
            found.push(child);
        } else {
            found.extend(called(&child, name));
        }
    }
    found
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()));
    dirs.map(|entry| entry.path()).collect()
}

/// A group and those below it. Only the kernel's own files are in them, and go with them.
fn remove_all(dir: &Path) -> std::io::Result<()> {
    for child in children(dir) {
        remove_all(&child)?;
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
