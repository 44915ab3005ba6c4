//! The executables that are measured: those in `CGROUPD_BIN_DIR`, else release builds made now.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of a `cgctl` that needs no dynamic linker.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where they are.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) cgroupd: PathBuf,
    /// `None` when there is none in `CGROUPD_BIN_DIR`.
    pub(crate) cgctl: Option<PathBuf>,
    pub(crate) cgctl_is_static: bool,
}

impl Binaries {
    pub(crate) fn find() -> Result<Self, String> {
        let (cgroupd, cgctl) = match std::env::var_os("CGROUPD_BIN_DIR") {
            Some(dir) => (Path::new(&dir).join("cgroupd"), Path::new(&dir).join("cgctl")),
            None => build()?,
        };
        if !cgroupd.is_file() {
            return Err(format!("{} is missing", cgroupd.display()));
        }
        let cgctl = Some(cgctl).filter(|cgctl| cgctl.is_file());
        let cgctl_is_static = cgctl.as_deref().is_some_and(is_static);
        Ok(Self { cgroupd, cgctl, cgctl_is_static })
    }
}

/// Builds the daemon as it is, and `cgctl` as it is shipped where that can be built here.
fn build() -> Result<(PathBuf, PathBuf), String> {
    let target = target_directory();
    cargo(&["-p", "cgroupd", "-p", "cgctl"])?;
    let rustflags = format!("target.{TARGET}.rustflags=[\"-C\", \"target-feature=+crt-static\"]");
    let cgctl = match cargo(&["-p", "cgctl", "--target", TARGET, "--config", &rustflags]) {
        Ok(()) => target.join(TARGET).join("release/cgctl"),
        Err(_) => target.join("release/cgctl"),
    };
    Ok((target.join("release/cgroupd"), cgctl))
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--locked"]).args(arguments);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo build {}: {status}", arguments.join(" "))),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

/// cargo's, which is where it put the directory for this program's own files.
pub(crate) fn target_directory() -> PathBuf {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Whether an executable names no dynamic linker: that name stands at its very beginning.
fn is_static(binary: &Path) -> bool {
    let head = std::fs::read(binary).unwrap_or_default();
    let head = &head[..head.len().min(4096)];
    !head.windows(4).any(|window| window == b"/ld-" || window == b"/ld.")
}
