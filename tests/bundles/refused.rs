//! What can't be run is told before anything is started.

use std::fs;

use serde_json::json;

use super::bed::{Bundle, ENGINES, POD, STAYS, base, known_to, shim, shim_code};
use super::common::dump::{assert_same_world, dump};
use super::common::{Kind, scratch, sh, world};

#[test]
#[ignore = "needs root"]
fn bad_words_bundles_and_pods() {
    world(Kind::Root, || {
        let bundle = |name: &str, text: &str| {
            let dir = scratch().join(name);
            fs::create_dir_all(&dir).expect("a directory");
            fs::write(dir.join("config.json"), text).expect("config.json");
            dir.display().to_string()
        };
        let good = Bundle::of("client", "good").dir.display().to_string();
        let terminal = Bundle::of("client", "terminal");
        let terminal = terminal.with(|c| c["process"]["terminal"] = json!(true));
        let terminal = terminal.dir.display().to_string();
        let empty = scratch().join("empty").display().to_string();
        sh(&format!("mkdir {empty}; touch {empty}/closed"));
        let (broken, other) = (bundle("broken", "{\"linux\": "), bundle("other", "{}"));
        base();
        shim("run -d --name pins --no-pause --net none");
        shim("run -d --name open --net none --ipc host");
        let before = dump(&[]);
        let (ps, pod) = (shim("ps -q"), POD);
        let own = format!("{empty}/closed");
        for (words, code, why) in [
            (format!("{pod} --bundle {empty}/no"), 125, "a bundle is a directory with config.json"),
            (format!("{pod} --bundle {empty}"), 125, "a bundle is a directory with config.json"),
            (format!("{pod} --bundle {own}"), 125, "Not a directory"),
            (format!("{pod} --bundle {broken}"), 125, "config.json: EOF while parsing a value"),
            (format!("{pod} --bundle {other}"), 125, "config.json: it has no linux section"),
            (format!("{pod} --bundle {good} --runtime nosuch"), 127, "find runtime nosuch: there"),
            (format!("{pod} --bundle {good} --runtime /no/such"), 127, "runtime /no/such: there"),
            (format!("{pod} --bundle {good} --runtime {own}"), 126, "may not be executed"),
            (format!("{pod} -d --bundle {terminal}"), 125, "config.json wants a terminal"),
            // client's own entries name the namespaces of BASE.
            (format!("--bundle {good}"), 125, "/proc/BASE/ns/"),
            (format!("{} --bundle {good}", pod.replace("base", "no")), 125, "find container no"),
            (
                format!("{} --bundle {good}", pod.replace("base", "pins")),
                125,
                "without a pause has none",
            ),
            (format!("{} --bundle {good}", pod.replace("base", "open")), 125, "but the host's"),
            (format!("{pod} --bundle {good} --name base"), 125, "there is one of that name"),
            (format!("{pod} --bundle {good} --name ../x"), 125, "as name"),
            (format!("{pod} --bundle {good} -- true"), 2, "cannot be used with"),
            (format!("{pod} --bundle {good} --user root"), 2, "cannot be used with"),
            (format!("{pod} --runtime runc -- true"), 125, "there is no --bundle"),
            (pod.to_owned(), 2, "CMD"),
        ] {
            let (out, err) = shim_code(&format!("join {words}"), code);
            assert!(err.contains(why) && out.is_empty(), "{words}: {out}{err}");
        }
        assert_eq!(shim("ps -q"), ps);
        assert_eq!(known_to("runc") + &known_to("crun"), "");
        assert_same_world(&before, &dump(&[]), STAYS);
    });
}

#[test]
#[ignore = "needs root"]
fn what_the_runtime_refuses_is_told_in_its_words() {
    for engine in ENGINES {
        world(Kind::Root, || {
            base();
            let bundle = Bundle::runs("app", "").with(|config| {
                config["process"]["args"] = json!(["/nosuch"]);
            });
            let before = dump(&[]);
            let words = bundle.words(engine);
            for detach in ["", "-d"] {
                let (out, err) = shim_code(&format!("join {POD} {detach} {words}"), 125);
                assert!(err.contains("/nosuch") && out.is_empty(), "{detach} {out}{err}");
                assert!(err.contains(&format!("/{engine}: exit code 1")), "{err}");
            }
            // A hook that fails; crun keeps quiet about what it was.
            let bundle = bundle.with(|config| {
                config["process"]["args"] = json!(["/busybox", "true"]);
                config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
            });
            for detach in ["", "-d --name x"] {
                let words = format!("join {POD} {detach} {}", bundle.words(engine));
                let (_, err) = shim_code(&words, 125);
                assert!(err.contains("exit code ") && err.contains(engine), "{err}");
            }
            // A runtime that is none.
            for (program, why) in [("/bin/true", "no pid is in"), ("/bin/false", "exit code 1")] {
                let (_, err) = shim_code(&format!("join {POD} -d {}", bundle.words(program)), 125);
                assert!(err.contains(why), "{err}");
            }
            assert_eq!(shim("ps -q"), "base");
            assert_eq!(known_to(engine), "");
            assert_same_world(&before, &dump(&[]), STAYS);
            shim("rm -f base");
        });
    }
}
