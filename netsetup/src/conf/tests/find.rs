//! Networks by name, in real directories.

use std::{
    env, fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;

/// A directory of this test's own, removed with it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("podkeel-conf-{}-{count}", process::id()));
        fs::create_dir(&dir).unwrap();
        Dir(dir)
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A list of this name whose bridge is called `bridge`.
    fn list(&self, file: &str, name: &str, bridge: &str) -> PathBuf {
        self.write(
            file,
            format!(
                r#"{{"name": "{name}", "plugins": [{{"type": "bridge", "bridge": "{bridge}"}}]}}"#
            ),
        )
    }

    fn roots(&self, dirs: &[&str]) -> Roots {
        Roots { conf: dirs.iter().map(|dir| self.0.join(dir)).collect(), ..Roots::default() }
    }

    fn path(&self) -> std::path::Display<'_> {
        self.0.display()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The name of the bridge of the network that is found: which file it was.
fn found(name: &str, roots: &Roots) -> String {
    match &find(name, roots).unwrap().plugins[0] {
        Plugin::Bridge(bridge) => bridge.bridge.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_order_of_files() {
    let dir = Dir::new();
    let roots = dir.roots(&["a", "b", "missing"]);
    assert_eq!(found("bridge", &roots), "podkeel0");
    dir.list("b/10-x.conflist", "web", "b10");
    assert_eq!(found("web", &roots), "b10");
    dir.list("a/99-x.json", "web", "a99json");
    assert_eq!(found("web", &roots), "a99json", "an earlier directory wins");
    dir.write("a/50-x.conf", r#"{"name": "web", "type": "bridge", "bridge": "a50conf"}"#);
    assert_eq!(found("web", &roots), "a50conf", "by file name");
    dir.list("a/60-x.conflist", "web", "a60list");
    assert_eq!(found("web", &roots), "a60list", "lists come first");
    dir.list("a/55-x.conflist", "web", "a55list");
    assert_eq!(found("web", &roots), "a55list", "by file name");
    dir.list("a/05-x.bak", "web", "bak");
    fs::create_dir(dir.0.join("a/01-dir.conflist")).unwrap();
    assert_eq!(found("web", &roots), "a55list", "other files and directories don't count");
    dir.list("b/bridge.conflist", "bridge", "mine");
    assert_eq!(found("bridge", &roots), "mine", "a file's wins over the built-in one");

    let source = |file: &str| Source::File(dir.0.join(file));
    let names_ = names(&roots);
    assert_eq!(
        names_,
        [
            ("web".into(), source("a/55-x.conflist")),
            ("bridge".into(), source("b/bridge.conflist")),
            ("none".into(), Source::Builtin),
            ("host".into(), Source::Builtin)
        ]
    );
    let builtin = ["bridge", "none", "host"].map(|name| (name.to_owned(), Source::Builtin));
    assert_eq!(names(&dir.roots(&[])), builtin);
}

#[test]
fn a_broken_file_hides_no_other() {
    let dir = Dir::new();
    let roots = dir.roots(&["n"]);
    dir.write("n/00-syntax.conflist", "{\n");
    dir.write("n/01-text.conflist", b"\xff");
    dir.write("n/02-long.conflist", vec![b' '; (1 << 20) + 1]);
    symlink("nowhere", dir.0.join("n/03-gone.conflist")).unwrap();
    dir.list("n/50-web.conflist", "web", "br0");
    assert_eq!(found("web", &roots), "br0");
    assert_eq!(found("bridge", &roots), "podkeel0");
    let n = format!("{}/n", dir.path());
    let text = format!(
        "cannot find network \"wbe\": there is none of that name in {n}; \
         there are: web ({n}/50-web.conflist), bridge (built in), none (built in), host (built in); \
         cannot read network list {n}/00-syntax.conflist: EOF while parsing an object at line 2 column 0; \
         cannot read network list {n}/01-text.conflist: not UTF-8: invalid utf-8 sequence of 1 bytes from index 0; \
         cannot read network list {n}/02-long.conflist: longer than 1048576 bytes; \
         cannot read network list {n}/03-gone.conflist: No such file or directory"
    );
    assert_error(find("wbe", &roots), Kind::Missing, &text);
    assert_eq!(names(&roots).len(), 4);
}

/// The wanted name with something wrong in it is no reason to take another one.
#[test]
fn a_wrong_file_of_the_wanted_name_is_an_error() {
    let dir = Dir::new();
    let path =
        dir.write("n/bridge.conflist", r#"{"name": "bridge", "plugins": [{"type": "bandwidth"}]}"#);
    let text = format!(
        "cannot read network \"bridge\" ({}): plugins[0].type: \"bandwidth\" is not a plugin that podkeel has: bridge, ptp, macvlan, ipvlan, vlan, vxlan, host-device, tap, dummy, none, host, portmap, firewall, tuning, vrf",
        path.display()
    );
    assert_error(find("bridge", &dir.roots(&["n"])), Kind::Unsupported, &text);
}

#[test]
fn files_by_their_path() {
    let dir = Dir::new();
    let path = dir.list("sub/any.conflist", "web", "br7");
    let none = dir.roots(&[]);
    assert_eq!(found(path.to_str().unwrap(), &none), "br7");
    assert_eq!(find(path.to_str().unwrap(), &none).unwrap().source, Source::File(path));
    for gone in ["./gone", "gone.conflist", "gone.conf", "gone.json", "/gone/x"] {
        let text = format!("cannot read network list {gone}: No such file or directory");
        assert_error(find(gone, &none), Kind::Missing, &text);
    }
    let folder = dir.0.join("sub").display().to_string();
    let text = format!("cannot read network list {folder}: not a regular file");
    assert_error(find(&folder, &none), Kind::Input, &text);
    let rule = "must begin with a letter or digit and go on with letters, digits, '_', '.', '-'";
    assert_error(
        find("we b", &none),
        Kind::Input,
        &format!("cannot find network: \"we b\" {rule}"),
    );
    assert_error(find("", &none), Kind::Input, &format!("cannot find network: \"\" {rule}"));
}

/// A fifo in the directory would stop a program that opens whatever is there.
#[test]
fn a_fifo_is_not_opened() {
    let dir = Dir::new();
    fs::create_dir(dir.0.join("n")).unwrap();
    let path = std::ffi::CString::new(dir.0.join("n/00.conflist").as_os_str().as_bytes()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path.as_c_str(),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let error = find("web", &dir.roots(&["n"])).unwrap_err();
    assert!(error.to_string().ends_with("/n/00.conflist: not a regular file"), "{error}");
}

#[test]
fn plugins_in_files_of_their_own_are_not_left_out_silently() {
    let dir = Dir::new();
    let roots = dir.roots(&["n"]);
    let path = dir.list("n/web.conflist", "web", "br0");
    dir.write("n/web/note.txt", "");
    assert_eq!(found("web", &roots), "br0");
    dir.write("n/web/10-tuning.conf", r#"{"type": "tuning"}"#);
    let text = format!(
        "cannot read network \"web\" ({}): plugins in files of their own ({}/n/web/*.conf) are not supported yet\
         \n  hint: write them into the list's plugins, or set loadOnlyInlinedPlugins to leave them out",
        path.display(),
        dir.path()
    );
    assert_error(find("web", &roots), Kind::Unsupported, &text);
    let list = r#"{"name": "web", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "bridge", "bridge": "br1"}]}"#;
    dir.write("n/web.conflist", list);
    assert_eq!(found("web", &roots), "br1");
}
