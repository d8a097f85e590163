//! Kernels of Debian.

use std::path::PathBuf;
use std::process::Command;

use super::debian::{self, Debian};
use super::{image, run};

/// A kernel that was fetched.
pub(super) struct Kernel {
    /// `5.10.0-46-cloud-amd64`
    pub(super) version: String,
    pub(super) vmlinuz: PathBuf,
    /// The folder that has `kernel` and `modules.dep`.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// The newest one of a release.
    pub(super) fn of(release: &'static str, arch: &'static str) -> Kernel {
        let debian = Debian::new(release, arch);
        let image = debian.depends(&format!("linux-image-cloud-{arch}"));
        let version = image.strip_prefix("linux-image-").expect("an image's name").to_owned();
        let tree = debian.package(&image);
        // Debian 13 has everything below /usr.
        let places = ["usr/lib/modules", "lib/modules"].map(|dir| tree.join(dir).join(&version));
        let modules = places.into_iter().find(|dir| dir.is_dir()).expect("a kernel has modules");
        let kernel =
            Kernel { vmlinuz: tree.join(format!("boot/vmlinuz-{version}")), version, modules };
        kernel.index();
        kernel
    }

    /// Makes the lists of modules that a package's installation would make.
    fn index(&self) {
        let _lock = debian::lock();
        if !self.modules.join("modules.dep.bin").exists() {
            // It looks in lib/modules below the folder that it is given.
            let base = self.modules.ancestors().nth(3).expect("three folders up");
            run(Command::new(image::find("depmod")).arg("-b").arg(base).arg(&self.version));
        }
    }
}
