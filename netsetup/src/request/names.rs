//! What names may look like: of networks, containers and interfaces.

/// CNI's rule for the names of networks and containers; such a name is also
/// safe as the name of a file. The error says what is wrong: "must ...".
///
/// Source: CNI's SPEC.md, "name" and CNI_CONTAINERID.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return Ok(());
    }
    Err("must begin with a letter or digit and go on with letters, digits, '_', '.', '-'")
}

/// The kernel's rule for the names of interfaces (dev_valid_name), and three
/// more. '%' makes the kernel number the name; `all` and `default` are taken by
/// the directories of /proc/sys/net/*/conf and refused by the kernel later on;
/// and what is not printable ASCII could pass for another name.
pub fn check_ifname(name: &str) -> Result<(), &'static str> {
    match name {
        "" => return Err("is no name for an interface: it is empty"),
        "." | ".." | "all" | "default" => return Err("is no name for an interface: it is taken"),
        _ => {}
    }
    // IFNAMSIZ is 16 with the closing NUL.
    if name.len() > 15 {
        return Err("is no name for an interface: it is longer than 15 bytes");
    }
    if name.bytes().any(|b| !b.is_ascii_graphic() || b"/:%".contains(&b)) {
        return Err(
            "is no name for an interface: '/', ':', '%', blanks and what is not ASCII cannot be in it",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_networks_and_containers() {
        for good in ["a", "0", "web", "Web.2_x-y", "a..b", &"x".repeat(300)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "-a", "_a", ".a", "a/b", "a b", "a\n", "ä", "aä", "../x"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_of_interfaces() {
        for good in ["eth0", "eth0.100", "x", "123456789012345", "a@b", "...", "-"] {
            assert_eq!(check_ifname(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "empty"),
            (".", "taken"),
            ("..", "taken"),
            ("all", "taken"),
            ("default", "taken"),
            ("1234567890123456", "15 bytes"),
            ("a/b", "cannot be in it"),
            ("a:1", "cannot be in it"),
            ("a b", "cannot be in it"),
            ("a\tb", "cannot be in it"),
            ("eth%d", "cannot be in it"),
            ("a\0", "cannot be in it"),
            ("ähm", "cannot be in it"),
        ] {
            let error = check_ifname(bad).unwrap_err();
            assert!(error.contains(why), "{bad:?}: {error}");
        }
    }
}
