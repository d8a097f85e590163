//! Address managers of others: run from CNI_PATH, and what they say is handed on.

use serde_json::{Value, json};

use super::call::{Plugins, bridge, host_local, ours, reference, who, with};
use super::common::{Kind, ns_add, sh, sh_out, world};

/// Lays a script down as a plugin of this name.
fn script(plugins: &Plugins, name: &str, text: &str) {
    let path = plugins.dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    sh(&format!("chmod 755 {}", path.display()));
}

fn conf(kind: &str) -> Value {
    with(bridge("1.0.0"), json!({"ipam": {"type": kind, "any": "key"}}))
}

#[test]
fn a_foreign_address_manager() {
    world(Kind::User, || {
        let (pod, plugins) = (ns_add("a"), ours());
        script(
            &plugins,
            "theirs",
            r#"printf '%s %s %s %s\n' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_IFNAME" "$CNI_NETNS" >>/run/calls
            cat >>/run/stdin
            test "$CNI_COMMAND" = ADD && echo '{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.77.0.50/24"}],
                "routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["10.77.0.1"]}}'
            exit 0"#,
        );
        let result = plugins.ok("ADD", &who("a"), &conf("theirs"));
        assert_eq!(
            result["ips"],
            json!([{"interface": 2, "address": "10.77.0.50/24", "gateway": "10.77.0.1"}])
        );
        assert_eq!(result["dns"], json!({"nameservers": ["10.77.0.1"]}));
        assert!(pod.sh_out("ip route").contains("default via 10.77.0.1 dev eth0"));
        let told = with(conf("theirs"), json!({"prevResult": result}));
        plugins.ok("CHECK", &who("a"), &told);
        plugins.ok("DEL", &who("a"), &told);
        plugins.ok("STATUS", &who("a"), &with(conf("theirs"), json!({"cniVersion": "1.1.0"})));
        let valid = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": []});
        plugins.ok("GC", &who("a"), &with(conf("theirs"), valid));
        let calls = sh_out("cut -d' ' -f1 /run/calls");
        assert_eq!(calls.lines().collect::<Vec<_>>(), ["ADD", "CHECK", "DEL", "STATUS", "GC"]);
        assert!(sh_out("head -1 /run/calls").ends_with("a eth0 /run/netns/a"));
        assert!(sh_out("cat /run/stdin").contains(r#""any":"key""#));
    });
}

/// Its error word for word; it gives back what it gave when the rest fails.
#[test]
fn what_goes_wrong_there() {
    world(Kind::User, || {
        ns_add("a");
        let plugins = ours();
        let error = r#"{"cniVersion":"1.0.0","code":11,"msg":"later","details":"busy"}"#;
        script(&plugins, "fails", &format!("echo '{error}'; exit 1"));
        // Whatever was asked.
        let told = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": [],
            "prevResult": {"cniVersion": "1.1.0"}});
        for verb in ["ADD", "CHECK", "DEL", "STATUS", "GC"] {
            let output =
                plugins.call("bridge", verb, &who("a"), &with(conf("fails"), told.clone()));
            assert_eq!(output.status.code(), Some(1), "{verb}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{error}\n"), "{verb}");
        }
        script(&plugins, "dies", "echo oops; exit 3");
        let (code, msg) = plugins.fails("ADD", &who("a"), &conf("dies"));
        assert!(code >= 100 && msg.contains("exit status: 3"), "{code}: {msg}");
        script(&plugins, "empty", "echo '{}'");
        let (code, msg) = plugins.fails("ADD", &who("a"), &conf("empty"));
        assert!(code >= 100 && msg.contains("no address"), "{code}: {msg}");
        // The pod's name is taken: what was leased for it goes back.
        script(
            &plugins,
            "gives",
            r#"echo $CNI_COMMAND >>/run/calls; echo '{"ips":[{"address":"10.77.0.50/24"}]}'"#,
        );
        sh("ip -n a link add eth0 type veth");
        plugins.fails("ADD", &who("a"), &conf("gives"));
        assert_eq!(sh_out("cat /run/calls"), "ADD\nDEL");
        for kind in ["../gives", "/run/gives", "nope", ".."] {
            let (_, msg) = plugins.fails("ADD", &who("a"), &conf(kind));
            assert!(msg.contains(kind), "{msg}");
        }
        sh(&format!("cp {0}/gives /run/gives && mkdir {0}/dir", plugins.dir.display()));
        plugins.fails("ADD", &who("a"), &conf("dir"));
        assert_eq!(sh_out("cat /run/calls"), "ADD\nDEL", "none of them was run");
        assert!(!sh_out("ip -br link").contains("br-cni"), "and nothing was made");
    });
}

/// Ours inside of the reference's bridge, and the reference's own inside of ours.
#[test]
fn each_calls_the_other() {
    world(Kind::User, || {
        ns_add("a");
        let (ours, theirs) = (ours(), reference());
        // The reference's bridge with our host-local.
        let mixed = Plugins { dir: super::common::scratch().join("mixed") };
        sh(&format!(
            "mkdir {0} && cp {1}/bridge {0}/ && cp {2}/host-local {0}/",
            mixed.dir.display(),
            theirs.dir.display(),
            ours.dir.display()
        ));
        let result = mixed.ok("ADD", &who("a"), &bridge("1.0.0"));
        assert_eq!(result["ips"][0]["address"], "10.77.0.2/24");
        mixed.ok("CHECK", &who("a"), &with(bridge("1.0.0"), json!({"prevResult": result})));
        mixed.ok("DEL", &who("a"), &bridge("1.0.0"));
        sh("ip link del br-cni");
        // Our bridge with the reference's, under another name: host-local is ours.
        sh(&format!("cp {}/host-local {}/their-local", theirs.dir.display(), ours.dir.display()));
        let conf = with(
            bridge("1.0.0"),
            json!({"ipam": with(host_local(&["10.77.0.0/24"]), json!({"type": "their-local"}))}),
        );
        let result = ours.ok("ADD", &who("a"), &conf);
        assert_eq!(result["ips"][0]["address"], "10.77.0.3/24");
        ours.ok("DEL", &who("a"), &conf);
    });
}
