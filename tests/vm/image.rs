//! What a VM finds: the real tools that the tests call, with their libraries, at their
//! places on this machine, or as Debian has them for another CPU; the kernel's modules; the
//! programs and their tests.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::{Archive, Entry};
use super::debian::Debian;
use super::machine::Board;
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
    "tc",
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

/// Debian's packages of them.
const PACKAGES: &[&str] = &[
    "bash",
    "bsdutils",
    "busybox-static",
    "coreutils",
    "crun",
    "curl",
    "dash",
    "findutils",
    "grep",
    "hostname",
    "iproute2",
    "iptables",
    "iputils-ping",
    "jq",
    "kmod",
    "mawk",
    "mount",
    "nftables",
    "procps",
    "runc",
    "sed",
    "strace",
    "tcpdump",
    "traceroute",
    // Which spares the one that would make the folders below / links, and its perl.
    "usr-is-merged",
    "util-linux",
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
pub(super) struct Image {
    archive: Archive,
    cpu: &'static str,
    /// Where the root is whose tools and libraries it has: this machine's, or a tree of packages.
    pub(super) root: PathBuf,
}

impl Image {
    /// With tools for that CPU in it.
    pub(super) fn with_tools(board: &Board) -> Image {
        let root = match board.is_own() {
            true => PathBuf::from("/"),
            false => Debian::new(&super::debian::own(), board.debian).tree(PACKAGES),
        };
        let mut image = Image { archive: Archive::default(), cpu: board.cpu, root };
        for dir in ["/dev", "/proc", "/sys", "/run", "/tmp", "/root", "/new", "/var/lib", "/etc"] {
            image.archive.add(Path::new(dir), Entry::Folder);
        }
        // The kernel calls /sbin/modprobe, scripts begin with /bin/sh.
        for dir in ["/bin", "/sbin", "/lib"] {
            image.folder(Path::new(dir));
        }
        let tools: Vec<PathBuf> = TOOLS.iter().map(|tool| find_in(&image.root, tool)).collect();
        let files = tools.iter().map(|tool| image.copy(tool)).collect();
        image.libraries(files);
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
            run(Command::new(format!("{}-linux-gnu-strip", self.cpu))
                .arg("-o")
                .arg(&part)
                .arg(program));
            fs::rename(part, &stripped).expect("rename");
        }
        self.libraries(vec![stripped.clone()]);
        self.archive.add(program, Entry::Copy(stripped, 0o755));
    }

    /// A text at a place.
    pub(super) fn text(&mut self, at: &str, text: &str, mode: u32) {
        self.archive.add(Path::new(at), Entry::Text(text.into(), mode));
    }

    /// A file of this machine's at a place, and nothing of what it loads.
    pub(super) fn file(&mut self, at: &Path, file: PathBuf) {
        self.archive.add(at, Entry::Copy(file, 0o755));
    }

    /// Where a path of the root lies on this machine.
    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").expect("a whole path"))
    }

    /// A file or link of the root, at the same place; of a link, where it leads, too. Tells
    /// where the file lies on this machine.
    fn copy(&mut self, path: &Path) -> PathBuf {
        let folder = self.folder(path.parent().expect("a file's path"));
        let place = folder.join(path.file_name().expect("a file's name"));
        let real = self.at(&place);
        let meta = real.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", real.display()));
        if meta.is_symlink() {
            let target = fs::read_link(&real).expect("a link");
            let file = self.copy(&folder.join(&target));
            self.archive.add(&place, Entry::Link(target));
            return file;
        }
        let mode = meta.permissions().mode() & 0o7777;
        self.archive.add(&place, Entry::Copy(real.clone(), mode));
        real
    }

    /// The folder that a path leads to, with the links on the way there: /bin, /lib64.
    fn folder(&mut self, path: &Path) -> PathBuf {
        let mut real = PathBuf::from("/");
        for part in path.components().skip(1) {
            let next = real.join(part);
            if let Ok(target) = fs::read_link(self.at(&next)) {
                real = self.folder(&real.join(&target));
                self.archive.add(&next, Entry::Link(target));
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
            return self.archive.add(to, Entry::Copy(from.to_owned(), mode));
        }
        self.archive.add(to, Entry::Folder);
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
        self.archive.write(BufWriter::new(file)).expect("write the image");
    }

    /// The libraries that programs load, and what the tools among them load by name later.
    fn libraries(&mut self, programs: Vec<PathBuf>) {
        let places = ["/usr/local/lib", "/lib/CPU-linux-gnu", "/usr/lib/CPU-linux-gnu"];
        let places = places.map(|place| PathBuf::from(place.replace("CPU", self.cpu)));
        let (mut known, mut new) = (BTreeSet::new(), programs);
        while !new.is_empty() {
            let mut readelf = Command::new("readelf");
            let output = super::common::output(readelf.args(["-W", "-l", "-d"]).args(&new));
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            new.clear();
            for name in needed(&text) {
                let mut all = places.iter().map(|place| place.join(name));
                let found = all.find(|path| self.at(path).symlink_metadata().is_ok());
                let path = found.unwrap_or_else(|| panic!("no library {name}"));
                if known.insert(path.clone()) {
                    new.push(self.copy(&path));
                }
            }
        }
        for place in places {
            let extensions = fs::read_dir(self.at(&place.join("xtables"))).into_iter().flatten();
            let names: Vec<_> = extensions.flatten().map(|entry| entry.file_name()).collect();
            names.iter().for_each(|name| drop(self.copy(&place.join("xtables").join(name))));
        }
    }
}

/// What readelf says of programs: [Requesting program interpreter: PATH], Shared library: [NAME].
fn needed(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (_, name) = line.split_once("interpreter: ").or(line.split_once("library: ["))?;
        name.strip_suffix(']')
    })
}

/// Where a command lies.
pub(super) fn find(tool: &str) -> PathBuf {
    find_in(Path::new("/"), tool)
}

/// Where it lies below a root.
fn find_in(root: &Path, tool: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    let mut places = path.split(':').map(|dir| Path::new(dir).join(tool));
    let is_there = |place: &PathBuf| {
        let real = root.join(place.strip_prefix("/").unwrap_or(place));
        real.symlink_metadata().is_ok_and(|meta| !meta.is_dir())
    };
    places.find(is_there).unwrap_or_else(|| panic!("no command {tool} in {}", root.display()))
}
