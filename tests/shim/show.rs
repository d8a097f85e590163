//! ps and inspect: what people and programs read.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bed::{any, before, fails, inspect, ok, pid_of};
use super::common::{Kind, dirs, world};

fn json(line: &str) -> Value {
    serde_json::from_str(&ok(line)).expect("JSON")
}

#[test]
fn pods_as_trees() {
    world(Kind::User, || {
        let before = before(true);
        assert_eq!(ok("shim ps").lines().count(), 1, "the heading alone");
        assert_eq!(
            (json("shim ps --format json"), ok("shim ps -q")),
            (Value::Array(vec![]), String::new())
        );
        ok("shim run -d --name base -p 8080:80 -p 5353:53/udp");
        ok("shim join $in -d --name app -- sleep 1000");
        assert_eq!(
            any("shim join $in --name done -- sh -c 'exit 3 # \x1b[31m'").status.code(),
            Some(3)
        );
        ok("shim run --no-pause --name pinned --net none");
        let text = ok("shim ps");
        let lines: Vec<&str> = text.lines().collect();
        let starts: Vec<&str> =
            lines.iter().map(|l| l.split("  ").next().expect("a cell")).collect();
        assert_eq!(starts, ["NAME", "base", "├─ app", "└─ done", "pinned"]);
        let address =
            inspect("base")["networks"][0]["addresses"][0].as_str().expect("one").to_owned();
        for word in
            ["running", &pid_of("base").to_string(), &address, "8080:80 5353:53/udp", "pause"]
        {
            assert!(lines[1].contains(word), "{word} in {}", lines[1]);
        }
        assert!(lines[2].contains("running") && lines[2].contains("sleep 1000"), "{text}");
        assert!(lines[3].contains("stopped (3)") && !text.contains('\x1b'), "{text}");
        assert!(lines[4].contains("pinned"), "{text}");

        let all = json("shim ps --format json");
        assert_eq!(all.as_array().expect("an array").len(), 4);
        assert_eq!(all[0], inspect("base"));
        // The runtime specification's state.
        let base = &all[0];
        assert_eq!(base["ociVersion"], "1.0.2");
        assert_eq!((&base["status"], &base["role"]), (&"running".into(), &"base".into()));
        assert_eq!(base["pid"], pid_of("base"));
        assert_eq!(all[1]["pod"], base["id"]);
        assert_eq!(all[1]["namespaces"]["net"]["of"], base["id"]);
        assert_eq!(all[1]["namespaces"]["net"]["identity"], base["namespaces"]["net"]["identity"]);
        assert_eq!((&all[2]["status"], &all[2]["exit"]["code"]), (&"stopped".into(), &3.into()));
        let two = json("shim inspect app base");
        assert_eq!((&two[0]["name"], &two[1]["name"]), (&"app".into(), &"base".into()));
        fails("shim inspect base nosuch", 5, "there is none of that name");

        for (filter, names) in [
            ("name=a", "base app"),
            ("name=app", "app"),
            ("state=running", "base app"),
            ("state=stopped", "done"),
            ("status=pinned", "pinned"),
            ("state=broken", ""),
            ("pod=base", "base app done"),
            ("pod=pinned", "pinned"),
            ("network=bridge", "base"),
            ("network=none", ""),
            ("pod=base -f state=stopped", "done"),
        ] {
            assert_eq!(
                ok(&format!("shim ps -q -f {filter}")).replace('\n', " "),
                names,
                "{filter}"
            );
            let all = json(&format!("shim ps --format json --filter {filter}"));
            let count = names.split_whitespace().count();
            assert_eq!(all.as_array().expect("an array").len(), count, "{filter}");
        }
        fails("shim ps -f state=nosuch", 2, "the states are");
        fails("shim ps -f nosuch=x", 2, "the keys are");
        fails("shim ps --format nosuch", 2, "nosuch");
        ok("shim rm -f base pinned");
        before.is_now("rm -f");
    });
}

#[test]
fn a_thousand_records_and_some_bad_ones() {
    world(Kind::User, || {
        ok("shim run -d --name base --net none");
        ok("shim join $in --name app -- true");
        let pods = dirs().run.join("pods");
        let record = fs::read_to_string(pods.join("app/container.json")).expect("a record");
        for i in 0..1000 {
            let (name, dir) = (format!("m{i}"), pods.join(format!("m{i}")));
            fs::create_dir(&dir).expect("a directory");
            let mut copy: Value = serde_json::from_str(&record).expect("JSON");
            copy["name"] = name.clone().into();
            copy["id"] = format!("{name}-000000").into();
            fs::write(dir.join("container.json"), copy.to_string()).expect("a record");
        }
        let start = Instant::now();
        let text = ok("shim ps");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(text.lines().count(), 1003);
        assert_eq!(ok("shim ps -q -f pod=base | wc -l"), "1002");
        assert_eq!(json("shim ps --format json").as_array().expect("an array").len(), 1002);
        // What can't be read is said, and the others are shown.
        for (name, bytes) in
            [("torn", &b"{\"phase\":\"rea"[..]), ("empty", b""), ("bytes", b"\xff\0")]
        {
            fs::create_dir(pods.join(name)).expect("a directory");
            fs::write(pods.join(name).join("container.json"), bytes).expect("a record");
        }
        fs::create_dir(pods.join("without")).expect("a directory");
        fs::write(pods.join("file"), "no directory").expect("a file");
        let output = any("shim ps -q");
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1002);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(["torn", "empty", "bytes"].iter().all(|name| said.contains(name)), "{said}");
        // They keep nobody from anything.
        ok("shim run -d --name other --net none && shim rm -f other");
        ok("shim rm -f base");
        assert_eq!(ok("shim ps -q 2>/dev/null"), "");
    });
}
