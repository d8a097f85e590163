//! A virtual machine: QEMU without acceleration, a kernel, an image, one serial line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What kind of machine.
#[derive(Clone, Copy)]
pub(super) struct Board {
    /// Its CPU, as Rust, GNU and QEMU call it.
    pub(super) cpu: &'static str,
    /// As Debian does.
    pub(super) debian: &'static str,
    words: &'static [&'static str],
    console: &'static str,
}

/// The PC that every QEMU has, with a network card for whoever loads its driver. Its cable
/// leads to QEMU itself, and no further.
pub(super) const PC: Board = Board {
    cpu: "x86_64",
    debian: "amd64",
    words: &["-M", "pc", "-netdev", "user,id=lan,restrict=on", "-device", CARD],
    console: "ttyS0",
};
const CARD: &str = "virtio-net-pci,netdev=lan,mac=52:54:00:00:00:07";

/// A CPU without pointer authentication, which takes much of the time in software.
pub(super) const ARM64: Board = Board {
    cpu: "aarch64",
    debian: "arm64",
    words: &["-M", "virt", "-cpu", "cortex-a72"],
    console: "ttyAMA0",
};

/// How a machine ended.
pub(super) struct End {
    /// Everything on its console.
    pub(super) console: String,
    /// Whether it was still running at its deadline.
    pub(super) hung: bool,
}

impl Board {
    /// Whether its programs run here, too.
    pub(super) fn is_own(&self) -> bool {
        self.cpu == std::env::consts::ARCH
    }

    /// A program of its CPU as a command here, with the libraries below a root.
    pub(super) fn command(&self, root: &Path, program: &Path) -> Command {
        if self.is_own() {
            return Command::new(program);
        }
        let mut command = Command::new(format!("qemu-{}", self.cpu));
        command.arg("-L").arg(root).arg(program);
        command
    }

    fn qemu(&self) -> String {
        format!("qemu-system-{}", self.cpu)
    }

    /// Boots, hands each line of the console to `line`, and waits until the machine is
    /// off. At the deadline it is ended.
    pub(super) fn boot(
        &self,
        kernel: &Path,
        image: &Path,
        deadline: Duration,
        mut line: impl FnMut(&str),
    ) -> End {
        let errors = tempfile(image);
        let mut qemu = self.start(kernel, image, &errors);
        let (sender, lines) = channel();
        let pipe = qemu.stdout.take().expect("stdout is piped");
        let reader = std::thread::spawn(move || {
            for bytes in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&bytes).replace('\r', "");
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
        let until = Instant::now() + deadline;
        let mut end = End { console: String::new(), hung: false };
        loop {
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(text) => {
                    line(&text);
                    end.console += &(text + "\n");
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    end.hung = true;
                    break;
                }
            }
        }
        if end.hung {
            let _ = qemu.kill();
        }
        let status = qemu.wait().expect("wait for QEMU");
        reader.join().expect("the console's reader");
        if !end.hung && !status.success() {
            let said = std::fs::read_to_string(&errors).unwrap_or_default();
            end.console += &format!("{}: {status}\n{said}", self.qemu());
        }
        end
    }

    fn start(&self, kernel: &Path, image: &Path, errors: &Path) -> Child {
        // quiet, loglevel: what is said on the console is the tests', but for a panic.
        // mitigations: of what no emulated CPU suffers from. no...: QEMU translates a program's
        // code anew wherever it lies elsewhere than before, which took most of its time. smp: a
        // second CPU has both wait for each other, for three times the time.
        let words = "panic=-1 quiet loglevel=1 mitigations=off nokaslr norandmaps";
        let append = format!("console={} {words}", self.console);
        // QEMU dies with the test.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", &self.qemu(), "-accel", "tcg"]).args(self.words);
        qemu.args("-m 1536 -smp 1 -nodefaults -no-user-config -no-reboot -display none".split(' '));
        qemu.args("-serial stdio -monitor none -net none".split(' '));
        qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(image).args(["-append", &append]);
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        qemu.stderr(File::create(errors).expect("a file for QEMU's errors"));
        qemu.spawn().unwrap_or_else(|e| panic!("cannot run {}: {e}", self.qemu()))
    }
}

/// Where QEMU's own words go: beside the image.
fn tempfile(image: &Path) -> std::path::PathBuf {
    image.with_extension("qemu")
}
