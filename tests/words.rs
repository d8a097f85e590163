//! Completions and man pages, as shells and readers take them; the bundles, as the verb writes them.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{sh, sh_out};

const SHIM: &str = env!("CARGO_BIN_EXE_shim");

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("words").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder");
    dir
}

/// The verbs that a program's help lists.
fn verbs(words: &str) -> Vec<String> {
    let help = sh_out(&format!("{words} --help"));
    let list = help.split("Commands:\n").nth(1).expect("commands").split("\n\n").next();
    let words =
        list.expect("a list").lines().filter_map(|l| l.strip_prefix("  ")?.split(' ').next());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

const PROGRAMS: [(&str, &str); 2] = [("shim", SHIM), ("netsetup", env!("CARGO_BIN_EXE_netsetup"))];

/// bash itself, asked as it asks when Tab is pressed.
#[test]
fn bash_completes_every_verb() {
    for (name, program) in PROGRAMS {
        let script = folder(name).join("completion");
        sh(&format!("{SHIM} completions bash --program {name} >{}", script.display()));
        let offered = sh_out(&format!(
            "bash -c '. {}; COMP_WORDS=({name} \"\"); COMP_CWORD=1; _{name} {name} \"\" {name}; \
             printf \"%s\\n\" \"${{COMPREPLY[@]}}\"'",
            script.display()
        ));
        let offered: Vec<&str> = offered.lines().collect();
        for verb in verbs(program) {
            assert!(offered.contains(&verb.as_str()), "{name} {verb}: {offered:?}");
        }
        for hidden in ["demo-part", "ended"] {
            assert!(!offered.contains(&hidden), "{hidden} is offered");
        }
    }
}

#[test]
fn zsh_and_fish_are_told_every_verb() {
    for (name, program) in PROGRAMS {
        for shell in ["zsh", "fish"] {
            let text = sh_out(&format!("{SHIM} completions {shell} --program {name}"));
            for verb in verbs(program) {
                assert!(text.contains(&verb), "{shell}: {name} {verb}");
            }
            assert!(!text.contains("demo-part"), "{shell}");
        }
    }
}

/// A page for each program and verb; what the help says stands in it.
#[test]
fn man_pages_are_written_for_every_verb() {
    let dir = folder("man");
    sh(&format!("{SHIM} man {}", dir.display()));
    for (name, program) in PROGRAMS {
        let page = fs::read_to_string(dir.join(format!("{name}.1"))).expect("a page");
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        for verb in verbs(program).iter().filter(|verb| *verb != "help") {
            let page = fs::read_to_string(dir.join(format!("{name}-{verb}.1")));
            let page = page.unwrap_or_else(|e| panic!("{name}-{verb}.1: {e}"));
            assert!(page.contains(".SH SYNOPSIS"), "{name}-{verb}");
        }
    }
    let run = fs::read_to_string(dir.join("shim-run.1")).expect("a page");
    assert!(run.contains("publish") && run.contains("sysctl"), "{run}");
    let first = fs::read_to_string(dir.join("shim.1")).expect("a page");
    assert_eq!(sh_out(&format!("{SHIM} man")), first.trim_end());
}

#[test]
fn the_bundles_are_what_the_verb_writes() {
    let dir = folder("bundles");
    sh(&format!("{SHIM} bundles {}", dir.display()));
    let there = Path::new(env!("CARGO_MANIFEST_DIR")).join("oci-bundles");
    let names = |dir: &Path| {
        let list = format!("cd {} && find . -name config.json | sort", dir.display());
        sh_out(&list).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&there), names(&dir));
    for name in names(&dir) {
        let [ours, written] =
            [&there, &dir].map(|d| fs::read_to_string(d.join(&name)).expect("it"));
        assert!(
            ours == written,
            "oci-bundles/{name} differs: write it anew by `shim bundles oci-bundles`"
        );
    }
    // Who keeps netsetup elsewhere says where.
    sh(&format!("{SHIM} bundles --netsetup /opt/netsetup {}", dir.display()));
    let text = fs::read_to_string(dir.join("infra-ptp/config.json")).expect("a bundle");
    assert!(text.contains("\"/opt/netsetup\""), "{text}");
    let output = common::sh_any(&format!("{SHIM} bundles --netsetup netsetup {}", dir.display()));
    assert_eq!(output.status.code(), Some(2));
}
