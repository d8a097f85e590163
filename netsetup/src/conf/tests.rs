//! Lists as people write them, good and bad; every bad one with its text.

mod find;
mod interface;
mod keys;
mod ranges;

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::{Kind, ipam::Range, request::Mac, roots::Roots};

/// A list called "web" in /n/web.conflist.
fn web(text: &str) -> Result<Network> {
    parse(text, Source::File(PathBuf::from("/n/web.conflist")))
}

/// A list whose plugins are these.
fn plugins(plugins: &str) -> Result<Network> {
    web(&format!(r#"{{"cniVersion": "1.0.0", "name": "web", "plugins": [{plugins}]}}"#))
}

/// A list of one bridge plugin that has these keys, too.
fn bridge(keys: &str) -> Result<Bridge> {
    let network = plugins(&format!(r#"{{"type": "bridge", "bridge": "br0" {keys}}}"#))?;
    let [Plugin::Bridge(bridge)] = &network.plugins[..] else { panic!("{network:?}") };
    Ok(bridge.clone())
}

/// The same with host-local that has these keys.
fn host_local(keys: &str) -> Result<HostLocal> {
    Ok(bridge(&format!(r#", "ipam": {{"type": "host-local" {keys}}}"#))?
        .ipam
        .unwrap()
        .host_local()
        .unwrap()
        .clone())
}

#[track_caller]
fn assert_error<T: fmt::Debug>(read: Result<T>, kind: Kind, text: &str) {
    let error = read.unwrap_err();
    assert_eq!(error.to_string(), text);
    assert_eq!(error.kind, kind, "{text}");
}

fn range(subnet: &str, start: &str, end: &str, gateway: &str) -> Range {
    Range {
        subnet: subnet.parse().unwrap(),
        start: start.parse().unwrap(),
        end: end.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
    }
}

fn default_route(dst: &str) -> Route {
    Route::to(dst.parse().unwrap())
}

#[test]
fn the_built_in_network() {
    let network = Network::builtin().unwrap();
    assert_eq!((network.name.as_str(), &network.source), ("bridge", &Source::Builtin));
    let [Plugin::Bridge(bridge), Plugin::Portmap(portmap), Plugin::Tuning(tuning)] =
        &network.plugins[..]
    else {
        panic!("{network:?}")
    };
    let ipam = HostLocal {
        sets: vec![vec![range("10.89.0.0/16", "10.89.0.1", "10.89.255.254", "10.89.0.1")]],
        routes: vec![default_route("0.0.0.0/0")],
        data_dir: None,
        resolv_conf: None,
        ips: Vec::new(),
    };
    let expected = Bridge {
        bridge: "podkeel0".into(),
        is_gateway: true,
        is_default_gateway: false,
        force_address: false,
        ip_masq: true,
        mtu: None,
        hairpin_mode: true,
        promisc_mode: false,
        port_isolation: false,
        mac_spoof_check: false,
        enable_dad: false,
        disable_container_interface: false,
        vlans: Vec::new(),
        preserve_default_vlan: true,
        mac: None,
        ipam: Some(Ipam::HostLocal(ipam)),
        dns: None,
        capabilities: Capabilities::new(),
    };
    assert_eq!(*bridge, expected);
    assert!(portmap.capabilities.contains("portMappings") && tuning.sysctls.is_empty());
    assert!(network.can("portMappings") && !network.can("mac"));
}

/// Each list in oci-bundles/networks is read, and has the name of its file.
#[test]
fn the_sample_lists() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../oci-bundles/networks");
    let roots = Roots { conf: vec![dir.into()], ..Roots::default() };
    let names: Vec<String> = names(&roots).into_iter().map(|(name, _)| name).collect();
    let files = std::fs::read_dir(dir).unwrap().count();
    assert_eq!(names.len(), files + 3, "all of {dir} and the built-in ones: {names:?}");
    for name in &names {
        let network = find(name, &roots).unwrap();
        if let Source::File(path) = &network.source {
            assert_eq!(path.file_stem().unwrap().to_str(), Some(name.as_str()));
        }
    }
    let Plugin::Bridge(dual) = &find("dual", &roots).unwrap().plugins[0] else { panic!() };
    let dual = dual.ipam.as_ref().and_then(Ipam::host_local).unwrap();
    assert_eq!(dual.sets[0], [range("10.90.0.0/16", "10.90.0.1", "10.90.255.254", "10.90.0.1")]);
    let v6 = "fd70:6f64:6b65:1:";
    let last = format!("{v6}ffff:ffff:ffff:ffff");
    assert_eq!(
        dual.sets[1],
        [range(&format!("{v6}:/64"), &format!("{v6}:1"), &last, &format!("{v6}:1"))]
    );
    assert_eq!(dual.routes, [default_route("0.0.0.0/0"), default_route("::/0")]);
    let custom = find("custom-bridge", &roots).unwrap();
    let Plugin::Bridge(bridge) = &custom.plugins[0] else { panic!() };
    assert_eq!((bridge.bridge.as_str(), bridge.mtu), ("br-pods", Some(1400)));
    let Plugin::Tuning(tuning) = &custom.plugins[2] else { panic!() };
    let first = tuning.sysctls[0].clone().on_interface("eth0").to_string();
    assert_eq!(first, "net.ipv4.conf.eth0.arp_filter=1");
}

/// What podman 4 has in memory as its default, without the plugin that isn't there yet.
#[test]
fn a_list_of_podman() {
    let list = json!({
        "cniVersion": "0.4.0", "name": "podman", "plugins": [
            {"type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
             "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
                      "ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
            {"type": "tuning"}]});
    let network = web(&list.to_string()).unwrap();
    assert_eq!((network.name.as_str(), network.cni_version.as_str()), ("podman", "0.4.0"));
    assert_eq!(network.plugins.len(), 3);
}

#[test]
fn a_single_plugin_becomes_a_list_of_one() {
    let network = web(
        r#"{"name": "old", "type": "bridge", "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}"#,
    );
    let network = network.unwrap();
    assert_eq!(network.cni_version, "0.1.0");
    let [Plugin::Bridge(bridge)] = &network.plugins[..] else { panic!("{network:?}") };
    assert_eq!(bridge.bridge, "cni0");
    assert_error(
        web(
            r#"{"name": "old", "type": "bridge", "ipam": {"type": "host-local", "subnet": "10.1.0.0/33"}}"#,
        ),
        Kind::Input,
        r#"cannot read network "old" (/n/web.conflist): ipam.subnet: "10.1.0.0/33" is not a subnet"#,
    );
}

#[test]
fn the_text_and_the_list() {
    use Kind::{Input, Unsupported};
    let list = "cannot read network list /n/web.conflist: ";
    let named = "cannot read network \"web\" (/n/web.conflist): ";
    let rule = "must begin with a letter or digit and go on with letters, digits, '_', '.', '-'";
    let versions = "0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0";
    for (text, kind, head, why) in [
        ("", Input, list, "EOF while parsing a value at line 1 column 0".to_owned()),
        ("{\n  \"name\": \"web\",\n}", Input, list, "trailing comma at line 3 column 1".into()),
        ("{\"name\": \"web\"} x", Input, list, "trailing characters at line 1 column 17".into()),
        ("[]", Input, list, "must be an object, not an array".into()),
        (
            "{\"name\": \"a\",\n \"name\": \"b\"}",
            Input,
            list,
            "\"name\" is given twice at line 2 column 7".into(),
        ),
        (
            r#"{"name": "a", "Name": "b"}"#,
            Input,
            list,
            "\"Name\" is given twice (case makes no difference)".into(),
        ),
        ("{}", Input, list, "name: is missing".into()),
        (r#"{"name": null}"#, Input, list, "name: is missing".into()),
        (r#"{"name": 7}"#, Input, list, "name: must be a string, not a number".into()),
        (r#"{"name": ""}"#, Input, list, format!("name: \"\" {rule}")),
        (r#"{"name": "../x"}"#, Input, list, format!("name: \"../x\" {rule}")),
        (r#"{"name": "web"}"#, Input, named, "plugins: is missing".into()),
        (
            r#"{"name": "web", "plugins": {}}"#,
            Input,
            named,
            "plugins: must be an array, not an object".into(),
        ),
        (
            r#"{"name": "web", "plugins": []}"#,
            Input,
            named,
            "plugins: is empty: a network needs a plugin that makes an interface".into(),
        ),
        (
            r#"{"name": "web", "plugins": ["x"]}"#,
            Input,
            named,
            "plugins[0]: must be an object, not a string".into(),
        ),
        (r#"{"name": "web", "plugins": [{}]}"#, Input, named, "plugins[0].type: is missing".into()),
        (
            r#"{"name": "web", "cniVersion": "2.0.0", "plugins": []}"#,
            Unsupported,
            named,
            format!("cniVersion: \"2.0.0\" is not a version that podkeel knows: {versions}"),
        ),
        (
            r#"{"name": "web", "cniVersions": ["1.2.0", "2.0.0"], "plugins": []}"#,
            Unsupported,
            named,
            format!("cniVersion: \"1.2.0, 2.0.0\" is not a version that podkeel knows: {versions}"),
        ),
        (
            r#"{"name": "web", "cniVersion": 1, "plugins": []}"#,
            Input,
            named,
            "cniVersion: must be a string, not a number".into(),
        ),
        (
            r#"{"name": "web", "disableCheck": "yes", "plugins": [{"type": "bridge"}]}"#,
            Input,
            named,
            "disableCheck: must be true or false, not a string".into(),
        ),
    ] {
        assert_error(web(text), kind, &format!("{head}{why}"));
    }
}

/// Nesting is bounded before the stack is.
#[test]
fn deep_nesting() {
    let deep = format!("{{\"name\": {}", "[".repeat(100_000));
    let text =
        "cannot read network list /n/web.conflist: recursion limit exceeded at line 1 column 136";
    assert_error(web(&deep), Kind::Input, text);
}

#[test]
fn versions_and_flags_of_the_list() {
    for (keys, version, disable_check, disable_gc) in [
        (r#""cniVersion": "1.1.0""#, "1.1.0", false, false),
        (r#""cniVersion": """#, "0.1.0", false, false),
        (r#""cniVersions": ["0.4.0", "1.0.0", "9.0.0"]"#, "1.0.0", false, false),
        (r#""cniVersion": "1.1.0", "cniVersions": ["0.4.0"]"#, "1.1.0", false, false),
        (r#""disableCheck": true, "disableGC": "FALSE""#, "0.1.0", true, false),
        (r#""disableCheck": "True", "disableGC": true"#, "0.1.0", true, true),
        (r#""unknown": [1, {"x": 2.5}]"#, "0.1.0", false, false),
    ] {
        let network =
            web(&format!(r#"{{"name": "web", {keys}, "plugins": [{{"type": "bridge"}}]}}"#))
                .unwrap();
        assert_eq!(network.cni_version, version, "{keys}");
        assert_eq!(
            (network.disable_check, network.disable_gc),
            (disable_check, disable_gc),
            "{keys}"
        );
    }
}

#[test]
fn the_order_of_plugins() {
    let named = "cannot read network \"web\" (/n/web.conflist): ";
    for (list, kind, why) in [
        (
            r#"{"type": "portmap"}"#,
            Kind::Input,
            "plugins[0].type: \"portmap\" needs a plugin before it that makes an interface",
        ),
        (
            r#"{"type": "bridge"}, {"type": "tuning"}, {"type": "bridge"}"#,
            Kind::Unsupported,
            "plugins[2].type: a second plugin that makes an interface; use a network for each",
        ),
        (
            r#"{"type": "bridge"}, {"type": "bandwidth"}"#,
            Kind::Unsupported,
            "plugins[1].type: \"bandwidth\" is not a plugin that podkeel has: bridge, ptp, macvlan, ipvlan, vlan, vxlan, host-device, tap, dummy, none, host, portmap, firewall, tuning, vrf",
        ),
        (
            r#"{"type": "../../bin/sh"}"#,
            Kind::Unsupported,
            "plugins[0].type: \"../../bin/sh\" is not a plugin that podkeel has: bridge, ptp, macvlan, ipvlan, vlan, vxlan, host-device, tap, dummy, none, host, portmap, firewall, tuning, vrf",
        ),
    ] {
        assert_error(plugins(list), kind, &format!("{named}{why}"));
    }
}
