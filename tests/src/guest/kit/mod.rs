//! Kits: what a guest boots with, one directory for each kernel, made once.

mod modules;
mod packages;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Kernel;
use super::cpio::Archive;

/// The variable that names the directory of kits.
const VARIABLE: &str = "CGROUPD_GUEST_KITS";

/// busybox of `busybox-static`: in the initramfs there is no library.
const BUSYBOX: &str = "/bin/busybox";
/// The first process of a guest.
const INIT: &str = include_str!("../init.sh");
/// What runs the guest's command on its real root, and reports.
const REPORT: &str = include_str!("../report.sh");
/// Drivers of the machine that guests run on, the file systems of their root, the scheduler that
/// gives disks weights, and by what the daemon identifies callers before Linux 6.5.
const MODULES: [&str; 8] = [
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "virtiofs",
    "overlay",
    "ext4",
    "bfq",
    "unix_diag",
];

/// The kernel and the modules of a guest.
#[derive(Clone, Debug)]
pub struct Kit {
    directory: PathBuf,
}

impl Kit {
    /// The kit of a kernel, where it has been made, with the modules that guests need now.
    pub fn find(kernel: Kernel) -> Option<Self> {
        let kit = Self { directory: directory().join(kernel.name()) };
        let made_for = fs::read_to_string(kit.wanted()).unwrap_or_default();
        (kit.release().is_file() && made_for == MODULES.join("\n")).then_some(kit)
    }

    /// Downloads the kernel and makes the kit anew.
    ///
    /// # Errors
    /// The package or a tool to unpack it is missing; the directory cannot be written.
    pub fn make(kernel: Kernel) -> io::Result<Self> {
        let kit = Self { directory: directory().join(kernel.name()) };
        let unpacked = packages::unpack(kernel)?;
        let image = packages::image(unpacked.path())?;
        fs::create_dir_all(&kit.directory)?;
        // What is left of an older one is not taken for a finished kit.
        let _ = fs::remove_file(kit.release());
        fs::copy(&image.kernel, kit.kernel())?;
        fs::write(kit.modules(), initramfs(&image.modules)?)?;
        fs::write(kit.wanted(), MODULES.join("\n"))?;
        // Written last: a kit without it is not finished.
        fs::write(kit.release(), &image.release)?;
        Ok(kit)
    }

    /// The kernel's full name, as `uname -r` says it.
    ///
    /// # Errors
    /// The kit was removed.
    pub fn name(&self) -> io::Result<String> {
        fs::read_to_string(self.release())
    }

    /// The kernel.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The initramfs. What is the same for all kits comes from this program, so that a kit made
    /// by an older one does not start guests in the old way.
    pub(crate) fn initramfs(&self) -> io::Result<Vec<u8>> {
        let mut archive = Archive::default();
        for directory in ["bin", "dev", "proc", "sys", "run", "root", "lower", "upper"] {
            archive.directory(directory);
        }
        archive.file("bin/busybox", &read(Path::new(BUSYBOX))?);
        archive.file("init", INIT.as_bytes());
        archive.file("report", REPORT.as_bytes());
        Ok([read(&self.modules())?, archive.finish()].concat())
    }

    fn modules(&self) -> PathBuf {
        self.directory.join("modules.cpio")
    }

    /// The modules that the kit was made for, whether the kernel has them built in or not.
    fn wanted(&self) -> PathBuf {
        self.directory.join("wanted")
    }

    fn release(&self) -> PathBuf {
        self.directory.join("release")
    }
}

/// Where kits are: `CGROUPD_GUEST_KITS`, else `guest-kits` in cargo's target directory.
pub fn directory() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| super::share::target().join("guest-kits"), Into::into)
}

/// The modules of a kernel and the order in which they are to be loaded.
fn initramfs(modules: &Path) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.directory("modules");
    let loaded = modules::in_order(modules, &MODULES)?;
    for module in &loaded {
        archive.file(&format!("modules/{}.ko", module.name), &module.content);
    }
    let order: String = loaded.iter().map(|module| format!("{}\n", module.name)).collect();
    archive.file("modules/order", order.as_bytes());
    Ok(archive.finish())
}

/// A file's content; an error names the file.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}
