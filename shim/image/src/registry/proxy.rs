//! Whether a registry is reached through a proxy, as docker and podman decide it from the
//! environment (Go's golang.org/x/net/http/httpproxy; curl(1), ENVIRONMENT).
//!
//! ```text
//!   HTTPS_PROXY, https_proxy     for https        HTTP_PROXY, http_proxy     for http
//!   ALL_PROXY, all_proxy         where that isn't set
//!   NO_PROXY, no_proxy           what is reached directly, and loopback always is
//! ```
//!
//! The way through is a tunnel (CONNECT, RFC 9110, 9.3.6) for both, so that the proxy looks the
//! registry's name up and sees nothing of TLS.

use std::env;
use std::net::IpAddr;

use ipnet::IpNet;
use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use crate::error::{Error, Result};

/// A proxy.
#[derive(Clone, Debug)]
pub(super) struct Via {
    pub(super) proxy: Proxy,
    /// For errors: `the proxy HOST:PORT of HTTPS_PROXY`. Its password isn't in there.
    pub(super) told: String,
}

/// The proxy that a request to this URL goes through; none where it is no URL. Errors where a
/// variable names none that we can use.
pub(super) fn to(url: &str) -> Result<Option<Via>> {
    let Ok(url) = url.parse() else { return Ok(None) };
    choose(&url, &|name| env::var(name).ok().filter(|value| !value.is_empty()))
}

fn choose(url: &Uri, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Via>> {
    let set = |names: &[&'static str]| {
        names.iter().find_map(|name| variable(name).map(|value| (*name, value)))
    };
    let is_https = url.scheme_str() == Some("https");
    let found = set(match is_https {
        true => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        false => &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    });
    let Some((name, value)) = found else { return Ok(None) };
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let listed = set(&["NO_PROXY", "no_proxy"]).map(|(_, list)| list).unwrap_or_default();
    if is_loopback(host) || listed.split(',').any(|entry| covers(entry.trim(), host, port)) {
        return Ok(None);
    }
    let refuse = |why: &str| {
        Error::input(format!("use the proxy that {name} names"), why)
            .hint("it is http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT")
    };
    let proxy = Proxy::new(&value).map_err(|_| refuse("it is no proxy's URL"))?;
    if !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        return Err(refuse("only http and https proxies are spoken to"));
    }
    let told = format!("the proxy {}:{} of {name}", proxy.host(), proxy.port());
    Ok(Some(Via { proxy, told }))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Whether an entry of NO_PROXY covers a host: `*`, an address, a subnet, a name with all names
/// below it, or `.name` for those below it alone; where it has a port, only at that.
fn covers(entry: &str, host: &str, port: u16) -> bool {
    let (name, at) = match entry.rsplit_once(':') {
        Some((name, at)) if !name.contains(':') || name.ends_with(']') => (name, Some(at)),
        _ => (entry, None),
    };
    if at.is_some_and(|at| at.parse() != Ok(port)) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']').trim_start_matches('*');
    if let Ok(address) = host.parse::<IpAddr>() {
        let subnet = name.parse().is_ok_and(|subnet: IpNet| subnet.contains(&address));
        return entry == "*" || subnet || name.parse() == Ok(address);
    }
    let (host, name) = (host.to_lowercase(), name.to_lowercase());
    let below = host.strip_suffix(name.trim_start_matches('.'));
    entry == "*"
        || host == name
        || !name.is_empty() && below.is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let url: Uri = url.parse().expect("a URL");
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned())
        };
        choose(&url, &value).expect("a proxy in order").map(|via| via.told)
    }

    #[test]
    fn each_scheme_has_a_proxy_of_its_own() {
        let https = [("HTTPS_PROXY", "http://u:p@p.example:3128"), ("http_proxy", "q.example:80")];
        let by = |text: &str| Some(text.to_owned());
        let of_https = by("the proxy p.example:3128 of HTTPS_PROXY");
        assert_eq!(told("https://r.example/v2/", &https), of_https);
        assert_eq!(
            told("http://r.example:5000/", &https),
            by("the proxy q.example:80 of http_proxy")
        );
        assert_eq!(told("http://r.example/", &https[..1]), None);
        let all = [("all_proxy", "https://p.example")];
        assert_eq!(told("http://r.example/", &all), by("the proxy p.example:443 of all_proxy"));
        for loopback in ["https://localhost:5000/", "https://127.0.0.2/", "https://[::1]:5000/"] {
            assert_eq!(told(loopback, &https), None, "{loopback}");
        }
        for odd in ["socks5://p.example", "ftp://p.example", "http://", "a b"] {
            let url = "https://r.example/".parse().expect("a URL");
            let error = choose(&url, &|name| (name == "HTTPS_PROXY").then(|| odd.to_owned()));
            let said = error.expect_err(odd).to_string();
            assert!(said.starts_with("cannot use the proxy that HTTPS_PROXY names: "), "{said}");
        }
    }

    #[test]
    fn no_proxy_covers_what_go_says_it_does() {
        for (entry, yes, no) in [
            ("*", "r.example", ""),
            ("r.example", "r.example", "xr.example"),
            ("r.example", "a.b.R.example", "example"),
            (".r.example", "a.r.example", "r.example"),
            ("*.r.example", "a.r.example", "r.example"),
            ("r.example:5000", "r.example", ""),
            ("", "", "r.example"),
            ("10.0.0.0/8", "10.1.2.3", "11.1.2.3"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.30"),
            ("fd00::/8", "fd00::1", "fe80::1"),
            ("[fd00::1]:5000", "fd00::1", "fd00::2"),
        ] {
            assert!(yes.is_empty() || covers(entry, yes, 5000), "{entry} covers {yes}");
            assert!(no.is_empty() || !covers(entry, no, 5000), "{entry} doesn't cover {no}");
        }
        assert!(!covers("r.example:5001", "r.example", 5000));
        assert!(!covers("[fd00::1]:443", "fd00::1", 5000));
    }
}
