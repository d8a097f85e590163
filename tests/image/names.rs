//! A name server of the test's own: one name, at one address.

use std::net::UdpSocket;
use std::thread;

/// Answers for `name` with 127.0.0.1, for all else that there is no such name, until the world
/// ends. Listens on this address, port 53.
pub(crate) fn serve(address: &str, name: &'static str) {
    let socket = UdpSocket::bind((address, 53)).expect("port 53 of a world");
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(&answer(&question[..length], name), from);
        }
    });
}

/// A message of RFC 1035: header, the question again, and an address where there is one.
fn answer(question: &[u8], known: &str) -> Vec<u8> {
    const IS_ANSWER: u16 = 0x8180;
    const NO_SUCH_NAME: u16 = 0x8183;
    let (name, end) = name_at(question, 12);
    // Type and class follow the name.
    let question_end = end + 4;
    let kind = u16::from_be_bytes([question[end], question[end + 1]]);
    let is_known = name.eq_ignore_ascii_case(known);
    let has_address = is_known && kind == 1;
    let flags = if is_known { IS_ANSWER } else { NO_SUCH_NAME };
    let mut message = question[..2].to_vec();
    for count in [flags, 1, u16::from(has_address), 0, 0] {
        message.extend(count.to_be_bytes());
    }
    message.extend(&question[12..question_end]);
    if has_address {
        // The name by a pointer to the question; A, IN, 60 seconds, four bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    message
}

/// A name of labels, and where it ends.
fn name_at(message: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(message[at]);
        at += 1;
        if length == 0 {
            return (labels.join("."), at);
        }
        labels.push(String::from_utf8_lossy(&message[at..at + length]).into_owned());
        at += length;
    }
}
