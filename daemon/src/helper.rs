//! The helper process. It receives and closes what peers send along with bytes, because closing a
//! descriptor can wait for as long as its sender likes: a file of a FUSE file system for that file
//! system, which no signal ends, and a socket with SO_LINGER for its other end. A process that
//! waits so can be killed, or left alone, and the daemon goes on.
//!
//! It is the daemon's executable, started anew, with one socket to the daemon and nothing else: no
//! user's id, no capability, no lock, and of the daemon's connections the one that it is asked about.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use rustix::cmsg_space;
use rustix::net::sockopt::socket_domain;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::thread::{
    CapabilitySets, set_capabilities, set_name, set_no_new_privs, set_thread_gid,
    set_thread_groups, set_thread_uid,
};

use crate::sys::pidfd;

/// The argument with which the daemon's executable is this process.
pub const ARGUMENT: &str = "take-descriptors";
/// The argument with which it exits at once, and so closes what it has inherited.
pub const CLOSE_ARGUMENT: &str = "close-descriptors";

/// The most descriptors that the kernel passes at once (`SCM_MAX_FD`).
pub const MOST_DESCRIPTORS: usize = 253;
/// The most bytes that are received at once.
pub const MOST_BYTES: usize = 64 << 10;

/// A uid and gid that no user has: nobody but root may signal this process.
const UNUSED_ID: u32 = u32::MAX - 1;

/// What the daemon asks, with a connection: to receive so many bytes, which it has seen already, and
/// what came along with them. Any other message makes the process exit, which closes what came with
/// it: connections that are only to be closed are sent that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How many bytes.
    pub bytes: usize,
    /// Of so many descriptors the kinds are wanted, and those of some kinds themselves.
    pub most: usize,
    /// Whether UNIX sockets are wanted, beside pidfds.
    pub sockets: bool,
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A process, which the daemon gets.
    Pidfd = b'p',
    /// A UNIX socket, which the daemon gets.
    Socket = b's',
    /// Anything else: it stays here, and is closed.
    Other = b'-',
}

/// Sent after every descriptor of a request has been closed.
pub const CLOSED: &[u8] = b"c";

impl Request {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        let Self { bytes, most, sockets } = self;
        let [a, b, c, d] = u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        [b't', u8::try_from(most).unwrap_or(u8::MAX), sockets.into(), 0, a, b, c, d]
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [b't', most, sockets, 0, a, b, c, d] = *bytes else { return None };
        let bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        (bytes <= MOST_BYTES).then_some(Self { bytes, most: most.into(), sockets: sockets != 0 })
    }
}

impl Kind {
    /// The kind that a byte of an answer stands for.
    pub fn of_byte(byte: u8) -> Self {
        match byte {
            b'p' => Self::Pidfd,
            b's' => Self::Socket,
            _ => Self::Other,
        }
    }

    /// Only the link is read, and a socket's own option: any other operation on a file may be
    /// answered by whoever runs its file system.
    fn of(descriptor: &OwnedFd, sockets: bool) -> Self {
        if pidfd::is_pidfd(descriptor) {
            return Self::Pidfd;
        }
        let is_wanted = sockets
            && pidfd::link(descriptor).starts_with("socket:[")
            && socket_domain(descriptor) == Ok(AddressFamily::UNIX);
        if is_wanted { Self::Socket } else { Self::Other }
    }
}

/// Runs the helper if this process was started as one. For test executables, which the transports in
/// them start again through `/proc/self/exe`.
pub fn run_if_asked() -> Option<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some(ARGUMENT) => Some(run()),
        Some(CLOSE_ARGUMENT) => Some(ExitCode::SUCCESS),
        _ => None,
    }
}

/// Does what the daemon asks, until that ends.
pub fn run() -> ExitCode {
    // Whatever goes wrong the daemon sees by the end of the connection.
    serve(io::stdin().as_fd()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn serve(daemon: BorrowedFd<'_>) -> io::Result<()> {
    give_up_rights()?;
    let mut buffer = vec![0; MOST_BYTES];
    while let Some((request, socket)) = next_request(daemon)? {
        take(daemon, (&socket, &mut buffer[..request.bytes]), request)?;
        drop(socket);
        sendmsg(daemon, &[IoSlice::new(CLOSED)], &mut Default::default(), SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Drops root's ids and all capabilities. In a user namespace that does not map the unused id, where
/// the daemon itself is in a container, the ids are kept.
fn give_up_rights() -> io::Result<()> {
    let _unnamed = set_name(c"cgroupd-helper");
    set_no_new_privs(true)?;
    if rustix::process::geteuid().is_root() {
        let (user, group) =
            (rustix::process::Uid::from_raw(UNUSED_ID), rustix::process::Gid::from_raw(UNUSED_ID));
        let unmapped = Err(rustix::io::Errno::INVAL);
        for given_up in [set_thread_groups(&[]), set_thread_gid(group), set_thread_uid(user)] {
            if given_up != unmapped {
                given_up?;
            }
        }
    }
    let none = rustix::thread::CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(set_capabilities(None, none)?)
}

/// `None` when the daemon has ended.
fn next_request(daemon: BorrowedFd<'_>) -> io::Result<Option<(Request, OwnedFd)>> {
    let mut bytes = [0; 8];
    let (count, mut came) = receive(daemon, &mut bytes, RecvFlags::empty())?;
    if count == 0 {
        return Ok(None);
    }
    match (Request::from_bytes(&bytes[..count]), came.pop()) {
        (Some(request), Some(socket)) => Ok(Some((request, socket))),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    Ok((received.bytes, rights.flatten().collect()))
}

/// Receives, answers with the kinds of what came and with what the daemon gets, and closes the rest.
fn take(
    daemon: BorrowedFd<'_>,
    (socket, buffer): (&OwnedFd, &mut [u8]),
    Request { most, sockets, .. }: Request,
) -> io::Result<()> {
    let (count, came) = receive(socket, buffer, RecvFlags::DONTWAIT)?;
    if count != buffer.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let kinds: Vec<Kind> = came.iter().take(most).map(|one| Kind::of(one, sockets)).collect();
    let passed: Vec<BorrowedFd<'_>> = came
        .iter()
        .zip(&kinds)
        .filter(|(_, kind)| **kind != Kind::Other)
        .map(|(descriptor, _)| descriptor.as_fd())
        .collect();
    // How many came, of which there may be more than kinds.
    let answer: Vec<u8> =
        std::iter::once(came.len() as u8).chain(kinds.iter().map(|kind| *kind as u8)).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !passed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&passed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(daemon, &[IoSlice::new(&answer)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_way() {
        for request in [
            Request { bytes: MOST_BYTES, most: MOST_DESCRIPTORS, sockets: true },
            Request { bytes: 1, most: 16, sockets: false },
        ] {
            assert_eq!(Request::from_bytes(&request.to_bytes()), Some(request));
        }
        let long = Request { bytes: MOST_BYTES + 1, most: 1, sockets: false };
        assert_eq!(Request::from_bytes(&long.to_bytes()), None);
        assert_eq!(Request::from_bytes(b"x"), None);
    }

    #[test]
    fn kinds_survive_the_way() {
        for kind in [Kind::Pidfd, Kind::Socket, Kind::Other] {
            assert_eq!(Kind::of_byte(kind as u8), kind);
        }
    }
}
