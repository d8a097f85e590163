//! Signals: passed on, sent while a program is being started, and ^C at a terminal.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::bed::{Before, SHIM, any, before, end, inspect, kill, ok, spawn, until};
use super::common::{Kind, sh_out, world};
use super::share::helper;

/// The same numbers each time, spread over `most` microseconds.
fn delays(count: u64, most: u64) -> impl Iterator<Item = Duration> {
    (0..count).map(move |i| Duration::from_micros(i.wrapping_mul(2_654_435_761) % most))
}

/// Started without a shell in between, so that the delay is counted from shim's own start.
fn start(words: &str) -> std::process::Child {
    let mut command = Command::new(SHIM);
    command.args(words.split_whitespace()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("shim")
}

fn wait_exactly(delay: Duration) {
    let start = Instant::now();
    while start.elapsed() < delay {
        std::hint::spin_loop();
    }
}

const IN: &str = "--net=container:base --ipc=container:base --pid=container:base";

#[test]
fn passed_on_to_the_program() {
    let helper = helper();
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        for name in ["", "--name app"] {
            let mut child = spawn(&format!("shim join $in {name} -- {helper} signals"));
            let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
            let mut line = || {
                let mut line = String::new();
                std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
                line.trim().to_owned()
            };
            assert_eq!(line(), "ready");
            let pid = child.id().cast_signed();
            let real_time = libc::SIGRTMIN() + 1;
            sh_out(&format!("kill -{real_time} {pid}"));
            assert_eq!(line(), real_time.to_string());
            for signal in [
                Signal::SIGHUP,
                Signal::SIGINT,
                Signal::SIGQUIT,
                Signal::SIGUSR1,
                Signal::SIGUSR2,
                Signal::SIGALRM,
                Signal::SIGWINCH,
                Signal::SIGCONT,
                Signal::SIGTSTP,
                Signal::SIGURG,
                Signal::SIGTERM,
            ] {
                kill(pid, signal);
                assert_eq!(line(), (signal as i32).to_string());
            }
            assert_eq!(end(&mut child).code(), Some(0));
            any("shim rm app");
        }
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

/// The program is told, or shim ends by the signal: never is one lost, and nothing is left.
#[test]
fn while_a_program_is_being_started() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let with = Before::now();
        let (mut by_shim, mut by_program) = (0, 0);
        for (i, delay) in delays(240, 6000).enumerate() {
            let signal = [Signal::SIGTERM, Signal::SIGINT][i % 2];
            let named = ["", "--name app"][i / 2 % 2];
            let mut child = start(&format!("join {IN} {named} -- sleep 1000"));
            wait_exactly(delay);
            kill(child.id().cast_signed(), signal);
            // It ends: the signal wasn't lost.
            let status = end(&mut child);
            match (status.signal(), status.code()) {
                (Some(number), None) if number == signal as i32 => by_shim += 1,
                (None, Some(code)) if code == 128 + signal as i32 => by_program += 1,
                _ => panic!("{signal} after {delay:?}: {status:?}"),
            }
            any("shim rm -f app");
            let left = with.left_processes();
            assert!(left.is_empty(), "{signal} after {delay:?}: {left:?}");
        }
        println!("{by_shim} ended shim, {by_program} the program");
        assert!(by_program > 0, "no signal came late enough");
        with.is_now("240 signals");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

/// Either it runs detached and is on record, or shim ends by the signal and nothing is there.
#[test]
fn while_one_is_being_detached() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        let with = Before::now();
        for (i, delay) in delays(120, 6000).enumerate() {
            let signal = [Signal::SIGTERM, Signal::SIGINT][i % 2];
            let mut child = start(&format!("join {IN} -d --name app -- sleep 1000"));
            wait_exactly(delay);
            kill(child.id().cast_signed(), signal);
            let status = end(&mut child);
            match (status.signal(), status.code()) {
                (None, Some(0)) => assert_eq!(inspect("app")["status"], "running"),
                (Some(number), None) if number == signal as i32 => {}
                _ => panic!("{signal} after {delay:?}: {status:?}"),
            }
            any("shim rm -f app");
            let left = with.left_processes();
            assert!(left.is_empty(), "{signal} after {delay:?}: {left:?}");
        }
        with.is_now("120 signals");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

#[test]
fn while_a_base_is_being_started() {
    world(Kind::User, || {
        let before = before(true);
        for (i, delay) in delays(90, 40_000).enumerate() {
            let signal = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP][i % 3];
            let detach = ["", "-d"][i / 3 % 2];
            let mut child = start(&format!("run {detach} --name base -p 8080:80"));
            wait_exactly(delay);
            kill(child.id().cast_signed(), signal);
            let status = end(&mut child);
            let number = signal as i32;
            match (status.signal(), status.code()) {
                // Detached, and all there; in the foreground it is pause that ended.
                (None, Some(0)) if detach == "-d" => {
                    assert_eq!(inspect("base")["status"], "running");
                }
                (None, Some(0)) => assert_eq!(ok("shim ps -q"), "", "{signal} after {delay:?}"),
                (Some(by), None) if by == number => {}
                (None, Some(code)) if code == 128 + number => {
                    assert_eq!(ok("shim ps -q"), "", "{signal} after {delay:?}: rolled back");
                }
                _ => panic!("{signal} after {delay:?}: {status:?}"),
            }
            any("shim rm -f base");
            let left = before.left_processes();
            assert!(left.is_empty(), "{signal} after {delay:?}: {left:?}");
        }
        before.is_now("90 signals");
    });
}

/// A pty, by script(1): what is written to its input is typed at the terminal.
fn at_a_terminal(line: &str) -> std::process::Child {
    let dir = std::path::Path::new(SHIM).parent().expect("a directory").display();
    let words = format!("PATH={dir}:$PATH; exec script -qefc '{line}' /dev/null");
    let mut command = Command::new("sh");
    // script starts the line by $SHELL, and not every shell gives its own process up for
    // the last command: a line that wants no shell above shim says exec.
    command.args(["-c", &words]).env("SHELL", "/bin/sh");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh")
}

/// Both shim and the program are in the terminal's foreground group, and the kernel sends
/// ^C to both: the program gets one SIGINT, not a second one from shim.
#[test]
fn control_c_comes_once() {
    let helper = helper();
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        // Neither an echo between the lines, nor a key that drops what is on its way.
        let quiet = "stty -echo noflsh";
        let mut child = at_a_terminal(&format!("{quiet}; exec shim join {IN} -- {helper} signals"));
        let mut keys = child.stdin.take().expect("piped");
        let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let mut line = || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
            line.trim().to_owned()
        };
        until("ready", || line() == "ready");
        for _ in 0..40 {
            keys.write_all(&[3]).expect("^C");
            assert_eq!(line(), "2");
            // Time for a second one, which would be read in the place of the next.
            std::thread::sleep(Duration::from_millis(5));
            keys.write_all(&[28]).expect("^\\");
            assert_eq!(line(), "3");
        }
        let pid = sh_out("pgrep -f 'helper [s]ignals' | tail -1").parse().expect("a pid");
        kill(pid, Signal::SIGTERM);
        assert_eq!(line(), "15");
        assert!(end(&mut child).success());
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

/// ^C while the program is being started isn't lost between shim and its child.
#[test]
fn control_c_during_the_start() {
    world(Kind::User, || {
        let before = before(false);
        ok("shim run -d --name base --net none");
        for delay in delays(60, 12_000) {
            let mut child = at_a_terminal(&format!("echo go; exec shim join {IN} -- sleep 1000"));
            let mut keys = child.stdin.take().expect("piped");
            let mut out = child.stdout.take().expect("piped");
            std::io::Read::read_exact(&mut out, &mut [0; 2]).expect("go");
            wait_exactly(delay);
            keys.write_all(&[3]).expect("^C");
            assert_eq!(end(&mut child).code(), Some(130), "^C after {delay:?}");
        }
        let left = before.left_processes();
        assert_eq!(left.len(), 1, "pause alone: {left:?}");
        ok("shim rm -f base");
        before.is_now("rm -f");
    });
}

/// ^Z stops both, and `fg` continues both.
#[test]
fn job_control() {
    world(Kind::User, || {
        ok("shim run -d --name base --net none");
        let inner =
            format!("set -m; shim join {IN} -- sleep 7712; echo stopped \\$?; fg; echo end \\$?");
        let dir = std::path::Path::new(SHIM).parent().expect("a directory").display();
        let line = format!("script -qefc 'exec bash -c \"PATH={dir}:$PATH; {inner}\"' /dev/null");
        let mut command = Command::new("sh");
        command.args(["-c", &line]).env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("sh");
        let mut keys = child.stdin.take().expect("piped");
        until("the program", || !sh_out("pgrep -fx 'sleep 7712' || true").is_empty());
        keys.write_all(&[26]).expect("^Z");
        let stands = || sh_out("ps -eo stat=,args= | grep -c '^T.*[s]leep 7712' || true");
        let pid: i32 = sh_out("pgrep -fx 'sleep 7712'").parse().expect("a pid");
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        // fg follows at once, so only the shell's words tell of the stop.
        std::thread::sleep(Duration::from_millis(300));
        assert!(stat().contains(") S "), "continued: {} {}", stat(), stands());
        keys.write_all(&[3]).expect("^C");
        assert!(end(&mut child).success());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().expect("piped"), &mut text)
            .expect("read");
        assert!(text.contains("stopped 147") && text.contains("end 130"), "{text}");
        ok("shim rm -f base");
    });
}
