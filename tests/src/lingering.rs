//! Sockets that make whoever closes the last copy wait.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// A TCP socket that takes a minute to close, because it has something to say to somebody who
/// does not listen.
///
/// # Panics
/// When the kernel refuses.
pub fn slow_to_close(listener: &TcpListener) -> OwnedFd {
    let address = listener.local_addr().expect("it is bound");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nonblocking(true).expect("ours");
    // Full once is not full for good: the kernel moves what is there to the other end.
    for _ in 0..4 {
        while stream.write(&[0; 65536]).is_ok() {}
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.set_nonblocking(false).expect("ours");
    set_socket_linger(&stream, Some(Duration::from_secs(60))).expect("ours");
    stream.into()
}
