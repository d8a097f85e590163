//! The life of a bundle's container: as a member's.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::bed::{
    Bundle, ENGINES, POD, SHIM, STAYS, base, inspect, known_to, shim, shim_any, shim_code, until,
};
use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, output_with, scratch, sh_out, world};

/// Ends by itself only on TERM, with exit code 3.
const SERVER: &str = "echo up; echo err >&2; trap 'echo bye; exit 3' TERM; \
                      while :; do /busybox sleep 0.02; done";

#[test]
#[ignore = "needs root"]
fn in_the_foreground() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let before = dump(&[]);
            for (script, code) in
                [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("/busybox nosuch", 127)]
            {
                let bundle = Bundle::runs("app", script);
                shim_code(&format!("join {POD} {}", bundle.words(engine)), code);
                let words = format!("join {POD} --name app {}", bundle.words(engine));
                shim_code(&words, code);
                assert_eq!(shim("wait app"), code.to_string());
                assert_eq!(inspect("app")["exit"]["code"], code);
                assert!(shim("ps").contains(&format!("stopped ({code})")));
                shim("rm app");
                shim_code(&words.replace("--name", "--rm --name"), code);
                assert_eq!(shim("ps -q"), "base");
            }
            // What comes in goes in, what comes out comes out, and large.
            let bundle = Bundle::runs("app", "/busybox cat; echo done >&2");
            let words = format!("join {POD} {}", bundle.words(engine));
            let large = vec![b'x'; 3_000_000];
            let done = output_with(Command::new(SHIM).args(words.split(' ')), &large);
            assert!(done.stdout == large && done.status.success());
            assert_eq!(String::from_utf8_lossy(&done.stderr), "done\n");
            assert_eq!(known_to(engine), "");
            assert_same_world(&before, &dump(&[]), STAYS);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn signals_get_to_the_container() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let script = "trap 'echo int' INT; trap 'echo usr; exit 5' USR1; echo up; \
                          while :; do /busybox sleep 0.02; done";
            let bundle = Bundle::runs("app", script);
            let words = format!("join {POD} --name app {}", bundle.words(engine));
            let out = scratch().join("out");
            let file = fs::File::create(&out).expect("a file");
            let mut command = Command::new(SHIM);
            command.args(words.split(' ')).stdin(Stdio::null()).stdout(file);
            let mut child = command.spawn().expect("shim");
            let wrote = |text: &str| until(|| fs::read_to_string(&out).unwrap() == text);
            assert!(wrote("up\n"));
            assert!(until(|| inspect("app")["status"] == "running"));
            let pid = i32::try_from(child.id()).unwrap();
            let send = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
            send(nix::sys::signal::Signal::SIGINT).unwrap();
            assert!(wrote("up\nint\n"));
            send(nix::sys::signal::Signal::SIGUSR1).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(5));
            assert!(wrote("up\nint\nusr\n"));
            assert_eq!(shim("wait app"), "5");

            // As with kill and stop, by its record.
            let mut child = Command::new(SHIM)
                .args(words.replace("--name app", "--name two").split(' '))
                .stdout(fs::File::create(&out).expect("a file"))
                .spawn()
                .expect("shim");
            assert!(wrote("up\n"));
            assert!(until(|| shim_any("kill -s USR1 two").status.success()));
            assert_eq!(child.wait().unwrap().code(), Some(5));
            shim("rm -f base");
            assert_eq!(known_to(engine), "");
        });
    }
}

