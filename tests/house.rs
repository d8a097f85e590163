//! The walls of the house that the compiler doesn't hold by itself.
//!
//! ```text
//! unsafe            only in UNSAFE; leaf crates forbid it outright
//! programs          the product starts none, but for what stands in STARTS
//! rooms             wire <- kernel <- plan <- {driver, meta} <- verbs <- front <- shim
//! files, text       short enough to be read at one sitting; of the project alone
//! root              tests that need it say so, and no others
//! ```
//!
//! The source is cut into words first: what stands in a comment or in a string is no code.
//! Each rule is tried on a bad sample too, so that none passes by seeing nothing.

#[path = "house/code.rs"]
mod code;
#[path = "house/worlds.rs"]
mod worlds;

use std::fs;
use std::path::{Path, PathBuf};

use code::{code_of, is_word, words};

/// Where `unsafe` may stand: a file, or a folder that ends in `/`.
const UNSAFE: &[(&str, &str)] = &[
    ("pause/sys.rs", "system calls without a C library"),
    ("pause/sys/", "the same"),
    ("pause/arch/", "the system call instruction and _start"),
    ("netsetup/src/kernel/sys.rs", "ioctl and socket options that no safe crate has"),
    ("shim/src/process.rs", "clone, exec, _exit"),
    ("shim/arch/", "the system call instruction"),
    ("shim/monitor/", "a program without a C library"),
    ("shim/start/", "the same"),
    ("tests/common/raw.rs", "ptrace and waitpid of the harness"),
    ("tests/pause/helper.rs", "a program under test that is built without any crate"),
    ("tests/init/helper.rs", "the same"),
    ("tests/shim/helper.rs", "the same"),
];

/// Which files of the product may start another program, and which one.
const STARTS: &[(&str, &str)] = &[
    ("shim/start/sys.rs", "what joins a pod, without a C library"),
    ("shim/src/process.rs", "what shim carries, what joins a pod, and the runtime of a bundle"),
    ("shim/image/src/registry/credentials.rs", "docker-credential-NAME, which keeps logins"),
    ("shim/image/src/engine.rs", "podman load and ctr images import, where no socket does it"),
    ("netsetup/src/front/ns/exec.rs", "ns exec becomes the program that the user names"),
    ("netsetup/src/front/cni/delegate.rs", "plugins of others, as CNI has it"),
];

/// Ways to start a program.
const START_WORDS: &[&str] = &[
    "Command",
    "CommandExt",
    "execl",
    "execle",
    "execlp",
    "execv",
    "execve",
    "execveat",
    "execvp",
    "execvpe",
    "fexecve",
    "popen",
    "posix_spawn",
    "posix_spawnp",
    "system",
    "SYS_execve",
    "SYS_execveat",
];

/// What a room may not mention: folder, words, reason.
const ROOMS: &[(&str, &[&str], &str)] = &[
    ("netsetup/src/driver/", PURE, "a driver returns a plan and touches nothing"),
    ("netsetup/src/meta/", PURE, "a meta plugin returns a plan and touches nothing"),
    ("netsetup/src/front/", &["podkeel_wire", "Rtnl", "Nft"], "the fronts never see netlink"),
    ("netsetup/wire/src/", &["podkeel_keep", "podkeel_netsetup", "fs", "UdpSocket"], "bytes only"),
    ("netsetup/keep/src/", &["podkeel_wire", "podkeel_netsetup"], "files only"),
    (
        "shim/image/",
        &["podkeel_keep", "podkeel_netsetup", "podkeel_shim"],
        "the image knows nobody",
    ),
    ("shim/", &["podkeel_wire", "Rtnl", "Nft"], "shim calls netsetup as a library"),
    ("pause/", &["std", "podkeel_wire", "podkeel_keep"], "pause knows nobody"),
];

/// Sockets, files, JSON, and the handles that lead to them.
const PURE: &[&str] = &[
    "Socket",
    "Rtnl",
    "Nft",
    "Netns",
    "File",
    "fs",
    "io",
    "serde_json",
    "podkeel_wire",
    "podkeel_keep",
    "rustix",
    "nix",
];

/// The modules of netsetup in the order of the picture, each with those that it may not know.
const ORDER: &[(&str, &[&str])] = &[
    ("kernel", &["pins", "plan", "driver", "meta", "ipam", "verbs", "front"]),
    ("pins", &["plan", "driver", "meta", "ipam", "verbs", "front"]),
    ("plan", &["driver", "meta", "verbs", "front"]),
    ("ipam", &["kernel", "plan", "driver", "meta", "verbs", "front"]),
    ("driver", &["verbs", "front"]),
    ("meta", &["verbs", "front"]),
    ("verbs", &["front"]),
];

