//! What is being done, on stderr, once it has taken more than a second.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long nobody needs to be told, and how often they are told from then on.
const EVERY: Duration = Duration::from_secs(1);

/// Tells as long as it lives. No thread of it is left when it is dropped.
#[derive(Debug)]
pub struct Progress {
    step: Arc<Mutex<String>>,
    teller: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins; nothing is said in the first second.
    pub fn start() -> Progress {
        let step = Arc::new(Mutex::new(String::new()));
        let (stop, stopped) = channel();
        let shared = Arc::clone(&step);
        let tell = move || {
            let terminal = std::io::stderr().is_terminal();
            let mut last = String::new();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let now = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if now == last {
                    continue;
                }
                let line = if terminal { format!("\r\x1b[K{now}") } else { format!("{now}\n") };
                // Who can't be told is spared.
                let _ = std::io::stderr().write_all(line.as_bytes());
                last = now;
            }
            if terminal && !last.is_empty() {
                let _ = std::io::stderr().write_all(b"\r\x1b[K");
            }
        };
        // Without a thread there is no progress to be seen, and that is all.
        let teller = thread::Builder::new().spawn(tell).ok().map(|thread| (stop, thread));
        Progress { step, teller }
    }

    /// Says what is being done now.
    pub fn step(&self, what: String) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.teller.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}
