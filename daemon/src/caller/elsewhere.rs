//! Work in a namespace of the caller's: on a thread of its own, which ends there. A thread that
//! could not come back would do the next request in the wrong place.

use std::thread::Builder;

use nix::errno::Errno;

/// What is done in a namespace are a few system calls.
const STACK: usize = 128 << 10;

/// Runs `work`, which enters a namespace first, on a new thread of this name, and waits for it.
///
/// # Errors
/// What `work` answers; ENOMEM when no thread can be started: threads or memory ran out.
pub(super) fn elsewhere<T: Send>(
    name: &str,
    work: impl FnOnce() -> nix::Result<T> + Send,
) -> nix::Result<T> {
    std::thread::scope(|threads| {
        let thread = Builder::new().name(name.to_owned()).stack_size(STACK);
        let thread = thread.spawn_scoped(threads, work);
        thread.map_err(|_| Errno::ENOMEM)?.join().unwrap_or(Err(Errno::EFAULT))
    })
}
