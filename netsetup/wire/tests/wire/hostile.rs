//! Bytes that nobody meant: whatever comes, reading ends and doesn't panic.
//!
//! The mutations are the same on every run: a fixed seed, the golden messages
//! as what they start from.

use std::time::{Duration, Instant};

use podkeel_wire::nf::{self, ChainInfo, ElemInfo, RuleInfo, SetInfo, TableInfo};
use podkeel_wire::rt::{AddrInfo, LinkInfo, RouteInfo};
use podkeel_wire::{Answer, attrs, messages};

use crate::golden;

/// Reads a buffer in every way there is. Returns how many messages it held.
fn read_all(bytes: &[u8]) -> usize {
    let mut count = 0;
    for message in messages(bytes) {
        count += 1;
        // Each item uses up a header at least, but for the torn one that ends it.
        assert!(count <= bytes.len() / 16 + 1, "more messages than bytes");
        let Ok(message) = message else { continue };
        if let Answer::Error { errno, .. } = message.answer() {
            assert!(errno > 0, "errno {errno}");
        }
        read_objects(&message);
        for fixed in [0, 1, 4, 16, usize::MAX - 8] {
            read_attrs(message.attrs(fixed), message.body.len());
        }
    }
    read_attrs(attrs(bytes), bytes.len());
    count
}

fn read_objects(message: &podkeel_wire::Message<'_>) {
    _ = LinkInfo::read(message).map(|l| l.up());
    _ = AddrInfo::read(message);
    _ = RouteInfo::read(message);
    _ = TableInfo::read(message);
    _ = ChainInfo::read(message);
    _ = RuleInfo::read(message);
    if let Some(flow) = podkeel_wire::ct::Flow::read(message) {
        flow.delete(&mut podkeel_wire::Batch::new(1));
    }
    _ = SetInfo::read(message);
    _ = ElemInfo::read(message);
    _ = nf::generation(message);
}

fn read_attrs(attrs: podkeel_wire::Attrs<'_>, len: usize) {
    let nested = attrs.clone().flat_map(|(_, payload)| podkeel_wire::attrs(payload));
    assert!(nested.count() <= len / 4, "more nested attributes than bytes");
    assert!(attrs.clone().count() <= len / 4, "more attributes than bytes");
    _ = attrs.find(1);
}

/// Marsaglia's xorshift64: enough to reach into every corner, and the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Every golden message once, requests and answers; big ones cut to a size that keeps the test quick.
fn corpus() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for name in golden::names() {
        let golden = golden::load(&name);
        let both = golden.requests().into_iter().chain(golden.answers());
        all.extend(both.map(<[u8]>::to_vec));
    }
    // The same question and link come in many captures.
    all.sort_by(|a, b| (a.len(), &a[16..]).cmp(&(b.len(), &b[16..])));
    all.dedup_by(|a, b| a[4..8] == b[4..8] && a[16..] == b[16..]);
    all
}

/// Lengths and types that sit at an edge.
const EDGES: [u16; 12] = [0, 1, 3, 4, 5, 15, 16, 0x7fff, 0x8000, 0xfffc, 0xfffe, 0xffff];

/// Changes some bytes; now and then cuts, doubles or joins.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 | 3 => put(bytes, at & !3, EDGES[random.below(EDGES.len())]),
            4 => put(bytes, at & !1, random.next() as u16),
            5 => bytes.truncate(at),
            6 => _ = bytes.splice(at..at, other[..random.below(other.len())].iter().copied()),
            // The message's own length, so that the change inside is looked at.
            _ => {
                let len = bytes.len() as u32;
                bytes.iter_mut().zip(len.to_ne_bytes()).for_each(|(b, l)| *b = l);
            }
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..].iter_mut().zip(value.to_ne_bytes()).for_each(|(b, v)| *b = v);
}

const MUTATIONS: usize = 200_000;

#[test]
fn mutated_messages_are_read_to_their_end() {
    let corpus = corpus();
    assert!(corpus.len() > 100, "only {} golden messages", corpus.len());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut read, start) = (0, Instant::now());
    for n in 0..MUTATIONS {
        let mut bytes = corpus[n % corpus.len()].clone();
        let other = &corpus[random.below(corpus.len())];
        mutate(&mut bytes, other, &mut random);
        let before = Instant::now();
        read += read_all(&bytes);
        assert!(
            before.elapsed() < Duration::from_secs(5),
            "mutation {n} takes {:?}",
            before.elapsed()
        );
    }
    println!(
        "{MUTATIONS} mutations of {} messages, {read} read, {:?}",
        corpus.len(),
        start.elapsed()
    );
    assert!(
        read > MUTATIONS / 2,
        "only {read} messages were cut out: the mutations are too wild to test anything"
    );
}

#[test]
fn messages_cut_at_every_byte() {
    for message in corpus() {
        for end in 0..message.len() {
            let cut = &message[..end];
            let torn = messages(cut).any(|m| m.is_err());
            assert_eq!(torn, end > 0, "cut at {end} of {}", message.len());
            read_all(cut);
            // The same, but with a header that calls the cut message whole.
            if end >= 16 {
                let mut whole = cut.to_vec();
                whole[..4].copy_from_slice(&(end as u32).to_ne_bytes());
                assert_eq!(read_all(&whole), 1);
            }
        }
    }
}

#[test]
fn every_length_at_its_edges() {
    for message in corpus().into_iter().filter(|m| m.len() < 600) {
        for at in (0..message.len().saturating_sub(1)).step_by(4) {
            for edge in EDGES {
                let mut bytes = message.clone();
                put(&mut bytes, at, edge);
                read_all(&bytes);
            }
        }
    }
    for len in [0u32, 3, 15, 16, 17, 65535, 0x7fff_ffff, u32::MAX - 2, u32::MAX] {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&len.to_ne_bytes());
        assert_eq!(
            messages(&header).filter(Result::is_ok).count(),
            usize::from(len == 16),
            "length {len}"
        );
        read_all(&header);
    }
}
