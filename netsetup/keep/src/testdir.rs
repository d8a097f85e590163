//! A directory of one test's own, removed when the test is over.

use std::{
    env, fs,
    ops::Deref,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The directory; used as a path.
pub(crate) struct TestDir(PathBuf);

impl TestDir {
    /// Makes it, empty.
    pub(crate) fn new() -> TestDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("podkeel-test-{}-{number}", process::id()));
        fs::create_dir(&path).expect("a new directory for the test");
        TestDir(path)
    }
}

impl Deref for TestDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        // A failed test has already said what matters.
        let _ = fs::remove_dir_all(&self.0);
    }
}
