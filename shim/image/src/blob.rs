//! Bytes that are named by their digest.

use oci_spec::image::{Descriptor, Digest, MediaType, Sha256Digest};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// A blob with the descriptor that others name it by.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Media type, digest and size; and what the one who names it adds.
    pub descriptor: Descriptor,
    /// What is stored.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// Takes bytes of that type.
    pub fn new(media_type: MediaType, bytes: Vec<u8>) -> Blob {
        let descriptor = Descriptor::new(media_type, bytes.len() as u64, digest(&bytes));
        Blob { descriptor, bytes }
    }

    /// A JSON document as [`canonical`] writes it.
    pub fn json(media_type: MediaType, document: &impl Serialize) -> Result<Blob> {
        Ok(Blob::new(media_type, canonical(document)?))
    }

    /// `sha256:...`
    pub fn digest(&self) -> String {
        self.descriptor.digest().to_string()
    }
}

/// The sha256 of bytes as a digest.
pub fn digest(bytes: &[u8]) -> Digest {
    hex(bytes).parse::<Sha256Digest>().map(Digest::from).expect("64 hexadecimal digits")
}

/// The sha256 of bytes in 64 hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// JSON with the keys of every object in order and no space: of one document always the same
/// bytes. (The specification's types keep annotations in hash maps, whose order is chance.)
pub fn canonical(document: &impl Serialize) -> Result<Vec<u8>> {
    let unwritten = |error: serde_json::Error| Error::input("write JSON", error.to_string());
    let mut value = serde_json::to_value(document).map_err(unwritten)?;
    value.sort_all_objects();
    serde_json::to_vec::<Value>(&value).map_err(unwritten)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_document_is_always_the_same_bytes() {
        let keys: Vec<String> = (0..50).map(|i| i.to_string()).collect();
        let document = || keys.iter().map(|k| (k, [("b", 1), ("a", 2)])).collect::<HashMap<_, _>>();
        let first = canonical(&document()).unwrap();
        assert!(first.starts_with(br#"{"0":[["b",1],["a",2]],"1":"#));
        for _ in 0..10 {
            assert_eq!(canonical(&document()).unwrap(), first);
        }
    }

    /// As `printf '{}' | sha256sum` prints it; the specification names this blob, too.
    #[test]
    fn a_digest_is_that_of_sha256sum() {
        let empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(hex(b"{}"), empty);
        assert_eq!(digest(b"{}").to_string(), format!("sha256:{empty}"));
    }
}
