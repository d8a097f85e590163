//! Packages of any Debian release, fetched with the machine's own apt-get but with lists
//! and state of our own, and unpacked into a cache. What is installed stays as it is.
//!
//! ```text
//! $PODKEEL_TEST_CACHE, or podkeel/vm in $XDG_CACHE_HOME or ~/.cache
//!   lock
//!   bullseye-amd64/            one release and architecture
//!     sources.list  apt/       its sources, its lists and state
//!     linux-image-cloud-amd64  the name of the package's folder below `unpacked`
//!     tree/                    packages with all that they need, as one machine has them
//!   unpacked/
//!     linux-image-5.10.0-46-cloud-amd64_5.10.262-1_amd64/
//! ```
//!
//! What is in the cache is not fetched again; whoever wants newer versions removes it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use super::run;

/// The key that Debian's releases are signed with; it is part of every Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A release and an architecture.
pub(super) struct Debian {
    dir: PathBuf,
    release: String,
    arch: &'static str,
    /// Whether its security updates count.
    updates: bool,
}

/// What a machine calls programs by that packages have under other names.
const ALTERNATIVES: [(&str, &str); 4] = [
    ("awk", "mawk"),
    ("iptables", "../sbin/xtables-nft-multi"),
    ("ip6tables", "../sbin/xtables-nft-multi"),
    ("traceroute", "traceroute.db"),
];

/// The root of the cache.
pub(super) fn cache() -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let of_user = || var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    let dir = var("PODKEEL_TEST_CACHE").or_else(|| Some(of_user()?.join("podkeel/vm")));
    dir.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm-cache"))
}

/// Held while the cache is changed; others wait.
pub(super) fn lock() -> Flock<fs::File> {
    fs::create_dir_all(cache()).expect("make the cache");
    let file = fs::File::create(cache().join("lock")).expect("make the cache's lock");
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e).expect("lock the cache")
}

impl Debian {
    pub(super) fn new(release: &str, arch: &'static str) -> Debian {
        let dir = cache().join(format!("{release}-{arch}"));
        Debian { dir, release: release.to_owned(), arch, updates: true }
    }

    /// A release without its security updates, which mirrors don't have of every architecture.
    #[allow(dead_code, reason = "the VMs have the updates, too")]
    pub(super) fn without_updates(release: &str, arch: &'static str) -> Debian {
        let dir = cache().join(format!("{release}-{arch}-main"));
        Debian { dir, release: release.to_owned(), arch, updates: false }
    }

    /// Where the newest version of a package is unpacked.
    pub(super) fn package(&self, package: &str) -> PathBuf {
        let _lock = lock();
        self.cached(package).unwrap_or_else(|| self.fetch(package))
    }

    /// The package that a metapackage stands for: the first one that it depends on.
    pub(super) fn depends(&self, meta: &str) -> String {
        self.needs(meta, "")
    }

    /// The first package with such a beginning that a package depends on.
    pub(super) fn needs(&self, package: &str, beginning: &str) -> String {
        let note = self.dir.join(format!("{package}.needs.{beginning}"));
        let _lock = lock();
        if let Ok(needed) = fs::read_to_string(&note) {
            return needed;
        }
        self.update();
        let text = run(self.apt("apt-cache").args(["depends", package]));
        let mut needs = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let needed = needs.find(|name| name.starts_with(beginning));
        let needed = needed.unwrap_or_else(|| panic!("{package} needs no {beginning}: {text}"));
        fs::write(note, needed).expect("write into the cache");
        needed.to_owned()
    }

    /// The root of a machine that has these packages and all that they depend on. Of what their
    /// installation does, nothing has been done but [`ALTERNATIVES`].
    #[allow(dead_code, reason = "the VMs have trees")]
    pub(super) fn tree(&self, packages: &[&str]) -> PathBuf {
        let _lock = lock();
        let [tree, part, note] = ["tree", "part", "tree.packages"].map(|name| self.dir.join(name));
        let wanted = packages.join(" ");
        if fs::read_to_string(&note).is_ok_and(|had| had == wanted) {
            return tree;
        }
        self.update();
        let words = "install --download-only --yes --no-install-recommends";
        run(self.apt("apt-get").args(words.split(' ')).args(packages));
        let _ = (fs::remove_file(&note), fs::remove_dir_all(&tree), fs::remove_dir_all(&part));
        for dir in ["bin", "lib", "sbin"] {
            fs::create_dir_all(part.join("usr").join(dir)).expect("make a folder of the cache");
            symlink(Path::new("usr").join(dir), part.join(dir)).expect("link into the cache");
        }
        // dpkg-deb -x would make folders of these links.
        let unpack = "for deb in ../apt/cache/archives/*.deb; do \
            dpkg-deb --fsys-tarfile $deb | tar -x --keep-directory-symlink || exit; done";
        run(Command::new("sh").args(["-c", unpack]).current_dir(&part));
        for (name, program) in ALTERNATIVES {
            symlink(program, part.join("usr/bin").join(name)).expect("link into the cache");
        }
        run(self.apt("apt-get").arg("clean"));
        fs::rename(part, &tree).expect("move into the cache");
        fs::write(note, wanted).expect("write into the cache");
        tree
    }

