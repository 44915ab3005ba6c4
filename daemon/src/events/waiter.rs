//! The one thread that waits: for inotify, for the next look at v1, and for the end.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, Inotify};

use super::PERIOD;
use super::hub::Table;
use std::sync::Arc;

/// Waits until the other end of `alarm` is closed. A byte there means that something on v1 may
/// be subscribed to by now.
pub(super) fn run(table: &Arc<Table>, inotify: &Inotify, mut alarm: UnixStream) {
    loop {
        let timeout = match table.has_v1() {
            true => PollTimeout::try_from(PERIOD).unwrap_or(PollTimeout::MAX),
            false => PollTimeout::NONE,
        };
        let mut ready = [
            PollFd::new(inotify.as_fd(), PollFlags::POLLIN),
            PollFd::new(alarm.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, timeout) {
            Ok(0) => {
                table.look_at_v1();
                continue;
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return tracing::error!(%error, "events are not seen any more"),
        }
        if ready[1].any() == Some(true) && alarm.read(&mut [0; 64]).unwrap_or(0) == 0 {
            return;
        }
        for event in inotify.read_events().unwrap_or_default() {
            match event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                true => table.look_at_all(),
                false => table.look_at(event.wd),
            }
        }
    }
}
