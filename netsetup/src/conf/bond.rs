//! `bond`: the links that a master is made of where it isn't there. The words are those of
//! `ip link add ... type bond`.

use serde::{Deserialize, Serialize};

use super::json::{Fault, Node, Object, Parsed};
use crate::request::names::check_ifname;

/// A bond that is made on demand. The master's name is its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// Its ports: links of the host that are down.
    pub links: Vec<String>,
    /// How frames are spread over them.
    pub mode: BondMode,
    /// Milliseconds between two looks at the ports' carriers.
    pub miimon: u32,
}

/// How a bond uses its ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is called what ip-link(8) calls it")]
pub enum BondMode {
    #[serde(rename = "balance-rr")]
    BalanceRr,
    /// One port is used at a time: the one mode that asks nothing of the switch and works
    /// between any two. The kernel's own default, balance-rr, needs a switch that knows.
    #[default]
    #[serde(rename = "active-backup")]
    ActiveBackup,
    #[serde(rename = "balance-xor")]
    BalanceXor,
    #[serde(rename = "broadcast")]
    Broadcast,
    #[serde(rename = "802.3ad")]
    Lacp,
    #[serde(rename = "balance-tlb")]
    BalanceTlb,
    #[serde(rename = "balance-alb")]
    BalanceAlb,
}

impl BondMode {
    /// In the order of their numbers: BOND_MODE_* of linux/if_bonding.h.
    const ALL: [(&str, BondMode); 7] = [
        ("balance-rr", BondMode::BalanceRr),
        ("active-backup", BondMode::ActiveBackup),
        ("balance-xor", BondMode::BalanceXor),
        ("broadcast", BondMode::Broadcast),
        ("802.3ad", BondMode::Lacp),
        ("balance-tlb", BondMode::BalanceTlb),
        ("balance-alb", BondMode::BalanceAlb),
    ];

    fn place(self) -> usize {
        Self::ALL.iter().position(|(_, mode)| *mode == self).unwrap_or_default()
    }

    /// BOND_MODE_* of linux/if_bonding.h.
    pub fn number(self) -> u8 {
        self.place() as u8
    }

    /// As `ip link` says it.
    pub fn name(self) -> &'static str {
        Self::ALL[self.place()].0
    }
}

/// The kernel's own default is never: then a port without carrier is used on and on.
const MIIMON: u32 = 100;

/// Reads the key `bond` of a plugin that has a master.
pub(super) fn read(plugin: &Object) -> Parsed<Option<Bond>> {
    let Some(bond) = plugin.object("bond")? else { return Ok(None) };
    let links = bond.array("links")?.iter().map(read_link).collect::<Parsed<Vec<_>>>()?;
    if links.is_empty() {
        return Err(Fault::input(&bond.at("links"), "is missing: it names the bond's ports"));
    }
    for (i, link) in links.iter().enumerate() {
        if links[..i].contains(link) {
            return Err(Fault::input(&bond.at("links"), format_args!("{link} is named twice")));
        }
    }
    Ok(Some(Bond {
        links,
        mode: super::interface::read_mode(&bond, "bond", &BondMode::ALL)?,
        miimon: bond.number("miimon")?.unwrap_or(MIIMON),
    }))
}

fn read_link(node: &Node) -> Parsed<String> {
    let name = node.string()?;
    check_ifname(name).map_err(|why| node.fault(format_args!("{name:?} {why}")))?;
    Ok(name.to_owned())
}
