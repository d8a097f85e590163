//! What `ip -j` and `nft -j` print, as objects of a [`Dump`], and parts of it as words.

use serde_json::{Map, Value};

use super::dump::{Attrs, Dump, ignored};

/// `ip -d -j addr`: links, and the addresses on them.
pub(super) fn links(ns: &str, list: &Value, dump: &mut Dump) {
    for link in items(list) {
        let name = text(&link["ifname"]);
        let mut attrs = Attrs::new();
        for (key, value) in link.as_object().into_iter().flatten() {
            if key != "addr_info" && key != "ifname" {
                flatten("link", key, value, &mut attrs);
            }
        }
        for addr in items(&link["addr_info"]) {
            let full = format!("{}/{}", text(&addr["local"]), text(&addr["prefixlen"]));
            let mut attrs = Attrs::new();
            flatten("addr", "", addr, &mut attrs);
            dump.add(format!("{ns} addr {name} {full}"), attrs);
        }
        dump.add(format!("{ns} link {name}"), attrs);
    }
}

/// `ip -d -j route show table all`, both families.
pub(super) fn routes(ns: &str, list: &Value, dump: &mut Dump) {
    for route in items(list) {
        // Only IPv6 routes have a router preference.
        let family = if route.get("pref").is_some() { "-6" } else { "-4" };
        let mut name = format!("{ns} route {family} {}", text(&route["dst"]));
        for (key, word) in [("gateway", "via"), ("dev", "dev"), ("metric", "metric")] {
            if let Some(value) = route.get(key) {
                name += &format!(" {word} {}", text(value));
            }
        }
        for (key, usual) in [("table", "main"), ("type", "unicast")] {
            if let Some(value) = route.get(key).map(text).filter(|v| v != usual) {
                name += &format!(" {key} {value}");
            }
        }
        let mut attrs = Attrs::new();
        flatten("route", "", route, &mut attrs);
        dump.add(name, attrs);
    }
}

/// `ip -d -j rule` of one family.
pub(super) fn rules(ns: &str, family: &str, list: &Value, dump: &mut Dump) {
    for rule in items(list) {
        let mut attrs = Attrs::new();
        flatten("rule", "", rule, &mut attrs);
        let words: Vec<String> = attrs.iter().map(|(k, v)| format!("{k} {v}")).collect();
        dump.add(format!("{ns} rule {family} {}", words.join(" ")), Attrs::new());
    }
}

/// `nft -j list ruleset`. A rule and an element are known by their text, so that one
/// more in the middle is one line of difference; a chain remembers its rules' order.
pub(super) fn ruleset(ns: &str, list: &Value, dump: &mut Dump) {
    let mut orders: Vec<(String, String)> = Vec::new();
    let mut chains: Vec<(String, Attrs)> = Vec::new();
    for entry in items(&list["nftables"]) {
        let Some((kind, body)) = entry.as_object().and_then(|o| o.iter().next()) else { continue };
        let Value::Object(mut body) = stripped(body) else { continue };
        let mut take = |key: &str| body.remove(key).map(|v| text(&v));
        let family = take("family").unwrap_or_default();
        let place = match kind.as_str() {
            "metainfo" => continue,
            "table" => format!("{family} {}", take("name").unwrap_or_default()),
            _ => format!("{family} {}", take("table").unwrap_or_default()),
        };
        match kind.as_str() {
            "rule" => {
                let chain = format!("{place} {}", take("chain").unwrap_or_default());
                let rule = Value::Object(body).to_string();
                dump.add(format!("{ns} nft rule {chain}: {rule}"), Attrs::new());
                orders.push((chain, rule));
            }
            "table" => dump.add(format!("{ns} nft table {place}"), attrs_of(body)),
            "chain" => {
                let name = format!("{place} {}", take("name").unwrap_or_default());
                chains.push((name, attrs_of(body)));
            }
            _ => {
                let name = format!("{place} {}", take("name").unwrap_or_default());
                for element in body.remove("elem").as_ref().map(items).unwrap_or_default() {
                    dump.add(format!("{ns} nft element {name}: {element}"), Attrs::new());
                }
                dump.add(format!("{ns} nft {kind} {name}"), attrs_of(body));
            }
        }
    }
    for (name, mut attrs) in chains {
        let mine: Vec<&str> =
            orders.iter().filter(|(c, _)| *c == name).map(|(_, r)| r.as_str()).collect();
        attrs.insert("rules".to_owned(), order(&mine));
        dump.add(format!("{ns} nft chain {name}"), attrs);
    }
}

/// Number and order of a chain's rules in a few characters (FNV-1a, 64 bits).
fn order(rules: &[&str]) -> String {
    let bytes = rules.iter().flat_map(|r| r.bytes().chain([0]));
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{} in order {hash:016x}", rules.len())
}

/// The value without what [`super::dump::IGNORED`] names, at any depth.
fn stripped(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, _)| !ignored("nft", key))
                .map(|(key, value)| (key.clone(), stripped(value)))
                .collect(),
        ),
        Value::Array(list) => list.iter().map(stripped).collect(),
        other => other.clone(),
    }
}

fn attrs_of(body: Map<String, Value>) -> Attrs {
    let mut attrs = Attrs::new();
    flatten("nft", "", &Value::Object(body), &mut attrs);
    attrs
}

/// Nested maps become `a.b.c`; a list of words becomes the words in order.
pub fn flatten(kind: &str, path: &str, value: &Value, attrs: &mut Attrs) {
    let last = path.rsplit('.').next().unwrap_or(path);
    if ignored(kind, last) {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(kind, &format!("{path}{dot}{key}"), value, attrs);
            }
        }
        Value::Array(list) => {
            let words = list.iter().map(text).filter(|word| !ignored(kind, word));
            attrs.insert(path.to_owned(), words.collect::<Vec<_>>().join(" "));
        }
        other => {
            attrs.insert(path.to_owned(), text(other));
        }
    }
}

/// The kind of a link, and of what it is a port of, of `ip -d -j link`: `veth vrf`.
pub fn kinds(link: &Value) -> String {
    let words = ["info_kind", "info_slave_kind"].map(|key| link["linkinfo"][key].as_str());
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

pub fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
