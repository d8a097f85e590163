//! A client of the Container Runtime Interface: gRPC by curl over a Unix socket.
//!
//! A unary call is one HTTP/2 POST of five bytes (not compressed, length) and a protobuf
//! message; the status comes in the trailers. Messages are written field by field, with
//! the numbers of Kubernetes' cri-api, runtime/v1/api.proto.

use std::fs;
use std::path::PathBuf;

use super::common::{scratch, sh};

/// A message, or the fields of one.
pub(crate) type Message = Vec<u8>;

/// A field that is a message, a string or bytes (wire type 2).
pub(crate) fn field(number: u8, value: impl AsRef<[u8]>) -> Message {
    let value = value.as_ref();
    [varint(u64::from(number << 3 | 2)), varint(value.len() as u64), value.to_vec()].concat()
}

/// A field that is a number or a word of an enum (wire type 0).
pub(crate) fn number(number: u8, value: u64) -> Message {
    [varint(u64::from(number << 3)), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn read_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a number that ends");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

/// The first field of this number: bytes as they are, a number as its digits; empty where
/// there is none, as protobuf leaves out what is empty or 0.
pub(crate) fn find(mut message: &[u8], wanted: u64) -> Message {
    while !message.is_empty() {
        let key = read_varint(&mut message);
        let value = match key & 7 {
            0 => read_varint(&mut message).to_string().into_bytes(),
            2 => {
                let length = usize::try_from(read_varint(&mut message)).expect("a length");
                let (value, rest) = message.split_at(length);
                message = rest;
                value.to_vec()
            }
            other => panic!("wire type {other}"),
        };
        if key >> 3 == wanted {
            return value;
        }
    }
    Message::new()
}

/// The same as text.
pub(crate) fn find_text(message: &[u8], wanted: u64) -> String {
    String::from_utf8(find(message, wanted)).expect("UTF-8")
}

/// A runtime's socket.
pub(crate) struct Cri(pub(crate) PathBuf);

impl Cri {
    /// Calls a method of the runtime service and expects the status OK.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, request: &[u8]) -> Message {
        self.any(method, request).unwrap_or_else(|why| panic!("{method}: {why}"))
    }

    /// Calls a method; a status other than OK is an error with its words.
    pub(crate) fn any(&self, method: &str, request: &[u8]) -> Result<Message, String> {
        let [ask, answer, headers] =
            ["ask", "answer", "headers"].map(|name| scratch().join(format!("cri.{name}")));
        let length = u32::try_from(request.len()).expect("a short message").to_be_bytes();
        fs::write(&ask, [&[0], &length[..], request].concat()).expect("a file");
        fs::write(&answer, "").expect("a file");
        sh(&format!(
            "curl -sS --max-time 60 --http2-prior-knowledge --unix-socket {} -D {} -o {} \
             -H 'content-type: application/grpc' -H 'te: trailers' --data-binary @{} \
             http://cri/runtime.v1.RuntimeService/{method}",
            self.0.display(),
            headers.display(),
            answer.display(),
            ask.display()
        ));
        let headers = fs::read_to_string(&headers).expect("headers");
        let told = |name: &str| {
            headers.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned())
        };
        match told("grpc-status:").as_deref() {
            Some("0") => Ok(fs::read(&answer).expect("an answer")[5..].to_vec()),
            Some(code) => {
                Err(format!("status {code}: {}", told("grpc-message:").unwrap_or_default()))
            }
            None => Err(format!("no status: {headers}")),
        }
    }
}
