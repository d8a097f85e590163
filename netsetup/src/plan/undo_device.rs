//! drop, of links by themselves and of members.

use podkeel_wire::rt::{self, Link};

use super::device::Device;
use super::object::{Object, Side};
use super::{Step, World};
use crate::error::Result;
use crate::kernel::Rtnl;

/// One of this attachment alone.
pub(super) fn drop_own(world: &mut World, step: &Step, device: &Device) -> Result<()> {
    drop_unnamed(world, step.at)?;
    let mark = world.mark.clone();
    let rtnl = world.rtnl(step.at)?;
    match rtnl.link(&device.name)? {
        Some(link) if mark.is(link.alias.as_deref()) => rtnl.delete_link(&link).map(|_| ()),
        _ => Ok(()),
    }
}

/// One that was cut off before it got its name.
pub(super) fn drop_unnamed(world: &mut World, at: Side) -> Result<()> {
    let unnamed = world.mark.unnamed();
    let rtnl = world.rtnl(at)?;
    match rtnl.link(&unnamed)? {
        Some(link) => rtnl.delete_link(&link).map(|_| ()),
        None => Ok(()),
    }
}

/// A shared one that nobody holds any more, if it wears our mark.
pub fn drop_device(host: &mut Rtnl, name: &str, shared: &str) -> Result<()> {
    match host.link(name)? {
        Some(link) if link.alias.as_deref() == Some(shared) => host.delete_link(&link).map(|_| ()),
        _ => Ok(()),
    }
}

/// A link leaves its master.
pub(super) fn leave(world: &mut World, step: &Step) -> Result<()> {
    let Object::Member { link, master } = &step.what else { return Ok(()) };
    let rtnl = world.rtnl(step.at)?;
    let (Some(info), Some(of)) = (rtnl.link(link)?, rtnl.link(master)?) else { return Ok(()) };
    if info.master != Some(of.index) {
        return Ok(());
    }
    let mut batch = rtnl.socket.batch();
    let alone = Link { index: info.index, master: Some(0), ..Link::default() };
    rt::new_link(&mut batch, rt::REQUEST, &alone);
    match rtnl.socket.exchange(batch, |_| {})?.first() {
        Some(r) if r.errno != libc::ENODEV => Err(r.error(format!("take {link} out of {master}"))),
        _ => Ok(()),
    }
}
