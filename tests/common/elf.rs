//! What the kernel reads of a program before it runs it: the ELF program
//! headers, as elf(5) describes them (64 bit, little endian).

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::Path;

/// Loadable segment.
pub(crate) const PT_LOAD: u32 = 1;
/// Dynamic linking information; the only place of DT_NEEDED.
pub(crate) const PT_DYNAMIC: u32 = 2;
/// The path of the program that has to load this one.
pub(crate) const PT_INTERP: u32 = 3;
/// The permissions of the stack.
pub(crate) const PT_GNU_STACK: u32 = 0x6474_e551;
/// Segment may be executed.
pub(crate) const PF_X: u32 = 1;
/// Segment may be written to.
pub(crate) const PF_W: u32 = 2;
/// A shared library that must be loaded.
const DT_NEEDED: u64 = 1;

/// One program header, as far as it matters here, with the bytes it covers.
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Reads the program headers of a file. Panics, with the path, if it is no ELF
/// file of this kind or is cut off.
pub(crate) fn segments(path: &Path) -> Vec<Segment> {
    let file = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let number = |at: usize, length: usize| {
        file[at..at + length].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    assert_eq!(file[..6], *b"\x7fELF\x02\x01", "{}: not 64 bit little endian", path.display());
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let segment = |at: usize| {
        let (offset, length) = (number(at + 8, 8), number(at + 32, 8));
        Segment {
            kind: number(at, 4) as u32,
            flags: number(at + 4, 4) as u32,
            bytes: file[offset..offset + length].to_vec(),
        }
    };
    (0..count).map(|index| segment(table + index * size)).collect()
}

/// How many shared libraries the file asks for.
pub(crate) fn needed(segments: &[Segment]) -> usize {
    let dynamic = segments.iter().filter(|segment| segment.kind == PT_DYNAMIC);
    dynamic
        .flat_map(|segment| segment.bytes.chunks_exact(16))
        .filter(|entry| entry[..8] == DT_NEEDED.to_le_bytes())
        .count()
}

/// Asserts that nothing has to be loaded for the program: no PT_INTERP, no DT_NEEDED.
pub(crate) fn assert_static(path: &Path) {
    let segments = segments(path);
    let name = path.display();
    assert!(segments.iter().any(|s| s.kind == PT_LOAD), "{name}: nothing to load at all");
    assert!(!segments.iter().any(|s| s.kind == PT_INTERP), "{name}: has a PT_INTERP");
    assert_eq!(needed(&segments), 0, "{name}: has DT_NEEDED entries");
}
