//! Telling whoever started the daemon that it serves: the service manager (`sd_notify(3)`) and
//! a descriptor in the manner of s6 and tests.

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::time::{ClockId, clock_gettime};

use super::Failure;
use crate::sys::inherited;

/// Who wants to know.
#[derive(Debug)]
pub(super) struct Notifier {
    manager: Option<SocketAddr>,
    ready: Option<OwnedFd>,
}

impl Notifier {
    /// Takes over `ready_fd`; call it before anything is opened.
    pub(super) fn new(ready_fd: Option<i32>) -> Result<Self, Failure> {
        let take = |number: i32| {
            inherited::take(number).map_err(Failure::kernel(format!("use --ready-fd {number}")))
        };
        let ready = ready_fd.map(take).transpose()?;
        let manager = std::env::var_os("NOTIFY_SOCKET").and_then(|name| address(name.as_bytes()));
        Ok(Self { manager, ready })
    }

    /// Calls are answered from now on.
    pub(super) fn ready(&mut self) {
        self.tell("READY=1");
        if let Some(fd) = self.ready.take()
            && let Err(errno) = nix::unistd::write(&fd, b"\n")
        {
            tracing::warn!(%errno, "nobody listens at --ready-fd");
        }
    }

    /// The configuration is being read again; [`Self::ready`] follows.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_or(0, |now| now.tv_sec() as u64 * 1_000_000 + now.tv_nsec() as u64 / 1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// No new calls from now on.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        let Some(manager) = &self.manager else { return };
        let sent = UnixDatagram::unbound()
            .and_then(|socket| socket.send_to_addr(state.as_bytes(), manager));
        if let Err(error) = sent {
            tracing::warn!(%error, state, "the service manager cannot be told");
        }
    }
}

/// A path, or an abstract name after `@`; anything else (a VSOCK address) is not understood.
fn address(name: &[u8]) -> Option<SocketAddr> {
    match name.split_first()? {
        (b'@', name) => SocketAddr::from_abstract_name(name).ok(),
        (b'/', _) => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn heard(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let count = listener.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[test]
    fn both_kinds_of_address_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let hidden = format!("@cgroupd-test-{}", std::process::id());
        for name in [path.to_str().unwrap(), &hidden] {
            let manager = address(name.as_bytes()).unwrap();
            let listener = UnixDatagram::bind_addr(&manager).unwrap();
            let mut notifier = Notifier { manager: Some(manager), ready: None };
            notifier.ready();
            assert_eq!(heard(&listener), "READY=1");
            notifier.reloading();
            assert!(heard(&listener).starts_with("RELOADING=1\nMONOTONIC_USEC="));
            notifier.stopping();
            assert_eq!(heard(&listener), "STOPPING=1");
        }
        for name in ["", "vsock:2:3", "relative"] {
            assert!(address(name.as_bytes()).is_none(), "{name:?}");
        }
    }

    #[test]
    fn the_descriptor_gets_one_newline_and_is_closed() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut notifier = Notifier { manager: None, ready: Some(writer.into()) };
        notifier.ready();
        notifier.ready();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "\n");
    }
}
