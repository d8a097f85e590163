//! The map as a tree.

use std::fmt::Write as _;

use super::{LinkView, Map, PodView, RemoteView};

/// What hangs on a link, or on the host itself.
enum Node<'a> {
    Link(&'a str, &'a LinkView),
    Remote(&'a RemoteView),
    Pod(&'a PodView),
}

impl Map {
    /// The picture.
    pub fn to_text(&self) -> String {
        let roots = self.below(None);
        if roots.is_empty() {
            return "no attachments\n".into();
        }
        let mut text = String::from("host\n");
        self.draw(&mut text, "", &roots);
        text
    }

    /// What hangs on a link; on nothing, where none is said. What hangs on a link that isn't
    /// on the map hangs on nothing, either.
    fn below<'a>(&'a self, on: Option<&str>) -> Vec<Node<'a>> {
        let links = self
            .links
            .iter()
            .filter(|(_, link)| link.on.as_deref().filter(|on| self.links.contains_key(*on)) == on);
        let links = links.map(|(name, link)| Node::Link(name, link));
        match on.and_then(|name| self.links.get(name)) {
            None => links.chain(self.pods.iter().map(Node::Pod)).collect(),
            Some(link) => {
                let remotes = link.remotes.iter().map(Node::Remote);
                remotes.chain(links).chain(link.pods.iter().map(Node::Pod)).collect()
            }
        }
    }

    fn draw(&self, text: &mut String, trunk: &str, nodes: &[Node<'_>]) {
        for (i, node) in nodes.iter().enumerate() {
            let last = i + 1 == nodes.len();
            let (branch, rest) = if last { ("└─", "  ") } else { ("├─", "│ ") };
            let (first, rest) = (format!("{trunk}{branch}"), format!("{trunk}{rest}"));
            match node {
                Node::Link(name, link) => {
                    let _ = writeln!(text, "{first} {}", link.line(name));
                    self.draw(text, &format!("{rest} "), &self.below(Some(name)));
                }
                Node::Remote(remote) => {
                    let _ =
                        writeln!(text, "{first} to {}  {}", remote.host, remote.subnets.join(" "));
                }
                Node::Pod(pod) => pod.draw(text, &first, &rest),
            }
        }
    }
}

impl LinkView {
    fn line(&self, name: &str) -> String {
        let words = [self.kind.as_str(), name, &self.settings];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let mtu = self.mtu.map(|mtu| format!("  mtu {mtu}")).unwrap_or_default();
        format!("{}  {}  {}{mtu}", words.join(" "), self.addresses.join(" "), self.state)
    }
}

impl PodView {
    /// What is between the host and the interface: `veth pk1 (up) ── eth0 10.89.0.2/16`.
    fn wire(&self) -> String {
        let outer = self.outer.as_deref().unwrap_or_default();
        let state = format!("({})", self.link_state);
        let words = [self.kind, outer, &self.settings, &state, "──", &self.ifname];
        let words = words.into_iter().filter(|word| !word.is_empty());
        let addresses = self.addresses.iter().map(String::as_str);
        match self.kind {
            "" => "no link but lo".into(),
            _ => words.chain(addresses).collect::<Vec<_>>().join(" "),
        }
    }

    fn draw(&self, text: &mut String, first: &str, rest: &str) {
        let process = self.process.as_deref().map(|p| format!("  process {p}")).unwrap_or_default();
        let mac = self.mac.as_deref().map(|mac| format!("  mac {mac}")).unwrap_or_default();
        let vrf = self.vrf.as_deref().map(|vrf| format!("  vrf {vrf}")).unwrap_or_default();
        let lines = [
            format!("container {}  network {}{process}", self.container, self.network),
            format!("netns {} net:[{}]{mac}{vrf}", self.netns, self.netns_inode),
        ];
        let _ = writeln!(text, "{first} {}", self.wire());
        for line in lines.iter().chain(&self.routes).chain(&self.rules) {
            let _ = writeln!(text, "{rest}    {line}");
        }
    }
}
