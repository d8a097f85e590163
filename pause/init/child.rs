//! The child, from its first instruction to the program that it becomes.

use super::say::say;
use super::{Job, LAST, NOTHING};
use crate::name::Name;
use crate::sys::{self, EACCES, ENOENT, ENOEXEC, ENOTDIR, Room, SIGCHLD, Str, Text, Words};
use core::mem::MaybeUninit;

/// Longest path, in bytes, with its zero (`linux/limits.h`).
const PATH_MAX: usize = 4096;
/// Where programs are looked for without a PATH: as the C library does.
const PATH: Str = Str::new(c"/bin:/usr/bin");
/// `LISTEN_PID=`, ten digits, zero.
const LISTEN_MAX: usize = 24;

/// Runs in the child; returns the exit code if there is no program to become.
///
/// It shares the memory of the init, which stands still meanwhile: what is written here
/// is the child's own stack, and the pointer to one variable of the environment.
pub(crate) fn run(job: &Job) -> u8 {
    let wishes = job.wishes;
    if wishes.session() {
        if sys::new_session().is_ok() {
            let _ = sys::take_terminal(sys::STDIN);
        }
    } else if wishes.name != Name::DumbInit && sys::new_group().is_ok() && job.terminal >= 0 {
        // From the background, with TTOU blocked: a change of the foreground is no
        // offence then.
        let _ = sys::set_foreground(job.terminal, sys::getpid());
    }
    let mut room: Room<LISTEN_MAX> = [const { MaybeUninit::uninit() }; LISTEN_MAX];
    listen_pid(job, &mut room);
    if wishes.name == Name::DumbInit {
        // Whatever the caller ignores; of those above, dumb-init knows nothing.
        for signal in 1..=LAST as i32 {
            let _ = sys::by_default(signal);
        }
    } else if job.ignored_chld {
        let _ = sys::ignore(SIGCHLD);
    }
    let _ = sys::swap_mask(&job.mask, &mut 0);
    let errno = execute(job.environment, wishes.command);
    let program = wishes.command.clone().next().unwrap_or(NOTHING);
    say(wishes, c"cannot execute $: !", program, errno);
    if errno == ENOENT || errno == ENOTDIR { 127 } else { 126 }
}

/// Sockets that were handed to the init are the child's: sd_listen_fds(3).
fn listen_pid(job: &Job, room: &mut Room<LISTEN_MAX>) {
    const NAME: Str = Str::new(c"LISTEN_PID=");
    let mut words = job.environment;
    while let Some(word) = words.next() {
        let Some(pid) = word.after(NAME) else { continue };
        if pid.number().0 != job.pid as usize {
            return;
        }
        let mut text = Text::new(room);
        text.fill(Str::new(c"LISTEN_PID=#"), NOTHING, sys::getpid() as usize);
        if let Some(text) = text.string() {
            sys::replace(words, text);
        }
        return;
    }
}

/// Becomes the program, which is looked for as execvp(3) does; returns why it couldn't.
fn execute(environment: Words, command: Words) -> i32 {
    let Some(name) = command.clone().next() else { return ENOENT };
    if name.behind_last(b'/').is_some() {
        return become_file(name, environment, command);
    }
    let mut path = environment.clone().find_map(|word| word.after(Str::new(c"PATH=")));
    let mut room: Room<PATH_MAX> = [const { MaybeUninit::uninit() }; PATH_MAX];
    let mut reason = ENOENT;
    let folders = path.get_or_insert(PATH);
    loop {
        let mut file = Text::new(&mut room);
        while !matches!(folders.first(), 0 | b':') {
            file.byte(folders.first());
            *folders = folders.rest();
        }
        // No name stands for the working directory.
        if !file.is_empty() {
            file.byte(b'/');
        }
        file.push(name);
        if let Some(file) = file.string() {
            match become_file(file, environment, command) {
                ENOENT | ENOTDIR => {}
                EACCES => reason = EACCES,
                other => return other,
            }
        }
        if folders.is_empty() {
            return reason;
        }
        *folders = folders.rest();
    }
}

fn become_file(path: Str, environment: Words, command: Words) -> i32 {
    match sys::execute(path, command, environment) {
        ENOEXEC => sys::execute_script(path, command, environment),
        other => other,
    }
}
