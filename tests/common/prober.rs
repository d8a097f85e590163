//! A neighbour who keeps knocking while something else happens.
//!
//! What is closed before it is built must never let a packet through in between;
//! one look before and one after do not show that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::netns::{Ns, in_netns};
use super::traffic::{Answer, tcp_here, udp_here};

/// What is knocked at.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    #[allow(missing_docs)]
    Tcp(SocketAddr),
    #[allow(missing_docs)]
    Udp(SocketAddr),
}

/// Keeps asking from the moment it is started until it is stopped.
///
/// What closes a port must let neighbour discovery (ICMPv6) through, or the prober's
/// kernel gives up on the address for longer than a short hole is open.
pub struct Prober {
    stop: Arc<AtomicBool>,
    tries: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<Answer>>>,
}

impl Prober {
    /// Starts one thread per target in `ns`; each waits 20 ms at most for an answer.
    pub fn start(ns: &Ns, targets: &[Target]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tries = Arc::new(AtomicUsize::new(0));
        let threads = targets.iter().map(|target| {
            let (ns, target) = (ns.clone(), *target);
            let (stop, tries) = (Arc::clone(&stop), Arc::clone(&tries));
            std::thread::spawn(move || in_netns(&ns, || knock(target, &stop, &tries)))
        });
        let threads = threads.collect();
        Self { stop, tries, threads }
    }

    /// Questions asked so far, over all targets.
    pub fn tries(&self) -> usize {
        self.tries.load(Ordering::Relaxed)
    }

    /// Waits until `more` further questions have been asked.
    pub fn wait(&self, more: usize) {
        let goal = self.tries() + more;
        while self.tries() < goal {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the knocking; returns the answers that came. A packet that got in while
    /// its answer was lost is in the server's own [`super::traffic::Server::seen`].
    ///
    /// Panics when nothing was ever asked: that would prove nothing.
    pub fn stop(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.threads.into_iter().map(|t| t.join().expect("the prober's thread"));
        let answers = joined.flatten().collect();
        assert!(self.tries.load(Ordering::Relaxed) > 0, "the prober never got to ask");
        answers
    }
}

fn knock(target: Target, stop: &AtomicBool, tries: &AtomicUsize) -> Vec<Answer> {
    let within = Duration::from_millis(20);
    let mut answers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let answer = match target {
            Target::Tcp(to) => tcp_here(to, within),
            Target::Udp(to) => udp_here(to, within),
        };
        tries.fetch_add(1, Ordering::Relaxed);
        answers.extend(answer);
        // A refusal comes at once: do not take the whole CPU from what is probed.
        std::thread::sleep(Duration::from_micros(200));
    }
    answers
}
