//! What the kernel answers: acknowledgements, refusals and the reasons it gives.

use podkeel_wire::{Answer, messages};

use crate::golden;

/// The answers to a golden command's requests, in order. Objects are left out.
fn answers(name: &str) -> Vec<Answer> {
    let golden = golden::load(name);
    let all = golden.received.iter().flat_map(|buffer| messages(buffer));
    all.map(|m| m.expect("a whole message").answer()).filter(|a| *a != Answer::Object).collect()
}

fn refused(errno: i32, extack: Option<&str>) -> Answer {
    Answer::Error { errno, extack: extack.map(str::to_owned) }
}

#[test]
fn a_reason_follows_the_repeated_request_or_its_header_alone() {
    let unreachable = refused(libc::ENETUNREACH, Some("Nexthop has invalid gateway"));
    // The flags tell them apart: NLM_F_ACK_TLVS alone, and with NLM_F_CAPPED.
    for (name, flags) in [("ip/refused-gateway", 0x200), ("ip/refused-gateway-capped", 0x300)] {
        let golden = golden::load(name);
        let last = *golden.answers().last().unwrap();
        assert_eq!(u16::from_ne_bytes([last[6], last[7]]), flags, "{name} shows another case now");
        assert_eq!(answers(name).last(), Some(&unreachable), "{name}");
    }
}

#[test]
fn a_dump_that_fails_ends_with_errno_and_reason() {
    let wanted = refused(libc::ENOENT, Some("ipv4: FIB table does not exist"));
    assert_eq!(answers("ip/refused-dump"), [wanted]);
}

#[test]
fn a_refusal_without_a_reason() {
    assert_eq!(answers("ip/refused-exists").last(), Some(&refused(libc::EEXIST, None)));
    assert_eq!(answers("ip/refused-get").last(), Some(&refused(libc::ENODEV, None)));
    assert_eq!(answers("nft/elem-exists").last(), Some(&refused(libc::EEXIST, None)));
    assert_eq!(answers("nft/elem-get-missing").last(), Some(&refused(libc::ENOENT, None)));
}

#[test]
fn successes_and_ends_of_dumps() {
    assert_eq!(answers("ip/link-set-up").last(), Some(&Answer::Ack));
    for name in ["ip/link-dump", "ip/addr-dump", "ip/route-dump-v4", "ip/route-dump-v6", "nft/list"]
    {
        assert!(answers(name).contains(&Answer::Done), "{name}");
    }
}

/// A message of type NLMSG_ERROR (2) or NLMSG_DONE (3) with this body.
fn answer(kind: u8, flags: u16, body: &[u8]) -> Answer {
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend([kind, 0]);
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    messages(&bytes).next().unwrap().unwrap().answer()
}

#[test]
fn impossible_answers_are_errors_and_no_panic() {
    // An errno that has no positive twin.
    let least = i32::MIN.to_ne_bytes();
    for kind in [2, 3] {
        assert_eq!(answer(kind, 0, &least), refused(i32::MAX, None));
    }
    assert_eq!(answer(2, 0, &[]), refused(libc::EBADMSG, None), "no errno is no success");
    assert_eq!(answer(3, 0, &[]), Answer::Done);
    // A request that claims to be longer than the whole answer.
    let mut body = (-libc::EINVAL).to_ne_bytes().to_vec();
    body.extend([0xff; 4]);
    assert_eq!(answer(2, 0x200, &body), refused(libc::EINVAL, None));
}
