//! Where the daemon is: a D-Bus address, from the command line, the environment or the default.
//!
//! Only unix sockets: who a caller is comes from the kernel, which says it of those alone.

use std::{fmt, path::PathBuf};

use cgroupd_proto::{ADDRESS_VARIABLE, DEFAULT_SOCKET};
use nix::sys::socket::UnixAddr;
use zbus::address::{
    Address as BusAddress, Transport,
    transport::{Unix, UnixSocket},
};

use crate::exit::{Exit, Failure};

/// A unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(UnixSocket);

impl Address {
    /// The address to use: `given` on the command line, the environment's, the default.
    pub(crate) fn choose(given: Option<String>) -> Result<Self, Failure> {
        // What is not text names a socket that is not there, rather than the default one.
        let variable = || {
            let value = std::env::var_os(ADDRESS_VARIABLE).filter(|value| !value.is_empty());
            value.map(|value| value.to_string_lossy().into_owned())
        };
        let text = given.or_else(variable);
        text.map_or_else(|| Ok(Self::file(DEFAULT_SOCKET)), |text| Self::parse(&text))
    }

    /// Parses a D-Bus address, or a bare absolute path.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text.starts_with('/') {
            return Ok(Self::file(text));
        }
        let socket =
            BusAddress::try_from(text).ok().and_then(|address| match address.transport() {
                Transport::Unix(unix) => Some(unix.path().clone()),
                _ => None,
            });
        match socket {
            Some(socket @ (UnixSocket::File(_) | UnixSocket::Abstract(_))) => Ok(Self(socket)),
            _ => Err(Failure::new(
                Exit::BadValue,
                format!("cannot use the address {text:?}: it names no unix socket"),
            )
            .hint(format!("write unix:path=/… or the absolute path, e.g. {DEFAULT_SOCKET}"))),
        }
    }

    fn file(path: &str) -> Self {
        Self(UnixSocket::File(PathBuf::from(path)))
    }

    /// How to start a daemon that listens here.
    pub(crate) fn how_to_start(&self) -> String {
        match &self.0 {
            UnixSocket::File(path) if path.as_os_str() == DEFAULT_SOCKET => {
                "start it: `systemctl start cgroupd`, or as root `cgroupd`".to_owned()
            }
            UnixSocket::File(path) => {
                format!("start it there: as root `cgroupd --socket {}`", path.display())
            }
            _ => "start a cgroupd there".to_owned(),
        }
    }

    /// For connect(2).
    pub(crate) fn to_socket_address(&self) -> nix::Result<UnixAddr> {
        use std::os::unix::ffi::OsStrExt;
        match &self.0 {
            UnixSocket::Abstract(name) => UnixAddr::new_abstract(name.as_bytes()),
            UnixSocket::File(path) => UnixAddr::new(path),
            // parse() lets no other kind in.
            _ => Err(nix::errno::Errno::EAFNOSUPPORT),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Unix::new(self.0.clone()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_bare_paths() {
        for (text, shown) in [
            ("/tmp/x/sock", "unix:path=/tmp/x/sock"),
            ("unix:path=/tmp/x/sock", "unix:path=/tmp/x/sock"),
            ("unix:abstract=name", "unix:abstract=name"),
            ("unix:path=/tmp/sock,guid=0123456789abcdef0123456789abcdef", "unix:path=/tmp/sock"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_unix_socket_is_a_bad_value() {
        for text in ["", "sock", "./sock", "tcp:host=localhost,port=1", "unix:dir=/tmp", "unix:"] {
            let failure = Address::parse(text).unwrap_err();
            assert_eq!(failure.exit, Exit::BadValue, "{text:?}");
            assert!(failure.text.contains(&format!("{text:?}")));
        }
    }

    #[test]
    fn the_hint_starts_what_is_missing() {
        let default = Address::file(DEFAULT_SOCKET);
        assert!(default.how_to_start().contains("systemctl start cgroupd"));
        let other = Address::parse("/tmp/s").unwrap();
        assert!(other.how_to_start().contains("cgroupd --socket /tmp/s"));
    }
}
