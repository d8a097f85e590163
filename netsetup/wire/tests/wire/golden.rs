//! Golden files: hex of what a command sent and what the kernel answered.

/// What went through the netlink sockets of one command.
pub(crate) struct Golden {
    /// The command.
    pub(crate) command: String,
    /// What it sent, one buffer per call.
    pub(crate) sent: Vec<Vec<u8>>,
    /// What it was answered, one buffer per call.
    pub(crate) received: Vec<Vec<u8>>,
}

/// Reads `tests/golden/NAME`; the format stands in `tests/capture`.
pub(crate) fn load(name: &str) -> Golden {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut golden = Golden { command: String::new(), sent: Vec::new(), received: Vec::new() };
    for line in text.lines() {
        match line.split_at_checked(2) {
            Some(("$ ", command)) => golden.command = command.to_owned(),
            Some(("> ", hex)) => golden.sent.push(unhex(hex)),
            Some(("< ", hex)) => golden.received.push(unhex(hex)),
            Some(("# ", _)) => {}
            _ => panic!("{path}: what is {line:?}?"),
        }
    }
    assert!(!golden.command.is_empty() && !golden.sent.is_empty(), "{path} holds nothing");
    golden
}

/// The names of all golden files.
pub(crate) fn names() -> Vec<String> {
    let mut names = Vec::new();
    for folder in ["ip", "nft"] {
        let path = format!("{}/tests/golden/{folder}", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(&path).unwrap_or_else(|e| panic!("{path}: {e}")) {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".nft") {
                names.push(format!("{folder}/{name}"));
            }
        }
    }
    names.sort();
    names
}

impl Golden {
    /// The messages that were sent, cut apart.
    pub(crate) fn requests(&self) -> Vec<&[u8]> {
        self.sent.iter().flat_map(|buffer| cut(buffer)).collect()
    }

    /// The first message of this type that was sent, but for ip's probes of the
    /// kernel, which have sequence number 0.
    pub(crate) fn request(&self, kind: u16) -> &[u8] {
        let wanted = |m: &&[u8]| m[4..6] == kind.to_ne_bytes() && m[8..12] != [0; 4];
        let found = self.requests().into_iter().find(wanted);
        found.unwrap_or_else(|| panic!("{}: no message of type {kind}", self.command))
    }

    /// The answers that were received, cut apart.
    pub(crate) fn answers(&self) -> Vec<&[u8]> {
        self.received.iter().flat_map(|buffer| cut(buffer)).collect()
    }
}

/// Cuts a buffer into messages, header included. Written apart from the crate, which is what is tested.
pub(crate) fn cut(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while bytes.len() >= 16 {
        let len = u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize;
        if len < 16 {
            break; // ip pads some requests with zeros
        }
        messages.push(&bytes[..len]);
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
    }
    messages
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|d| u8::from_str_radix(str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}
