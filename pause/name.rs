//! Which program pause is asked to be: by the name that it is called by, or by `--`.

use crate::sys::{Stack, Str};

/// The inits in whose place pause can stand, and pause itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Pause,
    Tini,
    DumbInit,
    Catatonit,
}

/// The init that is asked for, and the word that pause is called by; none for a pause that only holds a pod.
///
/// Words that pause doesn't know mean nothing to it, as to the Kubernetes pause: only
/// `--` makes it an init, and help and `--version` are what an init has.
pub(crate) fn asked(stack: &Stack) -> Option<(Name, Str<'static>)> {
    let mut args = stack.args();
    let path = args.next()?;
    let name = path.behind_last(b'/').unwrap_or(path);
    let names = c"tini tini-static docker-init dumb-init catatonit podman-init";
    let asked = match name.place_in(Str::new(names)).0 {
        0..=2 => Name::Tini,
        3 => Name::DumbInit,
        4 | 5 => Name::Catatonit,
        _ => {
            let flags = Str::new(c"-- -h --help --version");
            args.find(|arg| arg.place_in(flags).0 < 4)?;
            Name::Pause
        }
    };
    Some((asked, name))
}