/// Where a module knows another against the order.
const AGAINST_ORDER: &[(&str, &str, &str)] = &[];

/// Lines of a source file.
const LONGEST: usize = 450;

/// Lines on which one of `forbidden` stands in the code.
fn mentions(source: &str, forbidden: &[&str]) -> Vec<(usize, String)> {
    let code = code_of(source);
    let found = words(&code).into_iter().filter(|(_, word)| forbidden.contains(word));
    found.map(|(line, word)| (line, word.to_owned())).collect()
}

/// Modules of the own crate that the code names, as `crate::kernel` or
/// `use crate::{kernel, plan::Step}`.
fn modules(source: &str) -> Vec<String> {
    let code: String = code_of(source).split_whitespace().collect();
    let mut found = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.push(rest.split(|c| !is_word(c)).next().unwrap_or_default().to_owned());
            continue;
        };
        let (mut depth, mut start) = (1, 0);
        for (end, c) in list.char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 || (depth == 1 && c == ',') {
                let item = &list[start..end];
                found.push(item.split(|c| !is_word(c)).next().unwrap_or_default().to_owned());
                start = end + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// What no text of the project may say: the way to somebody's machine, or a number
/// in somebody's tracker.
fn foreign(line: &str) -> Option<&'static str> {
    // Put together here, or this file would be its own first find.
    let paths = [concat!("/wo", "rk/"), concat!("/tmp/", "wt"), concat!("/ho", "me/")];
    if paths.iter().any(|path| line.contains(path)) {
        return Some("a path of one machine");
    }
    let numbered = |before: &str, after: &str| {
        after.starts_with(|c: char| c.is_ascii_digit())
            && (before.ends_with(|c: char| c.is_ascii_lowercase())
                || ["issue ", "Issue ", "bug ", "PR "].iter().any(|w| before.ends_with(w)))
    };
    let hash = line.match_indices('#').any(|(at, _)| numbered(&line[..at], &line[at + 1..]));
    let in_url = [concat!("/issu", "es/"), concat!("/pu", "ll/")];
    (hash || in_url.iter().any(|part| line.contains(part))).then_some("a number in a tracker")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the project with this ending, by its path from the root.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(root(), &mut |path| {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        if endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{name}: {e}"));
            found.push((name, text));
        }
    });
    assert!(!found.is_empty(), "no {endings:?} below {}", root().display());
    found
}

fn walk(dir: &Path, seen: &mut dyn FnMut(&Path)) {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // target is cargo's, rootfs is filled by the README's commands.
        if path.is_dir() && !["target", "rootfs", ".git"].contains(&&*name) {
            walk(&path, seen);
        } else if path.is_file() {
            seen(&path);
        }
    }
}

fn listed(list: &[(&str, &str)], file: &str) -> bool {
    list.iter().any(|(path, _)| *path == file || path.ends_with('/') && file.starts_with(path))
}

/// The product's own source: neither its tests nor what builds it.
fn product() -> Vec<(String, String)> {
    let mut all = files(&[".rs"]);
    all.retain(|(name, _)| {
        ["pause/", "shim/", "netsetup/"].iter().any(|room| name.starts_with(room))
            && !name.split('/').any(|part| part == "tests" || part == "tests.rs")
    });
    all
}

