//! Host names to addresses: /etc/hosts, then the name servers of /etc/resolv.conf.
//!
//! A static program can't ask glibc, whose getaddrinfo loads shared libraries. hickory-resolver
//! reads the same two files and follows their options (search, ndots, timeout, attempts); what
//! else nsswitch.conf may name (mDNS, LDAP) isn't asked.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ServerOrderingStrategy};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::error::{Error, Kind, Result};

/// Looks names up for every connection of the client.
#[derive(Debug)]
pub(super) struct Names;

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let port =
            uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let found = addresses(host).map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut all = self.empty();
        for address in found.into_iter().take(16) {
            all.push(SocketAddr::new(address, port));
        }
        Ok(all)
    }
}

/// The addresses of a host, at least one. Errors say whether the name is unknown, or whether
/// nobody could be asked.
fn addresses(host: &str) -> Result<Vec<IpAddr>> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse() {
        return Ok(vec![address]);
    }
    let what = || format!("look up {host}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::io(what(), &error))?;
    let found = runtime.block_on(async { resolver()?.lookup_ip(host).await });
    match found {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if error.is_no_records_found() => {
            Err(Error::new(Kind::Missing, what(), "no such host")
                .hint("it stands neither in /etc/hosts nor in DNS"))
        }
        Err(error) => {
            Err(Error::new(Kind::Failed, what(), format!("no name server answers: {error}"))
                .hint("see the name servers in /etc/resolv.conf"))
        }
    }
}

fn resolver() -> std::result::Result<TokioResolver, hickory_resolver::net::NetError> {
    // Without resolv.conf, /etc/hosts is all there is.
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        let nobody = ResolverConfig::default();
        TokioResolver::builder_with_config(nobody, TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    builder.build()
}
