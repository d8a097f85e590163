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

/// The init that is asked for; none for a pause that only holds a pod.
///
/// Words that pause doesn't know mean nothing to it, as to the Kubernetes pause: only
/// `--` makes it an init, and help and `--version` are what an init has.
pub(crate) fn asked(stack: &Stack) -> Option<Name> {
    let mut args = stack.args();
    let mut name = args.next()?;
    let mut path = name;
    while !path.is_empty() {
        let slash = path.first() == b'/';
        path = path.rest();
        name = if slash { path } else { name };
    }
    let names = c"tini tini-static docker-init dumb-init catatonit podman-init";
    match name.place_in(Str::new(names)).0 {
        0..=2 => Some(Name::Tini),
        3 => Some(Name::DumbInit),
        4 | 5 => Some(Name::Catatonit),
        _ => {
            let flags = Str::new(c"-- -h --help --version");
            args.any(|arg| arg.place_in(flags).0 < 4).then_some(Name::Pause)
        }
    }
}
