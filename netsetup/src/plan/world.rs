//! What a plan is applied to: the host's namespace, the pod's, and nftables.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;

use super::object::Side;
use crate::error::{Error, Kind, Result};
use crate::kernel::announce::{self, Announcement};
use crate::kernel::sysctl::ProcSys;
use crate::kernel::{Netns, NetnsId, Nft, Rtnl};
use crate::names::Mark;

/// A pod's namespace with a socket that was opened inside it.
#[derive(Debug)]
pub struct Pod {
    /// The namespace.
    pub netns: Netns,
    /// A socket inside.
    pub rtnl: Rtnl,
}

impl Pod {
    /// Opens a socket inside the namespace.
    pub fn open(netns: Netns) -> Result<Pod> {
        let rtnl = netns.visit(Rtnl::open)?;
        Ok(Pod { netns, rtnl })
    }

    /// By which it is known again.
    pub fn id(&mut self) -> Result<NetnsId> {
        self.netns.id(&mut self.rtnl)
    }
}

/// The sockets of one attachment, and whose it is.
#[derive(Debug)]
pub struct World {
    /// The namespace that netsetup runs in.
    pub host: Rtnl,
    /// The container's namespace; `None` where it is gone, or not needed.
    pub pod: Option<Pod>,
    /// Who is at work.
    pub mark: Mark,
    /// The id by which the host's namespace knows the pod's, seen when the veth was made.
    pub nsid: Option<u32>,
    /// Handles of the rules that accept an address's packets, seen when they were made.
    pub accepts: BTreeMap<IpAddr, Vec<u64>>,
    /// What the neighbours are to be told.
    pub(super) told: Vec<Announcement>,
    nft: Option<Nft>,
    /// By which the pod's sysctls are reached, from the first on.
    proc: Option<ProcSys>,
}

impl World {
    /// A world around these sockets.
    pub fn new(host: Rtnl, pod: Option<Pod>, mark: Mark) -> World {
        World {
            host,
            pod,
            mark,
            nsid: None,
            accepts: BTreeMap::new(),
            told: Vec::new(),
            nft: None,
            proc: None,
        }
    }

    /// The nftables socket, opened when it is first needed.
    pub fn nft(&mut self) -> Result<&mut Nft> {
        Ok(self.host_and_nft()?.1)
    }

    /// The host's route socket and its nftables socket.
    pub fn host_and_nft(&mut self) -> Result<(&mut Rtnl, &mut Nft)> {
        let nft = match &mut self.nft {
            Some(nft) => nft,
            none => none.insert(Nft::open()?),
        };
        Ok((&mut self.host, nft))
    }

    /// Whether something was removed from nftables.
    pub fn has_removed(&self) -> bool {
        self.nft.as_ref().is_some_and(Nft::has_removed)
    }

    /// What takes longer than anybody wants to wait for, when all is made: the neighbours are
    /// told, the pod's procfs is closed, and, where somebody removed something from nftables
    /// `lately`, its socket.
    pub fn leave(mut self, lately: bool) {
        if let Some(nft) = self.nft.as_mut().filter(|_| lately) {
            nft.expect_wait();
        }
        // The sockets are closed while the other process begins.
        let _leaving = self.pod.as_ref().and_then(|pod| {
            let slow = self.proc.as_ref().map(AsFd::as_fd);
            announce::send(pod.netns.as_fd(), &self.told, slow, self.nft.as_mut())
        });
        drop(self);
    }

    /// The route socket of one side.
    pub fn rtnl(&mut self, side: Side) -> Result<&mut Rtnl> {
        match side {
            Side::Host => Ok(&mut self.host),
            Side::Pod => Ok(&mut self.pod_mut()?.rtnl),
        }
    }

    /// The value of a sysctl of one side; `None` where there is none.
    ///
    /// rtnetlink is asked first. Below /proc/sys/net each namespace that was ever looked
    /// into has directories of its own, all of the same names: to find one, the kernel goes
    /// through those of every pod.
    pub fn sysctl(&mut self, side: Side, path: &[String]) -> Result<Option<String>> {
        match self.rtnl(side)?.sysctl(path)? {
            Some(value) => Ok(Some(value.to_string())),
            None => self.sysctls(side, |proc| proc.read(path)),
        }
    }

    /// Runs a job on the sysctls of one side.
    pub fn sysctls<T: Send>(
        &mut self,
        side: Side,
        job: impl FnOnce(&ProcSys) -> Result<T> + Send,
    ) -> Result<T> {
        match side {
            Side::Host => job(&ProcSys::open()?),
            Side::Pod => {
                let proc = match &mut self.proc {
                    Some(proc) => proc,
                    none => none.insert(ProcSys::apart()?),
                };
                self.pod.as_mut().ok_or_else(gone)?.netns.visit(|| job(proc))
            }
        }
    }

    fn pod_mut(&mut self) -> Result<&mut Pod> {
        self.pod.as_mut().ok_or_else(gone)
    }
}

fn gone() -> Error {
    Error::new(Kind::Missing, "reach the pod's network namespace", "it is gone")
}
