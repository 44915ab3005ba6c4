//! D-Bus addresses of UNIX sockets, and a connection to the first that takes one.
//!
//! The socket gets a name of its own before it connects: that name, seen from the other end,
//! tells which descriptor of the bus is ours.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, getsockname, socket,
};

/// Where the specification and where distributions put the bus.
const WELL_KNOWN: &str =
    "unix:path=/run/dbus/system_bus_socket;unix:path=/var/run/dbus/system_bus_socket";
const VARIABLE: &str = "DBUS_SYSTEM_BUS_ADDRESS";

/// The system bus's address, as every client of it looks it up.
pub(super) fn system_bus() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| WELL_KNOWN.to_owned())
}

/// Connects to the first address of a `;` list that answers.
///
/// # Errors
/// What the last usable address answered; `Unsupported` when none is a UNIX socket.
pub(super) fn connect_any(list: &str) -> io::Result<UnixStream> {
    let mut result = Err(io::Error::new(io::ErrorKind::Unsupported, "no unix: address"));
    for address in list.split(';').filter_map(parse) {
        result = connect_one(&address);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The kernel chooses the name: an abstract one that nobody else has while the socket lives.
/// Without O_NONBLOCK a bus that does not accept would hold up the thread.
fn connect_one(address: &UnixAddr) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
    connect(socket.as_raw_fd(), address)?;
    Ok(socket.into())
}

/// The name that [`connect_any`] gave the socket.
pub(super) fn own_name(stream: &UnixStream) -> nix::Result<UnixAddr> {
    getsockname(stream.as_raw_fd())
}

fn parse(address: &str) -> Option<UnixAddr> {
    let options = address.trim().strip_prefix("unix:")?;
    options.split(',').find_map(|option| match option.split_once('=')? {
        ("path", path) => UnixAddr::new(unescape(path)?.as_slice()).ok(),
        ("abstract", name) => UnixAddr::new_abstract(&unescape(name)?).ok(),
        _ => None,
    })
}

/// Undoes `%2f`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(plain)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::path::Path;

    use super::*;

    #[test]
    fn paths_are_unescaped_and_other_options_skipped() {
        let address = parse("unix:guid=00,path=/run/a%20b%2Fc").expect("valid");
        assert_eq!(address.path(), Some(Path::new("/run/a b/c")));
        let address = parse("unix:abstract=/tmp/x,guid=1").expect("valid");
        assert_eq!(address.as_abstract(), Some(&b"/tmp/x"[..]));
        for bad in ["", "unix:", "tcp:host=a,port=1", "unix:path=%2", "unix:path=%zz", "unix:dir=/"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_first_that_answers_is_taken_and_knows_our_name() {
        let name = format!("cgroupd-test-{}", std::process::id());
        let there = SocketAddr::from_abstract_name(&name).expect("short name");
        let listener = UnixListener::bind_addr(&there).expect("free name");
        let list = format!("tcp:host=x;unix:path=/nonexistent/bus;unix:abstract={name}");
        let stream = connect_any(&list).expect("somebody listens");
        let (_, peer) = listener.accept().expect("a connection");
        let own = own_name(&stream).expect("bound");
        assert!(own.as_abstract().is_some_and(|name| !name.is_empty()));
        assert_eq!(peer.as_abstract_name(), own.as_abstract());
    }

    #[test]
    fn nobody_there_says_why() {
        let error = connect_any("unix:path=/nonexistent/bus").expect_err("no such socket");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = connect_any("tcp:host=localhost,port=1").expect_err("not for us");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
