//! Users by name or number, as `--user` takes them.

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use podkeel_netsetup::error::{Error, Kind, Result};

/// Whom a program runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Its home directory, where /etc/passwd knows one.
    pub home: Option<String>,
}

impl User {
    /// Reads `USER[:GROUP]`, each a name or a number, as docker does: a number needs no
    /// entry in /etc/passwd; without GROUP it is the user's own (0 for an unknown number).
    ///
    /// # Errors
    /// A name that /etc/passwd or /etc/group doesn't know.
    pub fn find(text: &str) -> Result<User> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
        User::find_in(text, &passwd, &group)
    }

    fn find_in(text: &str, passwd: &str, groups: &str) -> Result<User> {
        let unknown = |kind: &str, name: &str, file: &str| {
            let why = format!("{kind} {name:?} isn't in {file}");
            Error::new(Kind::Input, format!("run as {text:?}"), why)
        };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let entry = fields(passwd, 7).find(|f| f[0] == user).or_else(|| {
            let uid: u32 = user.parse().ok()?;
            fields(passwd, 7).find(|f| f[2].parse() == Ok(uid))
        });
        let uid = entry.as_ref().map_or(user, |f| f[2]);
        let uid = uid.parse().map_err(|_| unknown("user", user, "/etc/passwd"))?;
        let gid = match group {
            Some(name) => {
                let entry = fields(groups, 4).find(|f| f[0] == name);
                let gid = entry.map_or(name, |f| f[2]);
                gid.parse().map_err(|_| unknown("group", name, "/etc/group"))?
            }
            None => entry.as_ref().and_then(|f| f[3].parse().ok()).unwrap_or(0),
        };
        let name = entry.as_ref().map(|f| f[0]);
        // A group that was named is the only one.
        let others = fields(groups, 4).filter(|f| group.is_none() && is_in(f[3], name));
        let groups = others.filter_map(|f| f[2].parse().ok()).filter(|g| *g != gid);
        let groups = std::iter::once(gid).chain(groups).collect();
        let home = entry.map(|f| f[5].to_owned()).filter(|home| !home.is_empty());
        Ok(User { uid, gid, groups, home })
    }

    /// This process becomes that user, for good.
    pub fn become_it(&self) -> Result<()> {
        let groups: Vec<Gid> = self.groups.iter().map(|g| Gid::from_raw(*g)).collect();
        let mut grouped = setgroups(&groups);
        if grouped == Err(Errno::EPERM) && setgroups_is_denied() {
            // user_namespaces(7): nobody in this one may, and what is mapped is the caller alone.
            grouped = Ok(());
        }
        grouped
            .and_then(|()| setgid(Gid::from_raw(self.gid)))
            .and_then(|()| setuid(Uid::from_raw(self.uid)))
            .map_err(|e| Error::errno(format!("become user {}:{}", self.uid, self.gid), e as i32))
    }
}

fn setgroups_is_denied() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

fn fields(file: &str, count: usize) -> impl Iterator<Item = Vec<&str>> {
    file.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(move |f| f.len() >= count)
}

fn is_in(members: &str, name: Option<&str>) -> bool {
    name.is_some_and(|name| members.split(',').any(|m| m == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:www:/var/www:/bin/sh\n12:x:99:98::/:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlog:x:40:web,root\naudio:x:41:web\n";

    #[test]
    fn names_and_numbers() {
        for (text, uid, gid, groups) in [
            ("web", 33, 34, vec![34, 40, 41]),
            ("33", 33, 34, vec![34, 40, 41]),
            ("web:log", 33, 40, vec![40]),
            ("web:7", 33, 7, vec![7]),
            ("4711", 4711, 0, vec![0]),
            ("4711:4712", 4711, 4712, vec![4712]),
            ("12", 99, 98, vec![98]),
        ] {
            let user = User::find_in(text, PASSWD, GROUP).unwrap();
            assert_eq!((user.uid, user.gid, user.groups), (uid, gid, groups), "{text}");
        }
        for bad in ["", "nobody", "web:", "web:nogroup", "-1", "web:-1"] {
            assert!(User::find_in(bad, PASSWD, GROUP).is_err(), "{bad:?}");
        }
    }
}