    fn cached(&self, package: &str) -> Option<PathBuf> {
        let folder = fs::read_to_string(self.dir.join(package)).ok()?;
        Some(cache().join("unpacked").join(folder)).filter(|dir| dir.is_dir())
    }

    fn fetch(&self, package: &str) -> PathBuf {
        self.update();
        let (unpacked, part) = (cache().join("unpacked"), cache().join("part"));
        let _ = fs::remove_dir_all(&part);
        for dir in [&unpacked, &part.join("tree")] {
            fs::create_dir_all(dir).expect("make a folder of the cache");
        }
        run(self.apt("apt-get").args(["download", package]).current_dir(&part));
        let mut files = fs::read_dir(&part).expect("list").map(|e| e.expect("an entry").path());
        let deb = files.find(|p| p.extension().is_some_and(|e| e == "deb"));
        let deb = deb.unwrap_or_else(|| panic!("apt-get download {package} has left no file"));
        run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(part.join("tree")));
        // The name has package, version and architecture, whose colons apt writes as %3a.
        let folder = deb.file_stem().expect("a name").to_string_lossy().into_owned();
        let _ = fs::remove_dir_all(unpacked.join(&folder));
        fs::rename(part.join("tree"), unpacked.join(&folder)).expect("move into the cache");
        fs::write(self.dir.join(package), &folder).expect("write into the cache");
        let _ = fs::remove_dir_all(part);
        unpacked.join(folder)
    }

    /// Reads the release's lists, once for as long as they lie in the cache.
    fn update(&self) {
        let done = self.dir.join("apt/updated");
        if done.exists() {
            return;
        }
        for dir in ["apt/state/lists/partial", "apt/cache/archives/partial"] {
            fs::create_dir_all(self.dir.join(dir)).expect("make a folder of the cache");
        }
        fs::write(self.dir.join("apt/status"), "").expect("write into the cache");
        let sources = sources(&self.release, self.updates);
        fs::write(self.dir.join("sources.list"), sources).expect("write sources");
        run(self.apt("apt-get").arg("update"));
        fs::write(done, "").expect("write into the cache");
    }

    /// An apt command that sees this release and architecture and nothing else.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let dir = self.dir.display();
        for option in [
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            "Dir::Etc::preferencesparts=-".to_owned(),
            format!("Dir::State={dir}/apt/state"),
            format!("Dir::State::status={dir}/apt/status"),
            format!("Dir::Cache={dir}/apt/cache"),
            format!("APT::Architecture={}", self.arch),
            format!("APT::Architectures={}", self.arch),
            // The lists are ours: no other user has to be able to write them.
            format!("APT::Sandbox::User={}", user()),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // A release that gets no more updates is as good here.
            "Acquire::Check-Valid-Until=false".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command.arg("-q").env("LC_ALL", "C");
        command
    }
}

fn user() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    user.map_or_else(|| "root".to_owned(), |user| user.name)
}

/// Sources of a release, on the mirrors that the machine's own apt uses.
fn sources(release: &str, updates: bool) -> String {
    let [main, security] = mirrors();
    let line = |uri, suite| format!("deb [signed-by={KEYRING}] {uri} {suite} main\n");
    let updates = updates.then(|| line(security, format!("{release}-security")));
    line(main, release.to_owned()) + &updates.unwrap_or_default()
}

/// This machine's release.
pub(super) fn own() -> String {
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os: BTreeMap<_, _> = os.lines().filter_map(|line| line.split_once('=')).collect();
    let own = os.get("VERSION_CODENAME").filter(|_| os.get("ID") == Some(&"debian"));
    own.expect("packages are fetched with apt-get of a Debian machine; this is none").to_string()
}

/// The mirrors of Debian and of its security updates.
fn mirrors() -> [String; 2] {
    let own = own();
    let form = ["indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"];
    let text = run(Command::new("apt-get").args(form));
    [own.clone(), format!("{own}-security")].map(|suite| {
        let all = text.lines().filter_map(|line| line.split_once(' '));
        let mut uris = all.filter(|(release, _)| *release == suite).map(|(_, uri)| uri.to_owned());
        uris.next().unwrap_or_else(|| panic!("this machine's apt has no source for {suite}"))
    })
}
