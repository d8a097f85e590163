//! JSON read strictly, with the way to each value kept, so that an error can
//! name it: `plugins[0].ipam.ranges[0][0].subnet`.
//!
//! Three habits of the reference plugins (Go's encoding/json) are kept, because
//! files rely on them: `null` is the same as leaving a key out, keys match
//! without regard to case, and unknown keys are passed over. One is not: a key
//! given twice is an error here, where Go takes the last one silently.

use std::{collections::HashSet, fmt, str::FromStr};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::Kind;

/// What is wrong with the text, before it is known which file it came from.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) why: String,
}

pub(super) type Parsed<T> = Result<T, Fault>;

impl Fault {
    /// Input that makes no sense, at `path`; an empty path is the whole text.
    pub(super) fn input(path: &str, why: impl fmt::Display) -> Fault {
        Fault::new(Kind::Input, path, why)
    }

    /// Input that makes sense, but that podkeel cannot do.
    pub(super) fn unsupported(path: &str, why: impl fmt::Display) -> Fault {
        Fault::new(Kind::Unsupported, path, why)
    }

    fn new(kind: Kind, path: &str, why: impl fmt::Display) -> Fault {
        let why = if path.is_empty() { why.to_string() } else { format!("{path}: {why}") };
        Fault { kind, why }
    }
}

/// Reads one JSON text; a syntax error and a key given twice come with line and column.
pub(super) fn value(text: &str) -> Parsed<Value> {
    let strict: Strict = serde_json::from_str(text).map_err(|e| Fault::input("", e))?;
    Ok(strict.0)
}

/// A value, and the way to it from the top of the text.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value) -> Node<'a> {
        Node { path: String::new(), value }
    }

    pub(super) fn fault(&self, why: impl fmt::Display) -> Fault {
        Fault::input(&self.path, why)
    }

    fn mistyped<T>(&self, wanted: &str) -> Parsed<T> {
        let got = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        Err(self.fault(format_args!("must be {wanted}, not {got}")))
    }

    pub(super) fn string(&self) -> Parsed<&'a str> {
        self.value.as_str().map_or_else(|| self.mistyped("a string"), Ok)
    }

    pub(super) fn flag(&self) -> Parsed<bool> {
        self.value.as_bool().map_or_else(|| self.mistyped("true or false"), Ok)
    }

    pub(super) fn number(&self) -> Parsed<u32> {
        match self.value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(number) => Ok(number),
            None => {
                match self.value {
                    Value::Number(n) => Err(self
                        .fault(format_args!("{n} is not a whole number from 0 to {}", u32::MAX))),
                    _ => self.mistyped("a number"),
                }
            }
        }
    }

    pub(super) fn array(&self) -> Parsed<Vec<Node<'a>>> {
        let Value::Array(items) = self.value else { return self.mistyped("an array") };
        let node = |(i, value)| Node { path: format!("{}[{i}]", self.path), value };
        Ok(items.iter().enumerate().map(node).collect())
    }

    /// The object's members as they stand: for maps whose keys are data.
    pub(super) fn entries(&self) -> Parsed<Vec<(&'a str, Node<'a>)>> {
        let Value::Object(map) = self.value else { return self.mistyped("an object") };
        let node = |(key, value): (&'a String, &'a Value)| {
            (key.as_str(), Node { path: format!("{}[{key:?}]", self.path), value })
        };
        Ok(map.iter().map(node).collect())
    }

    /// The object, for looking up the keys of a struct.
    pub(super) fn object(&self) -> Parsed<Object<'a>> {
        let Value::Object(map) = self.value else { return self.mistyped("an object") };
        let mut seen = HashSet::new();
        for key in map.keys() {
            if !seen.insert(key.to_ascii_lowercase()) {
                return Err(
                    self.fault(format_args!("{key:?} is given twice (case makes no difference)"))
                );
            }
        }
        Ok(Object { path: self.path.clone(), map })
    }

    /// A string that is read as a `T`: an address, a subnet.
    pub(super) fn parse<T: FromStr>(&self, noun: &str) -> Parsed<T> {
        let text = self.string()?;
        text.parse().map_err(|_| self.fault(format_args!("{text:?} is not {noun}")))
    }
}

/// An object whose keys are known by name.
#[derive(Clone, Debug)]
pub(super) struct Object<'a> {
    pub(super) path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// The way to a member, for a fault about one that isn't there.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.values().all(Value::is_null)
    }

    /// The member, unless it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        let (_, value) =
            self.map.iter().find(|(k, v)| k.eq_ignore_ascii_case(key) && !v.is_null())?;
        Some(Node { path: self.at(key), value })
    }

    pub(super) fn string(&self, key: &str) -> Parsed<Option<&'a str>> {
        self.get(key).map(|node| node.string()).transpose()
    }

    /// A string that means the same as no string when it is empty.
    pub(super) fn text(&self, key: &str) -> Parsed<Option<&'a str>> {
        Ok(self.string(key)?.filter(|text| !text.is_empty()))
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Parsed<bool> {
        self.get(key).map_or(Ok(default), |node| node.flag())
    }

    pub(super) fn number(&self, key: &str) -> Parsed<Option<u32>> {
        self.get(key).map(|node| node.number()).transpose()
    }

    pub(super) fn array(&self, key: &str) -> Parsed<Vec<Node<'a>>> {
        self.get(key).map_or(Ok(Vec::new()), |node| node.array())
    }

    pub(super) fn strings(&self, key: &str) -> Parsed<Vec<String>> {
        self.array(key)?.iter().map(|node| node.string().map(str::to_owned)).collect()
    }

    pub(super) fn object(&self, key: &str) -> Parsed<Option<Object<'a>>> {
        self.get(key).map(|node| node.object()).transpose()
    }

    /// A key that the reference knows and podkeel does not do: silence would be
    /// a lie, unless the value asks for nothing. That is `default`, and what is
    /// empty; `false` too, but where the default is `true`.
    pub(super) fn refuse(&self, key: &str, default: Value) -> Parsed<()> {
        let Some(node) = self.get(key) else { return Ok(()) };
        let nothing = match node.value {
            Value::Bool(false) => default != Value::Bool(true),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if nothing || *node.value == default {
            return Ok(());
        }
        Err(Fault::unsupported(&node.path, format_args!("{} is not supported yet", node.value)))
    }
}

/// A `Value` in which no object has a key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strict, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("{key:?} is given twice")));
            }
            let Strict(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
