//! The conversation of an Scm call, on a socket that the client has handed over: it is asked for
//! credentials with a byte, and told the result. Whoever is silent is not waited for.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, sendmsg,
};
use rustix::net::sockopt::{set_socket_passcred, socket_acceptconn};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::watched::watched;
use crate::transport::PeerSocket;

/// How long the other end may be silent.
const SILENCE: Duration = Duration::from_secs(2);
/// What it is asked with.
const ASK: u8 = b'1';

/// One end of a connected UNIX socket of any type.
#[derive(Debug)]
pub(super) struct Talk {
    socket: AsyncFd<OwnedFd>,
    /// What it is a copy of, and closed after it.
    _original: PeerSocket,
}

impl Talk {
    /// Takes a socket that is fit for it.
    ///
    /// # Errors
    /// EINVAL for one that listens.
    pub(super) fn over(original: PeerSocket) -> io::Result<Self> {
        let socket = original.try_clone()?;
        if socket_acceptconn(&socket)? {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        set_socket_passcred(&socket, true)?;
        let socket = watched(socket, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, _original: original })
    }

    /// Asks for credentials: those the other end sends, or its own, which the kernel fills in.
    ///
    /// # Errors
    /// When it is silent, has gone, or sends none.
    pub(super) async fn ask(&self) -> io::Result<UnixCredentials> {
        self.send(&[ASK]).await?;
        let received = self.socket.async_io(Interest::READABLE, receive);
        tokio::time::timeout(SILENCE, received).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Sends bytes in one piece.
    ///
    /// # Errors
    /// When the other end has gone, or does not take them.
    pub(super) async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.send_with(bytes, None).await
    }

    /// Sends a process, as credentials that the kernel translates for whoever receives them.
    ///
    /// # Errors
    /// As [`Self::send`], and when there is no such process any more.
    pub(super) async fn send_process(&self, byte: u8, pid: i32) -> io::Result<()> {
        let credentials = libc::ucred { pid, uid: 0, gid: 0 }.into();
        self.send_with(&[byte], Some(credentials)).await
    }

    async fn send_with(&self, bytes: &[u8], with: Option<UnixCredentials>) -> io::Result<()> {
        let mut rest = bytes;
        let all = async {
            loop {
                let sent =
                    self.socket.async_io(Interest::WRITABLE, |fd| send(fd, rest, with.as_ref()));
                rest = rest.get(sent.await?..).unwrap_or_default();
                if rest.is_empty() {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(SILENCE, all).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

/// The descriptor shares its flags with the client's, so that each call says not to wait.
fn send(fd: &OwnedFd, bytes: &[u8], with: Option<&UnixCredentials>) -> io::Result<usize> {
    let control = with.map(ControlMessage::ScmCredentials);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let parts = [IoSlice::new(bytes)];
    Ok(sendmsg::<()>(fd.as_raw_fd(), &parts, control.as_slice(), flags, None)?)
}

/// There is room for credentials alone: descriptors that come with them are not taken.
fn receive(fd: &OwnedFd) -> io::Result<UnixCredentials> {
    let (mut byte, mut space) = ([0], nix::cmsg_space!(UnixCredentials));
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(fd.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let credentials = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmCredentials(credentials) => Some(credentials),
        _ => None,
    });
    credentials.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
