//! The harness under test: every detector that other tests rely on is shown to detect,
//! on ordinary programs (`ip`, `nft`, `sh`, `/bin/true`).

#[path = "../common/mod.rs"]
mod common;

mod crash;
mod dump;
mod net;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what must fail, and returns what it says.
fn fails<T>(body: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(body)) else { panic!("should have failed") };
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).expect("a message")
}

/// Whether, within two seconds, no process has `word` among its arguments (another run
/// of this program may be at the same place just now).
fn gone(word: &str) -> bool {
    (0..40).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        !runs(word)
    })
}

/// Whether any process has `word` among its arguments.
fn runs(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("/proc");
    processes.flatten().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).any(|arg| arg == word.as_bytes())
    })
}