fn fail_with(found: Vec<String>) {
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn unsafe_stands_only_where_it_is_listed() {
    let all = files(&[".rs"]);
    let (mut found, mut used) = (Vec::new(), Vec::new());
    for (name, text) in &all {
        let lines = mentions(text, &["unsafe"]);
        if listed(UNSAFE, name) {
            used.extend((!lines.is_empty()).then_some(name));
        } else {
            found.extend(lines.iter().map(|(line, _)| format!("{name}:{line}: unsafe")));
        }
    }
    for entry in UNSAFE {
        let stale = !used.iter().any(|name| listed(&[*entry], name));
        found.extend(stale.then(|| format!("{}: listed, but has no unsafe", entry.0)));
    }
    fail_with(found);
    for leaf in ["netsetup/wire/src/lib.rs", "netsetup/keep/src/lib.rs", "shim/image/src/lib.rs"] {
        let text = fs::read_to_string(root().join(leaf)).unwrap();
        assert!(code_of(&text).contains("#![forbid(unsafe_code)]"), "{leaf} must forbid unsafe");
    }
}

#[test]
fn the_product_starts_no_programs() {
    let mut found = Vec::new();
    for (name, text) in product().iter().filter(|(name, _)| !listed(STARTS, name)) {
        // A module's own tests stand at its end, and may start what they like.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        // A command line as clap has it starts nothing.
        let text = text.replace("clap::Command", "");
        let starts = mentions(&text, START_WORDS);
        found.extend(starts.iter().map(|(line, word)| format!("{name}:{line}: {word}")));
    }
    fail_with(found);
}

#[test]
fn rooms_do_not_see_what_they_need_not() {
    let mut found = Vec::new();
    for (name, text) in product() {
        for (room, forbidden, why) in ROOMS.iter().filter(|(room, ..)| name.starts_with(room)) {
            for (line, word) in mentions(&text, forbidden) {
                found.push(format!("{name}:{line}: {word} in {room}: {why}"));
            }
        }
    }
    fail_with(found);
}

#[test]
fn modules_know_only_those_before_them() {
    let mut found = Vec::new();
    let mut excused = Vec::new();
    for (name, text) in product() {
        let Some(path) = name.strip_prefix("netsetup/src/") else { continue };
        let module = path.split(['/', '.']).next().unwrap_or_default();
        let Some((_, later)) = ORDER.iter().find(|(room, _)| *room == module) else { continue };
        for other in modules(&text).into_iter().filter(|other| later.contains(&other.as_str())) {
            match AGAINST_ORDER.iter().position(|(file, o, _)| *file == name && *o == other) {
                Some(i) => excused.push(i),
                None => found.push(format!("{name}: {module} knows {other}")),
            }
        }
    }
    for (i, (file, other, _)) in AGAINST_ORDER.iter().enumerate() {
        let stale = !excused.contains(&i);
        found
            .extend(stale.then(|| format!("{file} no longer knows {other}: take it off the list")));
    }
    fail_with(found);
}

#[test]
fn files_can_be_read_at_one_sitting() {
    let mut found = Vec::new();
    for (name, text) in files(&[".rs"]) {
        let count = text.lines().count();
        found.extend((count > LONGEST).then(|| format!("{name}: {count} lines")));
    }
    fail_with(found);
}

#[test]
fn the_text_speaks_of_the_project_alone() {
    let mut found = Vec::new();
    let scripts = ["tests/run", ".ci/run", "static-rustc", ".json", ".conflist", ".ld"];
    for (name, text) in files(&[&[".rs", ".md", ".toml"], &scripts[..]].concat()) {
        for (number, line) in text.lines().enumerate() {
            found
                .extend(foreign(line).map(|what| format!("{name}:{}: {what}: {line}", number + 1)));
        }
    }
    fail_with(found);
}

#[test]
fn the_scanner_sees_code_and_nothing_else() {
    let quiet = r##"
        //! unsafe { } in a comment
        #![deny(unsafe_code)] /* unsafe /* Command */ unsafe */
        const A: &str = "unsafe \" unsafe"; const B: &[u8] = br#"unsafe " Command"#;
        const C: [char; 3] = ['"', '\'', '\\']; fn f<'a>(x: &'a str) {}
        let r#type = r"unsafe \"; use clap::Subcommand;
    "##;
    assert_eq!(mentions(quiet, &["unsafe", "Command"]), []);
    assert_eq!(code_of(quiet).lines().count(), quiet.lines().count());

    let loud = "fn f<'a>() {}\nlet q = '\"'; unsafe { libc::execve() }\n\
                #[unsafe(no_mangle)]\nstd::process::Command::new(\"nft\");";
    let seen = mentions(loud, &[&["unsafe"], START_WORDS].concat());
    let seen = Vec::from_iter(seen.iter().map(|(line, word)| (*line, word.as_str())));
    assert_eq!(seen, [(2, "unsafe"), (2, "execve"), (3, "unsafe"), (4, "Command")]);
}

#[test]
fn the_scanner_sees_modules_and_foreign_text() {
    let source = "use crate::kernel::Rtnl; use crate::{front::{a, b}, plan};\n\
                  // crate::verbs\nlet x = crate :: driver :: plan();";
    assert_eq!(modules(source), ["kernel", "front", "plan", "driver"]);
    let driver = "use std::fs::File;\nlet s: Socket = x; // rustix\nserde_json::to_string(&s)";
    let seen: Vec<_> = mentions(driver, PURE).into_iter().map(|(line, _)| line).collect();
    assert_eq!(seen, [1, 1, 2, 3]);

    let path = concat!("cd /wo", "rk/x");
    for bad in [path, concat!("see issue ", "#12"), concat!("moby", "#4737")] {
        assert!(foreign(bad).is_some(), "{bad}");
    }
    for good in ["name #2", "r#\"x\"#", "#1f2e3d", "network list", "# 3 things"] {
        assert_eq!(foreign(good), None, "{good}");
    }
}
