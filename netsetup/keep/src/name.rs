//! Any string as a file name.

/// Longest file name that is taken over unchanged, in bytes.
const LONGEST: usize = 100;
/// Bytes of a longer or unsafe name that are kept for people to read.
const PREFIX: usize = 64;

/// A file name that stands for `text`.
///
/// `text` itself where it matches `[A-Za-z0-9._:-]+`, has no leading dot and is at
/// most 100 bytes long. Everything else becomes a readable beginning, `~` and its
/// [`fnv1a64`] in 16 hex digits; as `~` is in no unchanged name, the two kinds
/// can't meet. The hash tells apart what the prefix doesn't; it is no defence
/// against somebody who looks for collisions.
pub fn file_name(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    if !text.is_empty() && text.len() <= LONGEST && !text.starts_with('.') && text.chars().all(safe)
    {
        return text.to_owned();
    }
    let prefix: String = text.chars().take(PREFIX).map(|c| if safe(c) { c } else { '_' }).collect();
    let prefix = match prefix.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => prefix,
    };
    format!("{prefix}~{:016x}", fnv1a64(text.as_bytes()))
}

/// FNV-1a with 64 bits, written out so that names stay the same across builds.
///
/// Source: RFC 9923 (offset basis, prime and test vectors).
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_has_the_published_values() {
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn safe_names_stay() {
        for name in ["web", "eth0.100", "fd00::1", "a-b_c", &"x".repeat(100)] {
            assert_eq!(file_name(name), name);
        }
    }

    #[test]
    fn everything_else_is_one_safe_component() {
        let long = "x".repeat(101);
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "../../etc/passwd",
            "a b",
            "näh",
            "a\0b",
            "a\nb",
            "a~b",
            &long,
        ] {
            let file = file_name(name);
            assert_ne!(file, name);
            assert!(file.len() <= LONGEST && !file.starts_with('.'), "{file}");
            assert!(!file.contains('/') && file.is_ascii() && file.contains('~'), "{file}");
        }
        assert_eq!(file_name("a/b"), "a_b~e620c3190468cf61");
        assert_ne!(file_name("a/b"), file_name("a b"));
    }
}
