//! Kernels from the distribution's archive: downloaded and unpacked, never installed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::guest::Kernel;

/// What a kernel's package holds.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) release: String,
    pub(super) kernel: PathBuf,
    pub(super) modules: PathBuf,
}

/// Downloads the newest build of a kernel and unpacks it into a directory that is removed with
/// the returned value.
pub(super) fn unpack(kernel: Kernel) -> io::Result<TempDir> {
    let scratch =
        TempDir::with_prefix(format!("{}{}-kit-", crate::cgroups::PREFIX, std::process::id()))?;
    let package = newest(kernel)?;
    let mut download = Command::new("apt-get");
    // As root: the sandbox user of apt may not write into our directory.
    download.args(["download", "-qq", "-o", "APT::Sandbox::User=root", &package]);
    run(download.current_dir(scratch.path()))?;
    let archives = fs::read_dir(scratch.path())?.flatten().map(|entry| entry.path());
    let archive = archives.into_iter().find(|path| path.extension().is_some_and(|e| e == "deb"));
    let archive = archive.ok_or_else(|| io::Error::other(format!("{package}: no archive came")))?;
    run(Command::new("dpkg").arg("-x").arg(archive).arg(scratch.path()))?;
    Ok(scratch)
}

/// The package that the metapackage depends on.
fn newest(kernel: Kernel) -> io::Result<String> {
    let listed = run(Command::new("apt-cache").args(["depends", kernel.metapackage()]))?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut packages = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let found = packages.find(|name| name.starts_with("linux-image-"));
    found.map(str::to_owned).ok_or_else(|| {
        let metapackage = kernel.metapackage();
        io::Error::other(format!("apt knows no {metapackage}: run apt-get update on a Debian 12"))
    })
}

/// Finds the kernel and its modules in an unpacked package.
pub(super) fn image(unpacked: &Path) -> io::Result<Image> {
    let modules = unpacked.join("lib/modules");
    let release = fs::read_dir(&modules)?.flatten().next();
    let release = release.ok_or_else(|| io::Error::other("the package holds no modules"))?;
    let release = release.file_name().to_string_lossy().into_owned();
    let kernel = unpacked.join(format!("boot/vmlinuz-{release}"));
    Ok(Image { modules: modules.join(&release).join("kernel"), kernel, release })
}

/// Runs a tool; an error says which and what it said.
pub(super) fn run(command: &mut Command) -> io::Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| io::Error::other(format!("{program}: {e}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{program}: {}: {said}", output.status)))
}
