//! The sysctls that an administrator lets networks set: the reference's
//! `/etc/cni/tuning/allowlist.conf`, a regular expression a line. Where the file is
//! missing, all of `net.*` may be set.

use std::fs;
use std::path::Path;

use super::pattern::Pattern;
use crate::error::{Context, Error, Kind, Result};
use crate::request::SysctlSetting;

/// Where the reference has it, fixed: whoever calls a plugin must not choose another.
const PATH: &str = "/etc/cni/tuning/allowlist.conf";

/// Fails if one of the settings is not in the list. They are as they were asked for,
/// `IFNAME` among their parts, and are looked up in the dotted form however they were
/// spelt.
///
/// # Errors
/// [`Kind::Denied`]; [`Kind::Input`] for a line that is no regular expression; a file
/// that can't be read.
pub fn allow<'a>(settings: impl Iterator<Item = &'a SysctlSetting>) -> Result<()> {
    let mut settings = settings.peekable();
    if settings.peek().is_none() {
        return Ok(());
    }
    let what = || format!("read {PATH}");
    let text = match fs::read(Path::new(PATH)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.ctx(what)?,
    };
    let text = String::from_utf8(text).map_err(|_| Error::input(what(), "it is not UTF-8"))?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // Read through before any is looked up: a wrong line must not count as none.
    let patterns: Vec<Pattern> = lines
        .iter()
        .map(|line| {
            Pattern::new(line).map_err(|why| Error::input(what(), format!("{line:?}: {why}")))
        })
        .collect::<Result<_>>()?;
    for setting in settings {
        let key = setting.key();
        if !patterns.iter().any(|pattern| pattern.is_in(&key)) {
            let why = format!("{PATH} doesn't have it; it allows {}", lines.join(" "));
            return Err(Error::new(Kind::Denied, format!("set sysctl {key}"), why));
        }
    }
    Ok(())
}
