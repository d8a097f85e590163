//! The library: namespaces of any kind under names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use podkeel_netsetup::kernel::{Ns, NsId, NsKind, ns};
use podkeel_netsetup::pins::{Pin, Removed, share};
use podkeel_netsetup::{Kind as Failure, Result};

use super::common::{Kind, dirs, scratch, sh, sh_out, world};

/// A process in new namespaces of three kinds.
struct Pod(Child);

impl Pod {
    fn new() -> Pod {
        let mut command = Command::new("unshare");
        let child = command.args(["--net", "--uts", "--ipc", "sleep", "1000"]).spawn();
        let pod = Pod(child.expect("unshare"));
        let comm = format!("/proc/{}/comm", pod.0.id());
        while fs::read_to_string(&comm).expect("it is there") != "sleep\n" {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        pod
    }

    fn ns(&self, kind: NsKind) -> Ns {
        Ns::of_process(self.0.id() as i32, kind).expect("its namespace")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

const OWNER: &str = "shim base-3f2a";

fn dir() -> PathBuf {
    scratch().join("ns/base")
}

fn pin(name: &str) -> Pin {
    Pin::new(&dir(), name, OWNER).expect("a good name")
}

/// Whose content a file has that nothing is mounted on.
fn owner_in(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("the file");
    text.lines().next().unwrap_or_default().to_owned()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, kind: Failure, words: &str) {
    let error = result.expect_err("refused");
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn every_kind_outlives_its_process() {
    world(Kind::User, || {
        let pod = Pod::new();
        sh(&format!("nsenter -t {} -u hostname inside", pod.0.id()));
        let kinds = [NsKind::Net, NsKind::Uts, NsKind::Ipc];
        let ids: Vec<NsId> = kinds
            .map(|kind| {
                let ns = pod.ns(kind);
                pin(kind.name()).claim().expect("claimed").mount(&ns).expect("mounted");
                ns.id()
            })
            .to_vec();
        assert_eq!(fs::metadata(dir()).unwrap().permissions().mode() & 0o777, 0o700);
        drop(pod);
        assert_eq!(sh_out(&format!("nsenter --uts={}/uts hostname", dir().display())), "inside");
        assert_eq!(sh_out("hostname"), sh_out("uname -n"));
        for (kind, id) in kinds.iter().zip(&ids) {
            let pinned = Ns::open(&pin(kind.name()).path()).expect("the pin");
            assert_eq!(pinned.id(), *id);
            assert_eq!(pinned.kind, *kind);
            assert_eq!(id.cookie.is_some(), *kind == NsKind::Net, "only net has a cookie");
            let back: NsId = serde_json::from_str(&serde_json::to_string(id).unwrap()).unwrap();
            assert!(back.is(id));
            // Another of the same kind is no reason to remove it.
            let other = NsId { inode: id.inode + 1, ..*id };
            refused(pin(kind.name()).remove(Some(&other)), Failure::Taken, "it is not ours");
            assert_eq!(pin(kind.name()).remove(Some(id)).unwrap(), Removed::Gone);
            assert_eq!(pin(kind.name()).remove(Some(id)).unwrap(), Removed::Absent);
        }
        assert_eq!(fs::read_dir(dir()).unwrap().count(), 0);
    });
}

#[test]
fn the_cookie_tells_a_namespace_with_a_reused_number() {
    world(Kind::User, || {
        let id = Ns::own(NsKind::Net).unwrap().id();
        assert!(id.is(&id) && id.is(&NsId { cookie: None, ..id }));
        let later = NsId { cookie: id.cookie.map(|cookie| cookie + 1), ..id };
        assert!(!later.is(&id));
        assert!(!NsId { kind: NsKind::Uts, ..id }.is(&id));
    });
}

/// The kernel gives its inode number to another one at once.
#[test]
fn a_later_one_with_its_number_is_another() {
    world(Kind::User, || {
        for _ in 0..20 {
            let id = Pod::new().ns(NsKind::Net).id();
            for _ in 0..20 {
                let pod = Pod::new();
                let later = pod.ns(NsKind::Net);
                if later.inode == id.inode {
                    assert!(later.id().is(&later.id()) && !later.id().is(&id));
                    return;
                }
                drop((pod, later));
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
        panic!("the kernel gives no number out again");
    });
}

#[test]
fn whose_it_is_says_the_file() {
    world(Kind::User, || {
        let pod = Pod::new();
        let (uts, path) = (pod.ns(NsKind::Uts), pin("uts").path());
        let stranger = Pin::new(&dir(), "uts", "shim web-0001").unwrap();
        pin("uts").claim().unwrap().mount(&uts).unwrap();
        // Its mark is below the mount, and is read there.
        refused(stranger.remove(None), Failure::Taken, "it is not ours: namespace uts:[");
        refused(stranger.claim(), Failure::Taken, "the name is taken: namespace uts:[");
        assert_eq!(pin("uts").remove(None).unwrap(), Removed::Gone);

        // Unmounted, but not removed: as one that was killed leaves it.
        pin("uts").claim().unwrap().mount(&uts).unwrap();
        sh(&format!("umount {}", path.display()));
        assert_eq!(owner_in(&path), "podkeel shim base-3f2a");
        refused(stranger.remove(None), Failure::Taken, "a file of podkeel shim base-3f2a");
        assert_eq!(pin("uts").remove(Some(&uts.id())).unwrap(), Removed::Gone);

        // Nobody is at work on it, so another one may have the name.
        pin("uts").claim().unwrap().mount(&uts).unwrap();
        sh(&format!("umount {}", path.display()));
        stranger.claim().unwrap().mount(&uts).unwrap();
        refused(pin("uts").remove(None), Failure::Taken, "it is not ours");
        assert_eq!(stranger.remove(None).unwrap(), Removed::Gone);

        // What others put there is nobody's to remove.
        fs::write(&path, "mine\n").unwrap();
        refused(pin("uts").remove(None), Failure::Taken, "a file that is no namespace");
        refused(pin("uts").claim(), Failure::Taken, "the name is taken");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n");
    });
}

#[test]
fn a_claim_is_given_up_or_kept_by_the_living() {
    world(Kind::User, || {
        let claim = pin("ipc").claim().unwrap();
        assert_eq!(owner_in(&pin("ipc").path()), "podkeel shim base-3f2a");
        refused(pin("ipc").claim(), Failure::Taken, "another process is about to use it");
        drop(claim);
        assert!(!pin("ipc").path().exists());
        let claim = pin("ipc").claim().unwrap();
        let file = fs::File::open("/etc/passwd").unwrap();
        refused(claim.mount(file), Failure::Input, "it is not a namespace");
        assert!(!pin("ipc").path().exists());
        // Somebody removed it meanwhile, and made one of his own.
        let claim = pin("ipc").claim().unwrap();
        fs::remove_file(pin("ipc").path()).unwrap();
        fs::write(pin("ipc").path(), "").unwrap();
        let ns = Ns::own(NsKind::Ipc).unwrap();
        refused(claim.mount(&ns), Failure::Taken, "somebody else has removed the file");
        assert!(pin("ipc").path().exists(), "his stays");
    });
}

#[test]
fn what_another_mount_namespace_may_have_in_use_is_not_taken() {
    world(Kind::User, || {
        share(&dirs().netns).unwrap();
        let program = super::NETSETUP;
        // Private: what is mounted there isn't seen here.
        let mut other = Command::new("unshare");
        other.args(["-m", "--propagation", "private", "sh", "-c"]);
        let other = other.arg(format!("{program} ns add web; exec sleep 1000")).spawn().unwrap();
        let other = Pod(other);
        let inside = format!("nsenter -t {} -m {program} ns exec web true", other.0.id());
        while !super::common::sh_any(&inside).status.success() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let refusal = super::ns_fails(&["add", "web"], super::TAKEN);
        assert!(refusal.contains("claimed in mount namespace mnt:["), "{refusal}");
        sh(&inside);
        // Who says so by its name gets it, as with ip.
        super::ns(&["delete", "web"]);
        super::ns(&["add", "web"]);
    });
}

#[test]
fn who_is_inside() {
    world(Kind::User, || {
        let (one, two) = (Pod::new(), Pod::new());
        for kind in [NsKind::Net, NsKind::Uts, NsKind::Ipc] {
            assert_eq!(ns::pids(&one.ns(kind)).unwrap(), (vec![one.0.id() as i32], 0));
            assert_eq!(ns::pids(&two.ns(kind)).unwrap(), (vec![two.0.id() as i32], 0));
        }
        let (all, _) = ns::pids(&Ns::own(NsKind::Pid).unwrap()).unwrap();
        for pid in [1, std::process::id() as i32, one.0.id() as i32, two.0.id() as i32] {
            assert!(all.contains(&pid), "{pid} in {all:?}");
        }
        let gone = one.0.id() as i32;
        drop(one);
        let error = Ns::of_process(gone, NsKind::Uts).unwrap_err();
        assert_eq!(error.kind, Failure::Missing, "{error}");
    });
}
