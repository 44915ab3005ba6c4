//! Messages of UNIX sockets with all that the kernel attaches to them. Whoever shares a socket may
//! have more attached than was asked for, pidfds and labels too: nothing of it may be lost, for it
//! would stay open.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::check;

const SO_PASSPIDFD: libc::c_int = 76;
/// `include/linux/socket.h`; since Linux 6.5.
const SCM_PIDFD: libc::c_int = 0x04;

/// What one `recvmsg(2)` brought.
#[derive(Debug, Default)]
pub struct Received {
    /// How many bytes; 0 is the end of a stream, or an empty datagram.
    pub bytes: usize,
    /// Who sent it, or whom the sender named, as the daemon's namespaces call them.
    pub credentials: Option<Credentials>,
    /// The process of the credentials.
    pub pidfd: Option<OwnedFd>,
    /// Descriptors that came along.
    pub descriptors: Vec<OwnedFd>,
}

/// `struct ucred`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// A process; 0 for one that is not visible here.
    pub pid: i32,
    /// A user.
    pub uid: u32,
    /// A group.
    pub gid: u32,
}

/// Has the kernel attach credentials to what is received from now on; and pidfds, which it says
/// whether it can.
///
/// # Errors
/// ENOTSOCK, and EOPNOTSUPP for sockets of another family.
pub fn pass_credentials(socket: impl AsFd) -> nix::Result<bool> {
    set(&socket, libc::SO_PASSCRED)?;
    Ok(set(&socket, SO_PASSPIDFD).is_ok())
}

fn set(socket: impl AsFd, option: libc::c_int) -> nix::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the option is an int, which lives, of the length that is said.
    let set = unsafe {
        libc::setsockopt(socket, libc::SOL_SOCKET, option, (&raw const on).cast(), length)
    };
    check(set.into()).map(drop)
}

/// Receives one message, without waiting, into `buffer`; of a longer datagram the rest is lost.
///
/// # Errors
/// EAGAIN when there is none, ECONNRESET.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> nix::Result<Received> {
    // Room for 253 descriptors, credentials, a pidfd, a label and time stamps. What does not fit
    // the kernel drops: it is not opened here.
    let mut control = [0u64; 512];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros are a valid header, padding included.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header's pointers are to a buffer and a control buffer that live, of the lengths
    // that it says.
    let bytes = check(unsafe {
        libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) as libc::c_long
    })?;
    let mut received = Received { bytes: bytes as usize, ..Received::default() };
    // SAFETY: the kernel has filled the control buffer and said how far.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !at.is_null() {
        // SAFETY: `at` is a header that the kernel wrote, with so many bytes of data behind it.
        unsafe {
            let length = (*at).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
            let data = std::slice::from_raw_parts(libc::CMSG_DATA(at), length);
            received.take((*at).cmsg_level, (*at).cmsg_type, data);
            at = libc::CMSG_NXTHDR(&raw const header, at);
        }
    }
    Ok(received)
}

impl Received {
    /// Takes over what one control message has.
    fn take(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        let words = || {
            data.chunks_exact(4).filter_map(|word| Some(i32::from_ne_bytes(*word.first_chunk()?)))
        };
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                self.descriptors.extend(words().filter_map(received_descriptor));
            }
            (libc::SOL_SOCKET, SCM_PIDFD) => {
                self.pidfd = words().next().and_then(received_descriptor);
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) => {
                if let [pid, uid, gid] = words().collect::<Vec<i32>>()[..] {
                    let (uid, gid) = (uid.cast_unsigned(), gid.cast_unsigned());
                    self.credentials = Some(Credentials { pid, uid, gid });
                }
            }
            _ => {}
        }
    }
}

/// A negative number stands for a pidfd that could not be made.
fn received_descriptor(number: i32) -> Option<OwnedFd> {
    // SAFETY: the kernel has just opened it for whoever receives this message.
    (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends one message without waiting, as the process and the ids of `credentials`.
///
/// # Errors
/// EAGAIN when there is no room, EPIPE, ESRCH when there is no such process, EPERM without the
/// right to name it.
pub fn send(socket: impl AsFd, bytes: &[u8], credentials: Credentials) -> nix::Result<usize> {
    let Credentials { pid, uid, gid } = credentials;
    let named = libc::ucred { pid, uid, gid };
    let mut control = [0u64; 4];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all zeros are a valid header, padding included.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: a length that is computed from another.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(size_of_val(&named) as u32) } as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the control buffer is aligned, and longer than one header with credentials; the
    // kernel reads the bytes and does not write them.
    let sent = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_CREDENTIALS;
        (*first).cmsg_len = libc::CMSG_LEN(size_of_val(&named) as u32) as _;
        libc::CMSG_DATA(first).cast::<libc::ucred>().write_unaligned(named);
        libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const header, flags)
    };
    check(sent as libc::c_long).map(|sent| sent as usize)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixDatagram;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

    use super::*;

    fn own() -> Credentials {
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        Credentials { pid: nix::unistd::getpid().as_raw(), uid, gid }
    }

    #[test]
    fn credentials_are_passed() {
        let (one, other) = UnixDatagram::pair().unwrap();
        let has_pidfds = pass_credentials(&one).unwrap();
        send(&other, b"x", own()).unwrap();
        let mut byte = [0];
        let received = receive(&one, &mut byte).unwrap();
        assert_eq!((received.bytes, &byte, received.credentials), (1, b"x", Some(own())));
        assert_eq!(received.pidfd.is_some(), has_pidfds);
        assert_eq!(receive(&one, &mut byte).unwrap_err(), nix::errno::Errno::EAGAIN);
    }

    #[test]
    fn everything_that_comes_along_is_taken_over() {
        let (one, other) = UnixDatagram::pair().unwrap();
        pass_credentials(&one).unwrap();
        let (end, writer) = nix::unistd::pipe().unwrap();
        let many = [writer.as_raw_fd(); 253];
        let control = [ControlMessage::ScmRights(&many)];
        let part = [std::io::IoSlice::new(b"x")];
        let flags = MsgFlags::empty();
        sendmsg::<()>(other.as_raw_fd(), &part, &control, flags, None).unwrap();
        drop(writer);
        let received = receive(&one, &mut [0]).unwrap();
        assert_eq!((received.descriptors.len(), received.credentials), (253, Some(own())));
        drop(received);
        assert_eq!(nix::unistd::read(&end, &mut [0]), Ok(0), "none is left open");
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        let file = File::open("/dev/null").unwrap();
        assert_eq!(pass_credentials(&file).unwrap_err(), nix::errno::Errno::ENOTSOCK);
    }
}
