//! The executables under test: built once per run, or given in `CGROUPD_BIN_DIR` (guests, CI).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The variable that names a directory with `cgroupd` and `cgctl`.
pub const VARIABLE: &str = "CGROUPD_BIN_DIR";

/// The daemon.
pub fn cgroupd() -> PathBuf {
    directory().join("cgroupd")
}

/// The client.
pub fn cgctl() -> PathBuf {
    directory().join("cgctl")
}

/// Where both are. The first call may build them, and prints which are used.
///
/// # Panics
/// When they are not there and cannot be built.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let given = std::env::var_os(VARIABLE).map(PathBuf::from);
        let how = if given.is_some() { VARIABLE } else { "built now" };
        let directory = given.unwrap_or_else(build);
        eprintln!("testing the executables in {} ({how})", directory.display());
        directory
    })
}

/// Builds into the directory this test came from, with the profile it was built with: cargo
/// builds no executables for the tests of another package.
fn build() -> PathBuf {
    let own = std::env::current_exe().expect("/proc is mounted");
    let directory = own.ancestors().nth(2).expect("tests are built into PROFILE/deps");
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let target = directory.parent().expect("a profile's directory is in the target directory");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--locked", "-p", "cgroupd", "-p", "cgctl"])
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "cgroupd and cgctl cannot be built");
    directory.to_owned()
}
