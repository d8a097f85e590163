//! resolv.conf(5), whose settings host-local hands on.

use std::path::Path;

use crate::conf::Dns;
use crate::error::{Context, Result};

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Dns> {
    let text = std::fs::read_to_string(path).ctx(|| format!("read {}", path.display()))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.nameservers.extend(words.next()),
            Some("domain") => dns.domain = words.next().or(dns.domain),
            Some("search") => dns.search.extend(words),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_keywords() {
        let dns = parse(
            "# made by hand\nnameserver 10.1.0.1\nnameserver\t10.1.0.2\n;domain x\ndomain example.net\n\
             search a.example b.example\n  options ndots:2 rotate\nsortlist 10.0.0.0\nnameserver\n",
        );
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(dns.nameservers, words("10.1.0.1 10.1.0.2"));
        assert_eq!(dns.domain.as_deref(), Some("example.net"));
        assert_eq!(dns.search, words("a.example b.example"));
        assert_eq!(dns.options, words("ndots:2 rotate"));
    }
}
