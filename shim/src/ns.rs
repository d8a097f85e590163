//! Namespaces as people choose them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use nix::sched::CloneFlags;
use podkeel_netsetup::kernel::NsKind;

/// The kinds that the containers of a pod can share, in the order in which people name them.
pub const SHARED: [NsKind; 4] = [NsKind::Net, NsKind::Ipc, NsKind::Uts, NsKind::Pid];

/// A kind's name in an OCI configuration.
pub fn oci_name(kind: NsKind) -> &'static str {
    match kind {
        NsKind::Net => "network",
        NsKind::Mnt => "mount",
        other => other.name(),
    }
}

/// A kind's flag of clone(2), unshare(2) and setns(2).
pub fn flag(kind: NsKind) -> CloneFlags {
    CloneFlags::from_bits_retain(kind.flag())
}

/// How a namespace is chosen on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A new one.
    Private,
    /// The caller's.
    Host,
    /// For net: a new one with nothing but lo.
    None,
    /// Another container's.
    Container(String),
    /// The one that a file stands for.
    Path(PathBuf),
    /// For net: a new one, attached to this network.
    Network(String),
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        match text.split_once(':') {
            Some(("container", "")) => Err("after container: comes a container's name".into()),
            Some(("container", name)) => Ok(Mode::Container(name.to_owned())),
            Some(("ns", "")) => Err("after ns: comes the path of a namespace".into()),
            Some(("ns", path)) => Ok(Mode::Path(path.into())),
            _ => match text {
                "" => Err("it is empty".into()),
                "private" | "shareable" => Ok(Mode::Private),
                "host" => Ok(Mode::Host),
                "none" => Ok(Mode::None),
                other => Ok(Mode::Network(other.to_owned())),
            },
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Private => f.write_str("private"),
            Mode::Host => f.write_str("host"),
            Mode::None => f.write_str("none"),
            Mode::Container(name) => write!(f, "container:{name}"),
            Mode::Path(path) => write!(f, "ns:{}", path.display()),
            Mode::Network(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_in_words() {
        for (text, mode) in [
            ("private", Mode::Private),
            ("host", Mode::Host),
            ("none", Mode::None),
            ("container:base", Mode::Container("base".into())),
            ("container:pid:17", Mode::Container("pid:17".into())),
            ("ns:/run/netns/web", Mode::Path("/run/netns/web".into())),
            ("bridge", Mode::Network("bridge".into())),
        ] {
            assert_eq!(text.parse::<Mode>().unwrap(), mode);
            assert_eq!(mode.to_string(), text);
        }
        for bad in ["", "container:", "ns:"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad:?}");
        }
    }
}
