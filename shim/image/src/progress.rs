//! What is being done, on stderr, once it has taken more than a second.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long nobody needs to be told, and how often they are told from then on.
const EVERY: Duration = Duration::from_secs(1);

/// The signs of a whole bar.
const WIDTH: usize = 24;

/// Tells as long as it lives: on a terminal a bar in one line that is drawn over, elsewhere a
/// line for each step. No thread of it is left when it is dropped.
#[derive(Debug)]
pub struct Progress {
    step: Arc<Mutex<Step>>,
    teller: Option<(Sender<()>, JoinHandle<()>)>,
}

/// What is being done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    what: String,
    /// Steps behind it, and steps in all; none where they aren't known.
    done: Option<(usize, usize)>,
}

impl Step {
    fn line(&self, terminal: bool) -> String {
        match (terminal, self.done) {
            (true, Some((done, all))) => {
                let filled = WIDTH * done.min(all) / all.max(1);
                let bar = "#".repeat(filled) + &"-".repeat(WIDTH - filled);
                format!("\r\x1b[K[{bar}] {done}/{all}  {}", self.what)
            }
            (true, None) => format!("\r\x1b[K{}", self.what),
            (false, Some((done, all))) => format!("{} ({done} of {all} done)\n", self.what),
            (false, None) => format!("{}\n", self.what),
        }
    }
}

impl Progress {
    /// Begins; nothing is said in the first second.
    pub fn start() -> Progress {
        let step = Arc::new(Mutex::new(Step::default()));
        let (stop, stopped) = channel();
        let shared = Arc::clone(&step);
        let tell = move || {
            let terminal = std::io::stderr().is_terminal();
            let mut last = Step::default();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let now = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if now == last {
                    continue;
                }
                // Who can't be told is spared.
                let _ = std::io::stderr().write_all(now.line(terminal).as_bytes());
                last = now;
            }
            if terminal && last != Step::default() {
                let _ = std::io::stderr().write_all(b"\r\x1b[K");
            }
        };
        // Without a thread there is no progress to be seen, and that is all.
        let teller = thread::Builder::new().spawn(tell).ok().map(|thread| (stop, thread));
        Progress { step, teller }
    }

    /// Says what is being done now.
    pub fn step(&self, what: String) {
        self.tell(Step { what, done: None });
    }

    /// The same of one of several steps, of which so many are done.
    pub fn part(&self, what: String, done: usize, all: usize) {
        self.tell(Step { what, done: Some((done, all)) });
    }

    fn tell(&self, step: Step) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_as_steps_are_done() {
        let line = |done, all| {
            let step = Step { what: "r.example/a:1".into(), done: Some((done, all)) };
            step.line(true)
        };
        for (done, filled) in [(0, 0), (1, 2), (6, 12), (12, 24), (13, 24)] {
            let bar = "#".repeat(filled) + &"-".repeat(WIDTH - filled);
            assert_eq!(line(done, 12), format!("\r\x1b[K[{bar}] {done}/12  r.example/a:1"));
        }
        assert!(line(0, 0).contains("0/0"));
    }
}
