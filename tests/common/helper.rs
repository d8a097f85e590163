//! Helper programs of tests: one source file each, compiled with rustc alone.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A helper program by its name: made from `tests/NAME/helper.rs` unless it is there
/// already and not older. Where there is no source (in a VM), it is used as it is.
pub fn helper(name: &str) -> PathBuf {
    helper_in(Path::new(env!("CARGO_TARGET_TMPDIR")), name, &[])
}

/// One in another folder, compiled with these words, too.
pub fn helper_in(dir: &Path, name: &str, words: &[String]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/{name}/helper.rs"));
    let helper = dir.join(format!("{name}-helper"));
    let at = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    if at(&helper) < at(&source) {
        // Several tests at once: each makes its own, and the last one stays.
        let thread = std::thread::current().id();
        let own = dir.join(format!("{name}-helper.{}.{thread:?}", std::process::id()));
        let mut rustc = Command::new(env!("PODKEEL_RUSTC"));
        rustc.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"]);
        let made = rustc.arg(&own).args(words).arg(&source).output().expect("run rustc");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::rename(own, &helper).expect("rename");
    }
    helper
}
