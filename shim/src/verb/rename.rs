//! `shim rename`: another name for a container. Its id, and all that is on record under
//! it, stays.

use podkeel_netsetup::error::{Error, Kind, Result};

use crate::record::{self, Held};
use crate::{Shim, base};

/// Renames; only the network namespace of a base is known to others by its name.
pub fn rename(shim: &Shim, old: &str, new: &str) -> Result<i32> {
    let roots = &shim.context.roots;
    record::check(new)?;
    let mut held = Held::open(roots, old)?;
    let what = || format!("rename {old} to {new}");
    if held.container.phase != record::Phase::Ready {
        let why = format!("its state is {}", held.container.state(roots, &shim.boot).word());
        return Err(Error::input(what(), why));
    }
    if old == new {
        return Ok(0);
    }
    if record::read(roots, new)?.is_some() {
        return Err(Error::new(Kind::Taken, what(), "there is one of that name"));
    }
    base::settle_pins(shim, &mut held)?;
    base::pin_also(shim, &mut held, new)?;
    let renamed = held.rename(new);
    let settled = base::settle_pins(shim, &mut held);
    renamed.and(settled).map(|()| 0)
}
