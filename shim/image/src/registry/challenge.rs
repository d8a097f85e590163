//! WWW-Authenticate, as registries use it (RFC 9110, 11.6.1; distribution's token specification).

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token that somebody else gives out.
    Bearer {
        /// Whom to ask for it, a URL.
        realm: String,
        /// For whom it is.
        service: Option<String>,
    },
}

impl Challenge {
    /// Of several the first that is understood; a token rather than a password.
    pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
        let mut known: Vec<Challenge> = headers.filter_map(Challenge::parse).collect();
        known.sort_by_key(|challenge| *challenge == Challenge::Basic);
        known.into_iter().next()
    }

    fn parse(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let values = parameters(rest);
        let value = |name: &str| {
            let found = values.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        Some(Challenge::Bearer { realm: value("realm")?, service: value("service") })
    }
}

/// `key="value", key=value`: a quoted value may hold commas, and anything behind a backslash.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while let Some((key, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((key.trim().to_owned(), value));
        rest = left.trim_start_matches([' ', ',']);
    }
    found
}

/// What stands before the closing quote, and what stands behind it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_ask_for_is_understood() {
        let bearer = |realm: &str, service: Option<&str>| {
            let service = service.map(str::to_owned);
            Some(Challenge::Bearer { realm: realm.to_owned(), service })
        };
        let choose = |headers: &[&str]| Challenge::choose(headers.iter().copied());
        let docker = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\"";
        assert_eq!(
            choose(&[docker]),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        assert_eq!(choose(&["Basic realm=\"x\"", docker]), choose(&[docker]));
        assert_eq!(choose(&["basic"]), Some(Challenge::Basic));
        assert_eq!(
            choose(&["bearer Realm=https://x , error=\"a \\\"b\\\", c\""]),
            bearer("https://x", None)
        );
        for odd in
            ["", "Bearer", "Bearer service=\"x\"", "Negotiate", "Bearer realm", "Bearer realm=\"x"]
        {
            assert!(choose(&[odd]).is_none() || odd.contains("realm=\"x"), "{odd}");
        }
    }
}
