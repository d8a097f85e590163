//! What a case is: who is called, with what, and what happens in between.

use serde_json::Value;

/// One question, asked of both sides.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// `plugin version label`.
    pub(super) name: String,
    /// Shell commands on the host before.
    pub(super) given: &'static str,
    /// Plugins that are added before it.
    pub(super) before: Vec<Value>,
    /// The plugin's configuration.
    pub(super) conf: Value,
    /// Stands in for it on stdin.
    pub(super) stdin: Option<&'static str>,
    /// CNI_ARGS.
    pub(super) args: &'static str,
    /// CNI_IFNAME.
    pub(super) ifname: &'static str,
    /// DEL has an empty CNI_NETNS.
    pub(super) lost: bool,
    /// DEL and a second ADD have no `prevResult`.
    pub(super) forgets: bool,
    /// A second pod comes and goes after ADD.
    pub(super) second: bool,
    /// Shell commands on the host after ADD.
    pub(super) harm: String,
    /// Variables with other values than usual; an empty one counts as missing.
    pub(super) vars: &'static [(&'static str, &'static str)],
    /// What is called.
    pub(super) verbs: &'static [&'static str],
}

/// The life of an attachment.
const LIFE: &[&str] = &["ADD", "CHECK", "DEL", "DEL"];

impl Case {
    pub(super) fn new(conf: Value, label: &str) -> Self {
        let text = |key: &str| conf[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{} {} {label}", text("type"), text("cniVersion"));
        let ifname = if conf["type"] == "loopback" { "lo" } else { "eth0" };
        Self {
            name,
            given: "",
            before: Vec::new(),
            conf,
            stdin: None,
            args: "",
            ifname,
            lost: false,
            forgets: false,
            second: false,
            harm: String::new(),
            vars: &[],
            verbs: LIFE,
        }
    }

    pub(super) fn args(mut self, args: &'static str) -> Self {
        self.args = args;
        self
    }

    pub(super) fn given(mut self, given: &'static str) -> Self {
        self.given = given;
        self
    }

    pub(super) fn verbs(mut self, verbs: &'static [&'static str]) -> Self {
        self.verbs = verbs;
        self
    }

    pub(super) fn lost(mut self) -> Self {
        self.lost = true;
        self
    }

    pub(super) fn second(mut self) -> Self {
        self.second = true;
        self
    }

    pub(super) fn harm(mut self, harm: &str) -> Self {
        self.harm = harm.to_owned();
        self
    }

    pub(super) fn vars(mut self, vars: &'static [(&'static str, &'static str)]) -> Self {
        self.vars = vars;
        self
    }

    /// Whether CHECK, and a DEL after the first, are watched: they should change nothing. A
    /// look costs more than a call.
    pub(super) fn is_watched(&self) -> bool {
        !self.harm.is_empty() || self.name.ends_with("1.0.0 dual")
    }

    /// Whether its version has CHECK.
    pub(super) fn has_check(&self) -> bool {
        let version = self.conf["cniVersion"].as_str().unwrap_or_default();
        !["0.1", "0.2", "0.3"].iter().any(|old| version.starts_with(old))
    }
}
