//! What a VM finds: the real tools that the tests call, with their libraries, at their
//! places on this machine; the kernel's modules; the programs and their tests.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::{Archive, Entry};
use super::run;

/// Commands that the tests call.
const TOOLS: &[&str] = &[
    "awk",
    "bash",
    "bridge",
    "busybox",
    "cat",
    "chmod",
    "chown",
    "chroot",
    "cp",
    "crun",
    "curl",
    "cut",
    "date",
    "dd",
    "dirname",
    "echo",
    "env",
    "expr",
    "false",
    "find",
    "flock",
    "grep",
    "head",
    "hostname",
    "id",
    "ip",
    "ip6tables",
    "iptables",
    "jq",
    "kill",
    "kmod",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mknod",
    "modprobe",
    "mount",
    "mountpoint",
    "mv",
    "nft",
    "nsenter",
    "od",
    "ping",
    "printf",
    "prlimit",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "runc",
    "script",
    "sed",
    "seq",
    "setpriv",
    "sh",
    "sleep",
    "sort",
    "ss",
    "stat",
    "strace",
    "stty",
    "sysctl",
    "tail",
    "tcpdump",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "traceroute",
    "true",
    "umount",
    "uname",
    "uniq",
    "unshare",
    "wc",
    "xargs",
];

/// Files that the tools read: names and numbers of protocols, users.
const FILES: &[&str] = &[
    "/etc/passwd",
    "/etc/group",
    "/etc/protocols",
    "/etc/services",
    "/etc/nsswitch.conf",
    "/etc/iproute2",
    "/usr/share/iproute2",
];

/// Folders of modules that are taken along: the network, and what it needs.
const MODULES: &[&str] = &[
    "arch",
    "crypto",
    "drivers/net",
    "drivers/pps",
    "drivers/ptp",
    "drivers/uio",
    "drivers/virtio",
    "fs/overlayfs",
    "lib",
    "net",
];

/// An image in the making.
pub(super) struct Image(Archive);

impl Image {
    /// With the machine's tools in it.
    pub(super) fn with_tools() -> Image {
        let mut image = Image(Archive::default());
        for dir in ["/dev", "/proc", "/sys", "/run", "/tmp", "/root", "/new", "/var/lib", "/etc"] {
            image.0.add(Path::new(dir), Entry::Folder);
        }
        // The kernel calls /sbin/modprobe, scripts begin with /bin/sh.
        for dir in ["/bin", "/sbin", "/lib"] {
            image.folder(Path::new(dir));
        }
        let tools: Vec<PathBuf> = TOOLS.iter().map(|tool| find(tool)).collect();
        tools.iter().for_each(|tool| image.copy(tool));
        libraries(&tools).iter().for_each(|library| image.copy(library));
        for file in FILES.iter().map(Path::new).filter(|file| file.exists()) {
            image.tree(file, file);
        }
        image
    }

