//! This machine's `/` for a guest: virtiofsd on a read-only view of it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;

use super::process::Owned;
use crate::peer;

/// Where the distributions have it.
const VIRTIOFSD: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

/// Makes the view in a mount namespace of its own and becomes virtiofsd. Bind mounts are not
/// recursive: of this machine's other mounts nothing is seen but those that are named, so
/// neither its processes nor its devices. virtiofsd itself has no read-only switch.
const SERVE: &str = r#"
daemon=$1; shift
for mount in / "$@"; do
    mount --bind "$mount" "/mnt$mount"
    mount -o remount,bind,ro "/mnt$mount"
done
exec "$daemon" --fd=0 -o source=/mnt -o cache=always -o sandbox=chroot -f
"#;

/// Serves `/`, and what lies on another file system of the `also` ones. Returns the process and
/// the connection that QEMU is to use.
pub(crate) fn serve(also: &[PathBuf]) -> io::Result<(Owned, OwnedFd)> {
    let daemon = virtiofsd().ok_or_else(|| io::Error::other("virtiofsd is not installed"))?;
    let root = Path::new("/").metadata()?.dev();
    let elsewhere = also.iter().filter(|p| p.metadata().is_ok_and(|file| file.dev() != root));
    let (listener, connection) = connection()?;
    let mut command = peer::tied("unshare");
    command.args(["--mount", "sh", "-euc", SERVE, "sh"]).arg(daemon).args(elsewhere);
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok((Owned(command.spawn()?), connection.into()))
}

/// Where virtiofsd is.
pub(crate) fn virtiofsd() -> Option<&'static Path> {
    VIRTIOFSD.iter().map(Path::new).find(|path| path.is_file())
}

/// A listening socket and a connection to it, which both need no name any more.
fn connection() -> io::Result<(UnixListener, UnixStream)> {
    let prefix = format!("{}{}-", crate::cgroups::PREFIX, std::process::id());
    let directory = TempDir::with_prefix(prefix)?;
    let address = directory.path().join("socket");
    let listener = UnixListener::bind(&address)?;
    Ok((listener, UnixStream::connect(address)?))
}

/// The workspace's directory.
pub(crate) fn workspace() -> PathBuf {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_directory.parent().unwrap_or(crate_directory).to_owned()
}

/// cargo's target directory: the one this program lies in, in `PROFILE` or `PROFILE/deps`.
pub(crate) fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let found = own.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    found.map_or_else(|| workspace().join("target"), Path::to_owned)
}
