use super::*;

fn config(json: Value) -> Config {
    Config::parse("/b".into(), json.to_string().as_bytes()).unwrap()
}

fn json(config: &Config) -> Value {
    serde_json::from_slice(&config.to_bytes()).unwrap()
}

/// Everything here that joining need not change, and fields that no specification knows.
fn whole() -> Value {
    json!({
        "zfirst": {"b": 1, "a": [1.5, null, u64::MAX, i64::MIN]},
        "ociVersion": "9.9.9-later",
        "process": {"args": ["/p", "-x"], "terminal": false, "later": true,
            "capabilities": {"bounding": ["CAP_OF_LATER"]}},
        "root": {"path": "/r", "later": 1},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "later": []}],
        "linux": {
            "namespaces": [{"type": "mount", "later": "x"}, {"type": "pid"}, {"type": "network"}],
            "later": {"y": "z"},
            "seccomp": {"defaultAction": "SCMP_ACT_OF_LATER"},
        },
        "annotations": {"a": "b"},
    })
}

#[test]
fn what_is_not_asked_for_stays_as_it_was() {
    let before = whole();
    let mut config = config(before.clone());
    config.settle_paths();
    config.share_shm(Path::new("/run/shm"));
    assert_eq!(config.leave_names(), [""; 0]);
    assert_eq!(json(&config), before);
    let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json(&config)), keys(&before), "their order, too");
    assert_eq!(config.command(), ["/p", "-x"]);
    assert!(!config.terminal() && !config.has_own_shm());

    config.set(NsKind::Net, Some(Entry::At("/run/netns/base".into())));
    let mut expected = before;
    expected["linux"]["namespaces"][2]["path"] = json!("/run/netns/base");
    assert_eq!(json(&config), expected);
}

#[test]
fn namespaces_are_read_and_set() {
    let list = json!([
        {"type": "pid"}, {"type": "network", "path": "/proc/BASE/ns/net"}, {"type": "mount"},
    ]);
    let mut config = config(json!({"linux": {"namespaces": list}}));
    assert_eq!(config.mode(NsKind::Pid), Mode::Private);
    assert_eq!(config.mode(NsKind::Net), Mode::Path("/proc/BASE/ns/net".into()));
    assert_eq!(config.mode(NsKind::Ipc), Mode::Host);
    config.set(NsKind::Ipc, Some(Entry::At("/i".into())));
    config.set(NsKind::Pid, None);
    config.set(NsKind::Net, Some(Entry::Own));
    let list = json!([
        {"type": "network"}, {"type": "mount"}, {"type": "ipc", "path": "/i"},
    ]);
    assert_eq!(json(&config)["linux"]["namespaces"], list);
    assert_eq!(config.mode(NsKind::Ipc), Mode::Path("/i".into()));
    for linux in [json!({}), json!({"namespaces": null})] {
        let mut config = self::config(json!({"linux": linux}));
        config.set(NsKind::Uts, Some(Entry::Own));
        assert_eq!(json(&config)["linux"]["namespaces"], json!([{"type": "uts"}]));
    }
}

#[test]
fn its_own_shm_becomes_the_pods() {
    let options = json!(["nosuid", "mode=1777", "size=65536k", "ro", "rprivate", "huge=never"]);
    let mount = |destination: &str, typ: &str| json!({"destination": destination, "type": typ, "source": "shm", "options": options});
    for own in ["/dev/shm", "/dev/shm/", "/dev//shm"] {
        let mut config =
            config(json!({"linux": {}, "mounts": [mount("/dev", "tmpfs"), mount(own, "tmpfs")]}));
        assert!(config.has_own_shm());
        config.share_shm(Path::new("/run/x/shm"));
        let shared = json!({"destination": own, "type": "bind", "source": "/run/x/shm",
            "options": ["bind", "nosuid", "ro", "rprivate"]});
        assert_eq!(json(&config)["mounts"], json!([mount("/dev", "tmpfs"), shared]));
    }
    let mounts = json!([mount("/dev/shm/x", "tmpfs"), mount("/dev/shm", "bind")]);
    assert!(!config(json!({"linux": {}, "mounts": mounts})).has_own_shm());
}

#[test]
fn paths_and_names_that_would_mean_something_else() {
    let mount = |typ: &str, options: Value, source: &str| json!({"destination": "/d", "type": typ, "options": options, "source": source});
    let mut config = config(json!({
        "linux": {}, "root": {"path": "root/fs"}, "hostname": "x", "domainname": "",
        "mounts": [
            mount("bind", json!([]), "data"), mount("none", json!(["rbind"]), "./data"),
            mount("tmpfs", json!(null), "tmpfs"), mount("bind", json!(["bind"]), "/abs"),
        ],
    }));
    config.settle_paths();
    assert_eq!(config.leave_names(), ["hostname \"x\""]);
    let json = json(&config);
    assert_eq!((json.get("hostname"), json.get("domainname")), (None, None));
    assert_eq!(json["root"]["path"], "/b/root/fs");
    let sources: Vec<_> = json["mounts"].as_array().unwrap().iter().map(|m| &m["source"]).collect();
    assert_eq!(sources, ["/b/data", "/b/./data", "tmpfs", "/abs"]);
}

#[test]
fn what_no_runtime_could_take_is_told() {
    for (text, why) in [
        ("", "EOF while parsing"),
        ("{\"linux\": {}", "EOF while parsing an object at line 1 column 12"),
        ("{\"linux\": {}} x", "trailing characters"),
        ("[]", "no linux section"),
        ("{\"windows\": {}}", "no linux section"),
        ("{\"linux\": 1}", "no linux section"),
        ("{\"linux\": {\"namespaces\": {}}}", "linux.namespaces: invalid type: map"),
        (
            "{\"linux\": {\"namespaces\": [{\"type\": \"net\"}]}}",
            "linux.namespaces: unknown variant",
        ),
        ("{\"linux\": {}, \"mounts\": [{}]}", "mounts: missing field `destination`"),
    ] {
        let refused = Config::parse("/b".into(), text.as_bytes()).unwrap_err();
        assert!(refused.contains(why), "{text}: {refused}");
    }
}
