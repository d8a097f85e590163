//! The keys of each plugin type: read, refused, ignored.

use super::*;

const NAMED: &str = "cannot read network \"web\" (/n/web.conflist): ";

#[test]
fn keys_of_the_bridge() {
    let plain = bridge("").unwrap();
    assert!(!plain.is_gateway && !plain.ip_masq && plain.ipam.is_none() && plain.mac.is_none());
    type Reads = fn(&Bridge) -> bool;
    let table: [(&str, Reads); 19] = [
        (r#", "isGateway": true"#, |b| b.is_gateway && !b.is_default_gateway),
        (r#", "isDefaultGateway": true"#, |b| b.is_gateway && b.is_default_gateway),
        (r#", "isDefaultGateway": true, "isGateway": false"#, |b| b.is_gateway),
        (r#", "forceAddress": true"#, |b| b.force_address),
        (r#", "ipMasq": true, "ipMasqBackend": "nftables""#, |b| b.ip_masq),
        (r#", "IPMASQ": true"#, |b| b.ip_masq),
        (r#", "mtu": 1400"#, |b| b.mtu == Some(1400)),
        (r#", "mtu": 0"#, |b| b.mtu.is_none()),
        (r#", "hairpinMode": true, "promiscMode": false"#, |b| b.hairpin_mode),
        (r#", "promiscMode": true"#, |b| b.promisc_mode),
        (r#", "enabledad": true"#, |b| b.enable_dad),
        (r#", "disableContainerInterface": true"#, |b| b.disable_container_interface),
        (r#", "portIsolation": true"#, |b| b.port_isolation),
        (r#", "macspoofchk": true"#, |b| b.mac_spoof_check),
        (r#", "args": {"cni": {"mac": "02:00:00:00:00:07"}}"#, |b| {
            b.mac == Some(Mac([2, 0, 0, 0, 0, 7]))
        }),
        (r#", "dns": {"nameservers": ["10.1.0.1"], "domain": "x"}"#, |b| {
            b.dns.as_ref().is_some_and(|dns| dns.domain.as_deref() == Some("x"))
        }),
        (r#", "dns": {}, "ipam": {}"#, |b| b.dns.is_none() && b.ipam.is_none()),
        (r#", "ipam": {"type": ""}"#, |b| b.ipam.is_none()),
        (r#", "capabilities": {"mac": true, "ips": false}"#, |b| {
            b.capabilities == Capabilities::from(["mac".into()])
        }),
    ];
    for (keys, reads) in table {
        let read = bridge(keys).unwrap();
        assert!(reads(&read), "{keys}: {read:?}");
    }
}

#[test]
fn what_asks_for_nothing_is_accepted() {
    let defaults = r#", "vlan": 0, "vlanTrunk": [], "preserveDefaultVlan": true, "macspoofchk": false,
        "enabledad": null, "disableContainerInterface": false, "ipMasqBackend": "", "runtimeConfig": {},
        "nobody-knows-this": {"a": [1]}"#;
    assert_eq!(bridge(defaults).unwrap(), bridge("").unwrap());
    let defaults = r#"{"type": "bridge"},
        {"type": "portmap", "backend": "nftables", "conditionsV4": [], "conditionsV6": null, "masqAll": false,
         "markMasqBit": 13, "externalSetMarkChain": ""},
        {"type": "tuning", "mac": "", "promisc": false, "mtu": 0, "allmulti": null, "txQLen": null,
         "dataDir": "/run/cni/tuning", "sysctl": null}"#;
    let network = plugins(defaults).unwrap();
    assert!(matches!(&network.plugins[1], Plugin::Portmap(_)));
    assert!(matches!(&network.plugins[2], Plugin::Tuning(t) if t.sysctls.is_empty()));
}

#[test]
fn vlans_of_a_port() {
    let of = |first, last, access| crate::request::Vlan { first, last, access };
    let own = r#", "vlan": 7, "vlanTrunk": [{}], "preserveDefaultVlan": false"#;
    let read = bridge(own).unwrap();
    assert_eq!(read.vlans, [of(7, 7, true)]);
    assert!(!read.preserve_default_vlan);
    let trunk = r#", "vlanTrunk": [{"id": 9}, {}, {"minID": 20, "maxID": 29, "id": 40}]"#;
    let tagged = [of(9, 9, false), of(20, 29, false), of(40, 40, false)];
    assert_eq!(bridge(trunk).unwrap().vlans, tagged);
    for (keys, why) in [
        (r#", "vlan": 4095"#, "vlan: 4095 is no VLAN: 0 to 4094"),
        (r#", "vlanTrunk": [{"id": 0}]"#, "vlanTrunk[0].id: 0 is no VLAN: 1 to 4094"),
        (
            r#", "vlanTrunk": [{"minID": 9, "maxID": 8}]"#,
            "vlanTrunk[0]: must have a maxID that is no less than minID",
        ),
        (
            r#", "vlanTrunk": [{"minID": 9}]"#,
            "vlanTrunk[0]: must have both minID and maxID, or neither",
        ),
        (r#", "vlan": 7, "vlanTrunk": [{"id": 9}]"#, "vlan: cannot be together with vlanTrunk"),
    ] {
        assert_error(bridge(keys), Kind::Input, &format!("{NAMED}plugins[0].{why}"));
    }
    assert_eq!(read.gateway_link(), "br0");
    let keys = r#", "vlan": 7, "isGateway": true"#;
    assert_eq!(bridge(keys).unwrap().gateway_link(), "br0", "without ipam there is none");
    let keys = &format!(r#"{keys}, "ipam": {{"type": "host-local", "subnet": "10.0.0.0/24"}}"#);
    assert_eq!(bridge(keys).unwrap().gateway_link(), "br0.7");
    let why = "vlan: the link of its gateway, \"bridge-of-pods.7\", is no name for an interface: it is longer than 15 bytes";
    let read = plugins(&format!(r#"{{"type": "bridge", "bridge": "bridge-of-pods" {keys}}}"#));
    assert_error(read, Kind::Input, &format!("{NAMED}plugins[0].{why}"));
}

#[test]
fn what_is_not_done_yet_is_refused() {
    for (kind, key, value) in [
        ("bridge", "runtimeConfig", r#"{"mac":"02:00:00:00:00:07"}"#),
        ("portmap", "runtimeConfig", r#"{"portMappings":[]}"#),
        ("tuning", "runtimeConfig", r#"{"mac":"02:00:00:00:00:07"}"#),
    ] {
        let plugin = format!(r#"{{"type": "{kind}", "{key}": {value}}}"#);
        let (list, index) = match kind {
            "bridge" => (plugin, 0),
            _ => (format!(r#"{{"type": "bridge"}}, {plugin}"#), 1),
        };
        let text = format!("{NAMED}plugins[{index}].{key}: {value} is not supported yet");
        assert_error(plugins(&list), Kind::Unsupported, &text);
    }
}

#[test]
fn terms_of_published_ports() {
    let portmap =
        |keys: &str| plugins(&format!(r#"{{"type": "bridge"}}, {{"type": "portmap" {keys}}}"#));
    let read = |keys: &str| portmap(keys).unwrap().portmap().unwrap().clone();
    assert_eq!(read(r#", "backend": "iptables""#), read(""));
    assert_eq!(read("").mark, None);
    assert_eq!(read(r#", "markMasqBit": 0"#).mark, Some(MarkBy::Bit(0)));
    let chain = r#", "externalSetMarkChain": "KUBE-MARK-MASQ""#;
    assert_eq!(read(chain).mark, Some(MarkBy::Chain("KUBE-MARK-MASQ".into())));
    let conditions =
        read(r#", "conditionsV4": ["!", "-d", "10.0.0.0/8"], "conditionsV6": ["-i", "up+"]"#);
    assert_eq!(conditions.conditions_v4, ["!", "-d", "10.0.0.0/8"]);
    assert_eq!(conditions.conditions_v6, ["-i", "up+"]);
    let bad = |keys: &str, kind: Kind, why: &str| {
        assert_error(portmap(keys), kind, &format!("{NAMED}plugins[1].{why}"));
    };
    bad(
        r#", "backend": "x""#,
        Kind::Input,
        "backend: \"x\" is neither \"iptables\" nor \"nftables\"",
    );
    bad(r#", "markMasqBit": 32"#, Kind::Input, "markMasqBit: 32 is not a bit from 0 to 31");
    bad(
        r#", "markMasqBit": 1, "externalSetMarkChain": "X""#,
        Kind::Input,
        "markMasqBit: cannot be together with externalSetMarkChain",
    );
    bad(
        r#", "conditionsV6": ["-s", "10.0.0.1"]"#,
        Kind::Input,
        "conditionsV6: -s \"10.0.0.1\": 10.0.0.1 is of the other family",
    );
    bad(
        r#", "backend": "nftables", "conditionsV4": ["ip", "saddr", "10.0.0.1"]"#,
        Kind::Unsupported,
        "conditionsV4: nft's own words are not read; those of iptables are, with backend \"iptables\"",
    );
}

#[test]
fn the_interface_of_tuning() {
    let tuning = |keys: &str| {
        let read =
            plugins(&format!(r#"{{"type": "bridge"}}, {{"type": "tuning" {keys}}}"#)).unwrap();
        let Plugin::Tuning(tuning) = &read.plugins[1] else { panic!("{read:?}") };
        tuning.clone()
    };
    let keys = r#", "mac": "02:00:00:00:00:07", "promisc": true, "mtu": 1400, "allmulti": false, "txQLen": 7,
        "dataDir": "/x""#;
    let read = tuning(keys);
    let link =
        LinkSettings { promisc: true, allmulti: Some(false), mtu: Some(1400), txqlen: Some(7) };
    assert_eq!((read.link, read.mac), (link, Some(Mac([2, 0, 0, 0, 0, 7]))));
    let args = r#", "args": {"cni": {"mtu": 1300, "mac": "02:00:00:00:00:08", "sysctl": {"net.x.y": "1"}}}"#;
    let read =
        tuning(&format!("{keys}, \"sysctl\": {{\"net.x.y\": \"0\", \"net.x.z\": \"0\"}} {args}"));
    assert_eq!(read.link, LinkSettings { mtu: Some(1300), ..link });
    assert_eq!(
        (read.mac, read.asked_mac),
        (Some(Mac([2, 0, 0, 0, 0, 7])), Some(Mac([2, 0, 0, 0, 0, 8])))
    );
    let shown: Vec<String> = read.sysctls.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["net.x.z=0", "net.x.y=1"]);
}

#[test]
fn addresses_that_a_file_asks_for() {
    let keys = r#", "args": {"cni": {"ips": ["10.1.0.7/24", "fd00::7"]}},
        "ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "resolvConf": "/etc/x"}"#;
    let read = bridge(keys).unwrap();
    let ipam = read.ipam.as_ref().and_then(Ipam::host_local).unwrap();
    assert_eq!(ipam.ips, ["10.1.0.7", "fd00::7"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap()));
    assert_eq!(ipam.resolv_conf, Some("/etc/x".into()));
}

#[test]
fn bad_values_of_the_bridge() {
    for (keys, why) in [
        (r#", "isGateway": "true""#, "isGateway: must be true or false, not a string"),
        (r#", "isGateway": 1"#, "isGateway: must be true or false, not a number"),
        (r#", "mtu": "1400""#, "mtu: must be a number, not a string"),
        (r#", "mtu": -1"#, "mtu: -1 is not a whole number from 0 to 4294967295"),
        (r#", "mtu": 1400.5"#, "mtu: 1400.5 is not a whole number from 0 to 4294967295"),
        (r#", "mtu": 67"#, "mtu: 67 is not from 68 to 65535"),
        (r#", "mtu": 65536"#, "mtu: 65536 is not from 68 to 65535"),
        (
            r#", "hairpinMode": true, "promiscMode": true"#,
            "promiscMode: cannot be together with hairpinMode",
        ),
        (
            r#", "args": {"cni": {"mac": "02:00"}}"#,
            "args.cni.mac: \"02:00\": a MAC address is six pairs of hex digits",
        ),
        (
            r#", "dns": {"nameservers": "10.1.0.1"}"#,
            "dns.nameservers: must be an array, not a string",
        ),
        (r#", "dns": {"search": [1]}"#, "dns.search[0]: must be a string, not a number"),
        (r#", "capabilities": ["mac"]"#, "capabilities: must be an object, not an array"),
        (
            r#", "capabilities": {"mac": 1}"#,
            "capabilities[\"mac\"]: must be true or false, not a number",
        ),
        (
            r#", "disableContainerInterface": true, "ipam": {"type": "static"}"#,
            "disableContainerInterface: cannot be together with ipam: what is down has no use for addresses",
        ),
        (
            r#", "mtu": 1279, "ipam": {"type": "host-local", "subnet": "fd00::/64"}"#,
            "mtu: 1279 is too small for IPv6, which needs 1280",
        ),
    ] {
        assert_error(bridge(keys), Kind::Input, &format!("{NAMED}plugins[0].{why}"));
    }
    let long = format!(
        "{NAMED}plugins[0].bridge: \"0123456789abcdef\" is no name for an interface: it is longer than 15 bytes"
    );
    assert_error(
        plugins(r#"{"type": "bridge", "bridge": "0123456789abcdef"}"#),
        Kind::Input,
        &long,
    );
}

#[test]
fn sysctls_of_tuning() {
    let tuning = |sysctl: &str| {
        plugins(&format!(r#"{{"type": "bridge"}}, {{"type": "tuning", "sysctl": {sysctl}}}"#))
    };
    let network =
        tuning(r#"{"net.core.somaxconn": "1024", "net/ipv4/conf/IFNAME/arp_filter": "1"}"#)
            .unwrap();
    let Plugin::Tuning(read) = &network.plugins[1] else { panic!() };
    let shown: Vec<String> =
        read.sysctls.iter().map(|s| s.clone().on_interface("eth0").to_string()).collect();
    assert_eq!(shown, ["net.core.somaxconn=1024", "net.ipv4.conf.eth0.arp_filter=1"]);
    for (sysctl, why) in [
        (
            r#"{"kernel.hostname": "x"}"#,
            "[\"kernel.hostname\"]: only net.* can be set for a pod's network",
        ),
        (
            r#"{"net.core.somaxconn": 1024}"#,
            "[\"net.core.somaxconn\"]: must be a string, not a number",
        ),
        (r#"{"net.core.x": "1", "net/core/x": "2"}"#, "[\"net/core/x\"]: is given twice"),
        (
            r#"{"net.core.x": "1\n2"}"#,
            "[\"net.core.x\"]: the value \"1\\n2\" has a line break or a NUL in it",
        ),
        (r#"["net.core.x=1"]"#, ": must be an object, not an array"),
    ] {
        assert_error(tuning(sysctl), Kind::Input, &format!("{NAMED}plugins[1].sysctl{why}"));
    }
}