#[test]
#[ignore = "needs root"]
fn detached() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let before = dump(&[]);
            let bundle = Bundle::runs("app", SERVER);
            let words = format!("join {POD} -d --name app {}", bundle.words(engine));
            assert_eq!(shim(&words), "app");
            assert!(until(|| shim("logs app") == "up\nerr"), "{}", shim("logs app"));
            let app = inspect("app");
            let pid = app["pid"].as_u64().expect("a pid");
            let command = sh_out(&format!("tr '\\0' ' ' </proc/{pid}/cmdline"));
            assert!(command.starts_with("/busybox sh -c echo up"), "{command}");
            assert_eq!(app["status"], "running");
            assert_eq!(app["bundle"], json!(bundle.dir));
            assert_eq!(app["pod"], inspect("base")["id"]);
            let path = sh_out(&format!("command -v {engine}"));
            assert_eq!(app["role"]["bundle"]["runtime"], json!(path));
            // The runtime knows it by its id, and sees the same.
            let id = app["id"].as_str().expect("an id").to_owned();
            let state: Value =
                serde_json::from_str(&sh_out(&format!("{engine} state {id}"))).unwrap();
            assert_eq!((&state["pid"], &state["status"]), (&app["pid"], &json!("running")));
            let table = shim("ps");
            assert!(table.contains("└─ app  running"), "{table}");
            let taken = shim_code(&words, 125).1;
            assert!(taken.contains("there is one of that name, and it is running"), "{taken}");
            assert!(shim_code("rm app", 2).1.contains("it is running"));
            shim("rename app other");
            assert_eq!(shim("stop other"), "other");
            assert_eq!(shim("wait other"), "3");
            assert_eq!(shim("logs other"), "up\nerr\nbye");
            assert_eq!(inspect("other")["status"], "stopped");
            assert_eq!(shim("rm other"), "other");
            assert_eq!(known_to(engine), "");

            shim(&words);
            shim("kill app");
            assert_eq!(shim("wait app"), "137");
            assert!(shim("ps").contains("stopped (signal 9)"));
            shim("rm app");
            shim(&words);
            assert_eq!(shim("rm -f app"), "app");
            assert_eq!(known_to(engine), "");
            assert_same_world(&before, &dump(&[]), STAYS);
        });
    }
}

/// One that has ended before anybody could look at it.
#[test]
#[ignore = "needs root"]
fn a_short_life_is_told_too() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            for (script, code) in [("exit 0", 0), ("exit 9", 9)].repeat(8) {
                let bundle = Bundle::runs("app", script);
                shim(&format!("join {POD} -d --name app {}", bundle.words(engine)));
                assert_eq!(shim("wait app"), code.to_string());
                shim("rm app");
                shim_code(&format!("join {POD} --name app {}", bundle.words(engine)), code);
                assert_eq!(shim("wait app"), code.to_string());
                shim("rm app");
            }
            assert_eq!(known_to(engine), "");
        });
    }
}

/// `--rm`, in all ways to end: the runtime forgets it, and its poststop hooks run.
#[test]
#[ignore = "needs root"]
fn what_goes_by_itself_goes_whole() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let before = dump(&[]);
            let mark = scratch().join("stopped");
            let script = format!("cat >/dev/null; env >{}", mark.display());
            let bundle = Bundle::runs("app", SERVER).with(|config| {
                let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
                config["hooks"] = json!({"poststop": [hook]});
            });
            for (rm, end) in [
                ("--rm", "stop app"),
                ("--rm", "kill app"),
                ("--rm", "rm -f app"),
                ("", "rm -f app"),
                ("", "rename app other"),
            ] {
                shim(&format!("join {POD} -d {rm} --name app {}", bundle.words(engine)));
                shim(end);
                if end.starts_with("rename") {
                    shim("rm -f other");
                }
                assert!(until(|| shim("ps -q") == "base" && known_to(engine).is_empty()), "{end}");
                let env = fs::read_to_string(&mark).unwrap_or_default();
                assert!(env.contains("PODKEEL_RUN_DIR=/run/podkeel\n"), "{rm} {end}: {env:?}");
                fs::remove_file(&mark).expect("the mark");
                assert!(until(|| !fs::exists("/run/podkeel/bundles").unwrap()), "{end}");
            }
            assert_same_world(&before, &dump(&[]), STAYS);
        });
    }
}

/// The pod's end is theirs, and one removal takes all.
#[test]
#[ignore = "needs root"]
fn with_the_base_all_goes() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let before = dump(&[]);
            base();
            for name in ["one", "two"] {
                let bundle = Bundle::runs(name, SERVER);
                shim(&format!("join {POD} -d --name {name} {}", bundle.words(engine)));
            }
            shim("kill base");
            assert!(until(|| shim("ps -q -f state=running").is_empty()));
            assert_eq!(shim("wait one two"), "137\n137");
            shim("rm -f base");
            assert_eq!(known_to(engine), "");
            assert_same_world(&before, &dump(&[]), STAYS);
        });
    }
}