    /// A program of ours and the libraries that it loads, without what is for debuggers.
    pub(super) fn program(&mut self, program: &Path) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm-stripped");
        fs::create_dir_all(&folder).expect("make a folder");
        // Two programs may have one name: pause, and what shim carries.
        let name = program.strip_prefix("/").expect("a whole path").display().to_string();
        let stripped = folder.join(name.replace('/', "+"));
        let at = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
        if at(&stripped) < at(program) {
            let thread = std::thread::current().id();
            let part = folder.join(format!("{}.{thread:?}", std::process::id()));
            run(Command::new("strip").arg("-o").arg(&part).arg(program));
            fs::rename(part, &stripped).expect("rename");
        }
        self.0.add(program, Entry::Copy(stripped, 0o755));
        libraries(&[program.to_owned()]).iter().for_each(|library| self.copy(library));
    }

    /// A text at a place.
    pub(super) fn text(&mut self, at: &str, text: &str, mode: u32) {
        self.0.add(Path::new(at), Entry::Text(text.into(), mode));
    }

    /// A file or link of the machine's, at the same place; of a link, where it leads, too.
    pub(super) fn copy(&mut self, path: &Path) {
        let folder = self.folder(path.parent().expect("a file's path"));
        let place = folder.join(path.file_name().expect("a file's name"));
        if self.0.has(&place) {
            return;
        }
        let meta = place.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", place.display()));
        if meta.is_symlink() {
            let target = fs::read_link(&place).expect("a link");
            self.copy(&folder.join(&target));
            self.0.add(&place, Entry::Link(target));
        } else {
            let mode = meta.permissions().mode() & 0o7777;
            self.0.add(&place, Entry::Copy(place.clone(), mode));
        }
    }

    /// The folder that a path leads to, with the links on the way there: /bin, /lib64.
    fn folder(&mut self, path: &Path) -> PathBuf {
        let mut real = PathBuf::from("/");
        for part in path.components().skip(1) {
            let next = real.join(part);
            if let Ok(target) = fs::read_link(&next) {
                real = self.folder(&real.join(&target));
                self.0.add(&next, Entry::Link(target));
            } else if part.as_os_str() == ".." {
                real.pop();
            } else {
                real = next;
            }
        }
        real
    }

    /// Everything below a folder, or a file, at another place.
    pub(super) fn tree(&mut self, from: &Path, to: &Path) {
        let meta = fs::metadata(from).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        if !meta.is_dir() {
            let mode = meta.permissions().mode() & 0o7777;
            return self.0.add(to, Entry::Copy(from.to_owned(), mode));
        }
        self.0.add(to, Entry::Folder);
        for entry in fs::read_dir(from).expect("list a folder") {
            let entry = entry.expect("an entry");
            self.tree(&entry.path(), &to.join(entry.file_name()));
        }
    }

    /// The reference's plugins, as Debian has them.
    pub(super) fn reference(&mut self) {
        let folder = Path::new("/usr/lib/cni");
        self.tree(folder, folder);
    }

    /// The kernel's modules, and the lists that modprobe finds them by.
    pub(super) fn modules(&mut self, kernel: &super::kernel::Kernel) {
        let to = self.folder(Path::new("/lib/modules")).join(&kernel.version);
        for entry in fs::read_dir(&kernel.modules).expect("list the modules").flatten() {
            if entry.file_name().to_string_lossy().starts_with("modules.") {
                self.tree(&entry.path(), &to.join(entry.file_name()));
            }
        }
        for folder in MODULES {
            let from = kernel.modules.join("kernel").join(folder);
            if from.exists() {
                self.tree(&from, &to.join("kernel").join(folder));
            }
        }
    }

    pub(super) fn write(&self, to: &Path) {
        let file = fs::File::create(to).expect("make the image");
        self.0.write(BufWriter::new(file)).expect("write the image");
    }
}

/// Where a command lies.
pub(super) fn find(tool: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    let mut places = path.split(':').map(|dir| Path::new(dir).join(tool));
    places.find(|place| place.is_file()).unwrap_or_else(|| panic!("no command {tool} here"))
}

/// The libraries that programs load, and what the tools among them load by name later.
fn libraries(programs: &[PathBuf]) -> BTreeSet<PathBuf> {
    let output = super::common::output(Command::new("ldd").args(programs));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // NAME => PATH (ADDRESS), or PATH (ADDRESS); PROGRAM: and `statically linked` between.
    let paths = text.split_whitespace().filter(|w| w.starts_with('/') && !w.ends_with(':'));
    let mut all: BTreeSet<PathBuf> = paths.map(PathBuf::from).collect();
    for folder in all.clone().iter().filter_map(|path| path.parent()) {
        let extensions = fs::read_dir(folder.join("xtables")).into_iter().flatten().flatten();
        all.extend(extensions.map(|entry| entry.path()));
    }
    all
}
