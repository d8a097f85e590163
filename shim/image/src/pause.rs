//! A pause for an architecture, and the look at whether it is one.

use std::fmt;

use oci_spec::image::Arch;

use crate::error::{Error, Result};

/// The architectures that pause is written for, by the names of images, each with the number
/// that its ELF header has (elf.h, `EM_*`).
const MACHINES: [(Architecture, u16); 2] = [(Architecture::Amd64, 62), (Architecture::Arm64, 183)];

/// An architecture by the name that images use (Go's `GOARCH`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// x86_64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl Architecture {
    /// By name: an image's (`amd64`) or the kernel's (`x86_64`).
    pub fn parse(name: &str) -> Option<Architecture> {
        match name {
            "amd64" | "x86_64" => Some(Architecture::Amd64),
            "arm64" | "aarch64" => Some(Architecture::Arm64),
            _ => None,
        }
    }

    /// That of this program.
    pub fn own() -> Option<Architecture> {
        Architecture::parse(std::env::consts::ARCH)
    }

    /// As images name it.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    pub(crate) fn spec(self) -> Arch {
        match self {
            Architecture::Amd64 => Arch::Amd64,
            Architecture::Arm64 => Arch::ARM64,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the bytes of a pause come from; provenance says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Compiled together with the program that builds the image.
    Carried,
    /// A file that the user named.
    File,
}

/// The program of one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// What it runs on.
    pub architecture: Architecture,
    /// The whole ELF file.
    pub program: Vec<u8>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Pause {
    /// Takes a program after a look at its ELF header. `name` is for the error.
    ///
    /// Errors where it is no program for that architecture, or where it needs an interpreter,
    /// which an image of one file doesn't have.
    pub fn new(
        architecture: Architecture,
        program: Vec<u8>,
        origin: Origin,
        name: &str,
    ) -> Result<Pause> {
        match flaw(architecture, &program) {
            None => Ok(Pause { architecture, program, origin }),
            Some(why) => Err(Error::input(format!("take {name} as pause for {architecture}"), why)),
        }
    }
}

/// Why these bytes are no static 64-bit program for that architecture (elf(5)).
fn flaw(architecture: Architecture, program: &[u8]) -> Option<String> {
    const LITTLE_ENDIAN_64: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
    if !program.starts_with(&LITTLE_ENDIAN_64) {
        return Some("it is no 64-bit little-endian ELF file".into());
    }
    let Some(machine) = u16_at(program, 18) else {
        return Some("its ELF header is cut off".into());
    };
    match MACHINES.iter().find(|(_, number)| *number == machine) {
        Some((found, _)) if *found == architecture => {}
        Some((found, _)) => return Some(format!("it is a program for {found}")),
        None => return Some(format!("it is a program for machine {machine} of elf.h")),
    }
    match has_interpreter(program) {
        Some(false) => None,
        Some(true) => Some("it is linked dynamically, and nothing else is in the image".into()),
        None => Some("its program headers are cut off".into()),
    }
}

fn has_interpreter(program: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let start = usize::try_from(u64::from_le_bytes(take(program, 32)?)).ok()?;
    let (size, count) = (u16_at(program, 54)?, u16_at(program, 56)?);
    let mut found = false;
    for i in 0..usize::from(count) {
        let at = start.checked_add(i * usize::from(size))?;
        found |= u32::from_le_bytes(take(program, at)?) == PT_INTERP;
    }
    Some(found)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    take(bytes, at).map(u16::from_le_bytes)
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(architecture: Architecture, program: &[u8]) -> String {
        let refused = Pause::new(architecture, program.to_vec(), Origin::File, "x");
        refused.expect_err("refused").to_string()
    }

    #[test]
    fn what_is_no_pause_of_that_architecture_is_refused() {
        let own = std::fs::read("/proc/self/exe").expect("this program");
        let (mine, other) = match Architecture::own() {
            Some(Architecture::Arm64) => (Architecture::Arm64, Architecture::Amd64),
            _ => (Architecture::Amd64, Architecture::Arm64),
        };
        assert!(refused(other, &own).ends_with(&format!("it is a program for {mine}")));
        assert!(refused(mine, &own).contains("linked dynamically"));
        assert!(refused(mine, b"#!/bin/sh\n").contains("no 64-bit little-endian ELF"));
        for length in 0..64 {
            refused(mine, &own[..length]);
        }
    }
}
