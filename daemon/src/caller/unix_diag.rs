//! Which socket a UNIX socket is connected to, as `unix_diag` (sock_diag(7)) says.
//!
//! One request and one reply over netlink; the numbers are those of `linux/unix_diag.h`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, sendto,
    socket,
};
use nix::sys::stat::fstat;
use rustix::net::sockopt::socket_cookie;

use crate::cgroup::handle::errno_of;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const UDIAG_SHOW_PEER: u32 = 4;
const UNIX_DIAG_PEER: u16 = 2;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct unix_diag_msg`: family, type, state, padding, inode, cookie.
const MESSAGE: usize = 16;
/// `struct nlattr`.
const ATTRIBUTE: usize = 4;
/// `struct nlmsghdr` and `struct unix_diag_req`.
const REQUEST: usize = HEADER + 24;
/// More than the kernel's reply, a message with one number.
const MOST_BYTES: usize = 1024;
/// Messages that are read until one is the kernel's.
const MOST_MESSAGES: usize = 16;

/// A socket as the kernel knows it. Inode numbers are reused once 2^32 were given out, cookies
/// never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    inode: u32,
    cookie: u64,
}

/// The inode number of the socket that `of`, a connected UNIX socket, is connected to. The kernel
/// finds only sockets that were made in the network namespace of the calling thread.
///
/// # Errors
/// ENOENT when it was made in another network namespace, or the kernel has no `unix_diag`; ENOTCONN
/// when the peer has closed its socket; what `socket(2)`, `sendto(2)` and `recvfrom(2)` answer.
pub(super) fn peer_inode(of: impl AsFd) -> nix::Result<u32> {
    peer_inode_of(Id::of(of)?)
}

fn peer_inode_of(id: Id) -> nix::Result<u32> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkSockDiag;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(netlink.as_raw_fd(), &request(id), &kernel, MsgFlags::empty())?;
    peer_in(&reply(&netlink)?, id)
}

impl Id {
    fn of(socket: impl AsFd) -> nix::Result<Self> {
        let cookie = socket_cookie(&socket).map_err(errno_of)?;
        let inode = u32::try_from(fstat(socket)?.st_ino).map_err(|_| Errno::EOVERFLOW)?;
        Ok(Self { inode, cookie })
    }
}

/// The kernel's reply, which it has queued when `sendto(2)` returns, so nothing is waited for. A
/// process with CAP_NET_ADMIN in this network namespace, as the peer's may be, can send messages
/// here too: those are left out.
fn reply(netlink: &OwnedFd) -> nix::Result<Vec<u8>> {
    let mut bytes = vec![0; MOST_BYTES];
    for _ in 0..MOST_MESSAGES {
        let (length, sender) = recvfrom::<NetlinkAddr>(netlink.as_raw_fd(), &mut bytes)?;
        if sender.is_some_and(|address| address.pid() == 0) {
            bytes.truncate(length);
            return Ok(bytes);
        }
    }
    Err(Errno::ENOBUFS)
}

/// Asks for the one socket, by inode number and cookie.
fn request(id: Id) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    put(HEADER, &[libc::AF_UNIX as u8]);
    put(HEADER + 8, &id.inode.to_ne_bytes());
    put(HEADER + 12, &UDIAG_SHOW_PEER.to_ne_bytes());
    // Two halves, the lower one first.
    put(HEADER + 16, &(id.cookie as u32).to_ne_bytes());
    put(HEADER + 20, &((id.cookie >> 32) as u32).to_ne_bytes());
    bytes
}

/// The inode number of the peer in a reply about the socket `id`.
fn peer_in(reply: &[u8], id: Id) -> nix::Result<u32> {
    let kind = number(reply, 4, u16::from_ne_bytes)?;
    if kind == NLMSG_ERROR {
        let errno = number(reply, HEADER, i32::from_ne_bytes)?;
        return Err(Errno::from_raw(errno.wrapping_neg()));
    }
    let halves = [HEADER + 8, HEADER + 12].map(|at| number(reply, at, u32::from_ne_bytes));
    let [low, high] = [halves[0]?, halves[1]?].map(u64::from);
    let about =
        Id { inode: number(reply, HEADER + 4, u32::from_ne_bytes)?, cookie: high << 32 | low };
    if kind != SOCK_DIAG_BY_FAMILY || about != id {
        return Err(Errno::EPROTO);
    }
    // A closed peer has no inode any more, and the kernel says 0.
    let peer = attribute(reply, UNIX_DIAG_PEER)?;
    let peer = peer.map(|bytes| number(bytes, 0, u32::from_ne_bytes)).transpose()?;
    peer.filter(|inode| *inode != 0).ok_or(Errno::ENOTCONN)
}

/// The content of an attribute that follows the message; `None` when it is not there.
fn attribute(reply: &[u8], wanted: u16) -> nix::Result<Option<&[u8]>> {
    let mut at = HEADER + MESSAGE;
    while at < reply.len() {
        let length = usize::from(number(reply, at, u16::from_ne_bytes)?);
        let kind = number(reply, at + 2, u16::from_ne_bytes)?;
        let content = reply.get(at + ATTRIBUTE..at + length).ok_or(Errno::EPROTO)?;
        if kind == wanted {
            return Ok(Some(content));
        }
        at += length.next_multiple_of(4);
    }
    Ok(None)
}

fn number<const N: usize, T>(bytes: &[u8], at: usize, from: fn([u8; N]) -> T) -> nix::Result<T> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map(|bytes| from(*bytes)).ok_or(Errno::EPROTO)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_a_pair() {
        let (one, other) = UnixStream::pair().unwrap();
        assert_eq!(peer_inode(&one), Ok(Id::of(&other).unwrap().inode));
        assert_eq!(peer_inode(&other), Ok(Id::of(&one).unwrap().inode));
        drop(other);
        assert_eq!(first_error(|| peer_inode(&one)), Errno::ENOTCONN);
    }

    #[test]
    fn a_cookie_of_another_socket_is_stale_and_a_closed_socket_is_not_there() {
        let (one, _other) = UnixStream::pair().unwrap();
        let id = Id::of(&one).unwrap();
        let stale = Id { cookie: id.cookie + (1 << 32), ..id };
        assert_eq!(peer_inode_of(stale), Err(Errno::ESTALE));
        drop(one);
        assert_eq!(first_error(|| peer_inode_of(id)), Errno::ENOENT);
    }

    /// Another test may be starting a process, which has a copy of all descriptors until it runs
    /// its program.
    fn first_error(ask: impl Fn() -> nix::Result<u32>) -> Errno {
        loop {
            match ask() {
                Ok(_) => std::thread::yield_now(),
                Err(errno) => return errno,
            }
        }
    }

    /// Captured on Linux 6.18 (x86-64).
    #[cfg(target_endian = "little")]
    mod captured {
        use super::*;

        const ID: Id = Id { inode: 15_101, cookie: 1 };
        const CONNECTED: &str = "300000001400000000000000fe4b000001010100fd3a0000010000000000000008\
                                 000200fe3a00000500060000000000";
        const PEER_CLOSED: &str = "300000001400000000000000fe4b000001010100fd3a00000100000000000000\
                                   08000200000000000500060003000000";
        const NOT_FOUND: &str = "3c0000000200000000000000fe4b0000feffffff2800000014000100000000000000\
                                 00000100000000000000010000000400000001000000";

        fn bytes(hex: &str) -> Vec<u8> {
            let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
        }

        #[test]
        fn a_request() {
            let expected = "280000001400010000000000000000000100000000000000fd3a00000400000001000000\
                            00000000";
            assert_eq!(request(ID).to_vec(), bytes(expected));
        }

        #[test]
        fn replies() {
            assert_eq!(peer_in(&bytes(CONNECTED), ID), Ok(15_102));
            assert_eq!(peer_in(&bytes(PEER_CLOSED), ID), Err(Errno::ENOTCONN));
            assert_eq!(peer_in(&bytes(NOT_FOUND), ID), Err(Errno::ENOENT));
            let other = Id { cookie: 2, ..ID };
            assert_eq!(peer_in(&bytes(CONNECTED), other), Err(Errno::EPROTO));
        }

        #[test]
        fn a_reply_that_is_cut_short_is_an_error() {
            let whole = bytes(CONNECTED);
            for length in 0..40 {
                assert!(peer_in(&whole[..length], ID).is_err(), "{length}");
            }
        }
    }
}
