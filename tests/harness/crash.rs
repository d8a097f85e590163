//! The driver passes a program that keeps its word, and finds one that does not.

use std::fs;
use std::process::Command;

use super::common::crash::{Harm, Point, Tally, for_every_point};
use super::common::trace::Program;
use super::common::{Kind, scratch, world};
use super::fails;

/// Runs a shell script that is to leave `f` absent or with all of its content, and to
/// leave it complete when it reports success.
fn hunt(script: &str) -> Tally {
    let file = scratch().join("f");
    let make =
        || Program::new("sh").args(["-ec", &format!("cd {}; {script}", scratch().display())]);
    let clean = || {
        for name in ["f", "f.tmp"] {
            fs::remove_file(scratch().join(name)).ok();
        }
    };
    let mut unharmed = 0;
    let mut verify = |point: &Point| {
        let content = fs::read_to_string(&file).ok();
        clean();
        let success = point.outcome.status.success();
        unharmed += usize::from(point.harm == Harm::None);
        match content.as_deref() {
            Some("ab") => vec![],
            None if !success => vec![],
            other => vec![format!("f is {other:?}, success is {success}")],
        }
    };
    let tally = for_every_point(script, &make, &mut || clean(), &mut verify);
    assert!(unharmed > 0, "the run without harm is judged too");
    tally
}

#[test]
fn an_atomic_write_survives_every_point() {
    world(Kind::User, || {
        let tally = hunt("printf ab >f.tmp; mv f.tmp f");
        assert!(tally.kills > 50 && tally.fails > 30 && tally.unfailing > 5, "{tally:?}");
    });
}

#[test]
fn a_torn_write_is_found_at_a_kill_and_found_again() {
    world(Kind::User, || {
        let text = fails(|| hunt("printf a >f; printf b >>f"));
        let again = text.split("PODKEEL_CRASH_POINT=").nth(1).expect("how to see it again");
        assert!(again.starts_with("kill:") && text.contains("success is false"), "{text}");
        if std::env::var_os("PODKEEL_CRASH_POINT").is_none() {
            // The named point alone, in a new run, finds the same.
            let output = Command::new(std::env::current_exe().expect("exe"))
                .args(["crash::a_torn_write_is_found_at_a_kill_and_found_again", "--exact"])
                .args(["--nocapture"])
                .env_remove("PODKEEL_TEST_WORLD")
                .env("PODKEEL_CRASH_POINT", again)
                .output()
                .expect("this program");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{again}: {told}");
            assert!(told.contains(&format!("PODKEEL_CRASH_POINT={again}")), "{told}");
        }
    });
}

#[test]
fn an_ignored_error_is_found_at_a_failing_call() {
    world(Kind::User, || {
        let text = fails(|| hunt("printf ab >f.tmp || true; [ -s f.tmp ] && mv f.tmp f; true"));
        assert!(text.contains("see it again: PODKEEL_CRASH_POINT=fail:"), "{text}");
        assert!(text.contains("f is None, success is true"), "{text}");
    });
}

#[test]
fn a_panic_of_the_judge_is_told_with_its_point() {
    world(Kind::User, || {
        let make = || Program::new("/bin/true");
        let mut verify = |point: &Point| {
            assert!(point.harm != Harm::Kill, "dead");
            vec![]
        };
        let text = fails(|| for_every_point("true", &make, &mut || (), &mut verify));
        assert!(text.contains("true: killed at call 1 ") && text.contains("dead"), "{text}");
    });
}

#[test]
fn a_run_that_hangs_is_a_fault() {
    world(Kind::User, || {
        // cat of a fifo: without the failing of a call it ends, with one it waits.
        let script = "exec 3<>/run/scratch/p; echo x >&3 || true; read -r line <&3";
        let make = || {
            let script = format!("[ -p /run/scratch/p ] || mkfifo /run/scratch/p; {script}");
            Program::new("sh").args(["-c", &script]).deadline(std::time::Duration::from_secs(1))
        };
        let text = fails(|| for_every_point("fifo", &make, &mut || (), &mut |_| vec![]));
        assert!(text.contains("did not end by itself"), "{text}");
    });
}
