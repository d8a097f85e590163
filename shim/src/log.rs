//! The output of a detached container: one file, written by the container itself. So
//! nobody stands between who writes and what is kept, and nothing is lost with anybody.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use podkeel_netsetup::error::{Context, Result};

/// Opens it for a container; what is there already stays.
pub fn open(path: &Path) -> Result<File> {
    let what = || format!("open log {}", path.display());
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).ctx(what)
}

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// How often a log is looked at again while it is followed.
const EVERY: Duration = Duration::from_millis(50);

/// Copies a log to `out`: its last `tail` lines or all of it, then what comes for as
/// long as `more` says that something may.
pub fn copy(
    path: &Path,
    tail: Option<usize>,
    more: &mut dyn FnMut() -> bool,
    out: &mut dyn Write,
) -> Result<()> {
    let what = || format!("read log {}", path.display());
    let printed = || "print the log".to_owned();
    let mut file = File::open(path).ctx(what)?;
    if let Some(lines) = tail {
        let from = start_of_last(&mut file, lines).ctx(what)?;
        file.seek(SeekFrom::Start(from)).ctx(what)?;
    }
    let mut bytes = vec![0; CHUNK];
    loop {
        // Asked first: what was written before the end is read after it.
        let goes_on = more();
        loop {
            match file.read(&mut bytes).ctx(what)? {
                0 => break,
                n => out.write_all(&bytes[..n]).ctx(printed)?,
            }
        }
        out.flush().ctx(printed)?;
        if !goes_on {
            return Ok(());
        }
        std::thread::sleep(EVERY);
    }
}

/// Where the last so many lines begin. Read from the end: a log may be large.
fn start_of_last(file: &mut File, lines: usize) -> std::io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(end);
    }
    let mut bytes = vec![0; CHUNK];
    let (mut at, mut seen) = (end, 0);
    while at > 0 {
        let from = at.saturating_sub(CHUNK as u64);
        let part = &mut bytes[..(at - from) as usize];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(part)?;
        for (i, byte) in part.iter().enumerate().rev() {
            let here = from + i as u64;
            // The newline that ends the last line begins no other.
            if *byte == b'\n' && here + 1 != end {
                seen += 1;
                if seen == lines {
                    return Ok(here + 1);
                }
            }
        }
        at = from;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines() {
        let path = std::env::temp_dir().join(format!("podkeel-log-{}", std::process::id()));
        let long = "x".repeat(100_000);
        for (text, tail, expected) in [
            ("a\nb\nc\n", Some(2), "b\nc\n"),
            ("a\nb\nc", Some(2), "b\nc"),
            ("a\nb\nc\n", Some(3), "a\nb\nc\n"),
            ("a\nb\nc\n", Some(9), "a\nb\nc\n"),
            ("a\nb\nc\n", Some(0), ""),
            ("a\nb\nc\n", None, "a\nb\nc\n"),
            ("", Some(1), ""),
            ("\n\n", Some(1), "\n"),
            (&format!("a\n{long}\nb\n"), Some(2), &format!("{long}\nb\n")),
        ] {
            std::fs::write(&path, text).unwrap();
            let mut out = Vec::new();
            copy(&path, tail, &mut || false, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{tail:?} of {:.20}", text);
        }
        std::fs::remove_file(&path).unwrap();
    }
}
