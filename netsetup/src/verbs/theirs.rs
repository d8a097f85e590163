//! DEL of what may be another's: the reference plugins leave no record of ours, but what they
//! make can be told by its names, so that a node changes over with pods alive.
//!
//! ```text
//!   links     the pod's interface, if it is of the plugin's kind; one that was lent goes home
//!   rules     of iptables-nft's tables and of nft's: kernel::reference
//!   settings  of a link before tuning changed them: <dataDir>/<container>_<ifname>.json
//! ```
//!
//! Leases have one form for both, and are no matter of whose.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Context, del};
use crate::error::{Context as _, Error, Kind, Result};
pub use crate::kernel::reference::Rules as TheirRules;
use crate::kernel::reference::{self, Whose};
use crate::kernel::{Netns, Nft};
use crate::plan::{self, Lent, LinkAttr, Pod};
use crate::record::Id;
use crate::request::names::check_ifname;

/// Where something of an attachment may be that has no record.
#[derive(Clone, Debug, Default)]
pub struct Remains {
    /// Directories of leases.
    pub leases: Vec<PathBuf>,
    /// The pod's namespace, where an interface of the attachment's name is its own.
    pub netns: Option<PathBuf>,
    /// What the reference plugin of this name makes there.
    pub link: Option<TheirLink>,
    /// The rules that it makes.
    pub rules: Option<TheirRules>,
    /// Where it keeps the settings that a link had before.
    pub settings: Option<PathBuf>,
}

/// What a reference plugin's interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TheirLink {
    /// A link, by the kernel's name for its kind.
    Made(&'static str),
    /// A link of the host's, whose name there is its alias.
    Lent,
}

/// Takes an attachment away, whoever made it.
///
/// # Errors
/// As [`super::del()`].
pub fn detach(context: &Context, id: &Id, remains: &Remains) -> Result<()> {
    if del::del_with(context, id, &remains.leases)? == del::Deleted::Gone {
        return Ok(());
    }
    let rules = remains.rules.as_ref().map_or(Ok(()), |rules| {
        let whose = Whose { network: &id.network, container: &id.container, ifname: &id.ifname };
        reference::remove(&mut Nft::open()?, whose, rules)
    });
    let settings = remains.settings.as_deref().map_or(Ok(()), |dir| put_back(dir, id, remains));
    let link = remains.link.map_or(Ok(()), |theirs| drop_link(id, remains, theirs));
    rules.and(settings).and(link)
}

/// The pod, if it is there and isn't the host: that holds no pod's interface.
fn pod_of(remains: &Remains) -> Result<Option<Pod>> {
    let Some(path) = &remains.netns else { return Ok(None) };
    let netns = match Netns::open(path) {
        Ok(netns) => netns,
        Err(e) if matches!(e.kind, Kind::Missing | Kind::Input) => return Ok(None),
        Err(e) => return Err(e),
    };
    if Netns::own()?.same(&netns) { Ok(None) } else { Pod::open(netns).map(Some) }
}

/// Removes what the reference plugin made, by its end in a pod; what it has lent goes home. A
/// namespace that is gone took it along.
fn drop_link(id: &Id, remains: &Remains, theirs: TheirLink) -> Result<()> {
    let Some(mut pod) = pod_of(remains)? else { return Ok(()) };
    let Some(link) = pod.rtnl.link(&id.ifname)? else { return Ok(()) };
    match theirs {
        TheirLink::Made(kind) if link.kind.as_deref() == Some(kind) => {
            pod.rtnl.delete_link(&link).map(|_| ())
        }
        TheirLink::Made(_) => Ok(()),
        TheirLink::Lent => {
            let Some(from) = link.alias.clone().filter(|name| check_ifname(name).is_ok()) else {
                return Ok(());
            };
            let to = id.ifname.clone();
            let lent = Lent { from, to, mac: None, alias: None, up: false };
            plan::send_home(&mut pod.rtnl, &link, &lent)
        }
    }
}

/// What tuning has noted of a link. The names are those of configToRestore in
/// plugins/meta/tuning/tuning.go of github.com/containernetworking/plugins.
#[derive(Debug, Deserialize)]
struct Before {
    mac: Option<String>,
    mtu: Option<u32>,
    promisc: Option<bool>,
    allmulti: Option<bool>,
    #[serde(rename = "txQLen")]
    txqlen: Option<u32>,
}

impl Before {
    /// What a link is to have again.
    fn settings(&self) -> impl Iterator<Item = (LinkAttr, String)> {
        let flag = |on: bool| u8::from(on).to_string();
        let number = |n: u32| n.to_string();
        let all = [
            (LinkAttr::Mtu, self.mtu.map(number)),
            (LinkAttr::Mac, self.mac.clone()),
            (LinkAttr::Promisc, self.promisc.map(flag)),
            (LinkAttr::Allmulti, self.allmulti.map(flag)),
            (LinkAttr::Txqlen, self.txqlen.map(number)),
        ];
        all.into_iter().filter_map(|(attr, value)| Some((attr, value?)))
    }
}

/// Gives a link the settings back that it had before the reference's tuning, and removes its
/// note. One that isn't JSON says nothing, and goes; below a file there is none.
fn put_back(dir: &Path, id: &Id, remains: &Remains) -> Result<()> {
    let file = dir.join(format!("{}_{}.json", id.container, id.ifname));
    let text = match std::fs::read(&file) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(());
        }
        other => other.ctx(|| format!("read {}", file.display()))?,
    };
    if let Ok(before) = serde_json::from_slice::<Before>(&text)
        && let Some(mut pod) = pod_of(remains)?
        && pod.rtnl.link(&id.ifname)?.is_some()
    {
        for (attr, value) in before.settings() {
            plan::set_attr(&mut pod.rtnl, &id.ifname, attr, &value)?;
        }
    }
    match std::fs::remove_file(&file) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", file.display()), &e))
        }
        _ => Ok(()),
    }
}
