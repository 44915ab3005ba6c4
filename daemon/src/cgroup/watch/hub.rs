//! Who looks when: eyes are told that a file or a directory may say something new, by one thread
//! that sleeps until the kernel has a notice. v1's files give none, so eyes on them are told from
//! time to time, and only while there are any.

use std::collections::HashMap;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::notices::{Notice, Notices, Token};
use crate::cgroup::handle::errno_of;

/// How often v1 is looked at, unless that takes long.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Looking at v1 may take one part in so many of the time.
const SHARE: u32 = 20;

/// Somebody who wants to look when something may have changed.
pub trait Eye: Send + Sync {
    /// Looks, without waiting for anybody; `false` when it has seen enough.
    fn look(&self) -> bool;
}

/// Tells the eyes. The thread starts with the first of them and ends with the hub.
#[derive(Default)]
pub struct Hub(Mutex<Option<Running>>);

struct Running {
    eyes: Arc<Eyes>,
    wake: PipeWriter,
}

struct Eyes(Mutex<State>);

struct State {
    notices: Notices,
    eyes: HashMap<u64, Open>,
    by_token: HashMap<Token, Vec<u64>>,
    next: u64,
}

struct Open {
    eye: Arc<dyn Eye>,
    tokens: Vec<Token>,
    polled: bool,
}

/// An open eye; it closes when this is dropped.
pub struct Sight {
    eyes: Weak<Eyes>,
    number: u64,
}

impl Hub {
    /// Opens an eye on files and directories; a polled one is told every [`INTERVAL`] as well.
    ///
    /// # Errors
    /// EMFILE without an inotify instance, ENOSPC at the kernel's limit of watches, EAGAIN
    /// without a thread.
    pub fn open(
        &self,
        eye: Arc<dyn Eye>,
        files: &[BorrowedFd<'_>],
        directories: &[BorrowedFd<'_>],
        polled: bool,
    ) -> nix::Result<Sight> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match running.as_mut() {
            Some(running) => running,
            None => running.insert(start()?),
        };
        let number = running.eyes.add(eye, files, directories, polled)?;
        if polled {
            // A full pipe wakes as well.
            let _ = running.wake.write(&[0]);
        }
        Ok(Sight { eyes: Arc::downgrade(&running.eyes), number })
    }

    /// How many eyes are open.
    pub fn count(&self) -> usize {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map_or(0, |running| running.eyes.lock().eyes.len())
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hub").field("eyes", &self.count()).finish()
    }
}

impl std::fmt::Debug for Sight {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Sight").field(&self.number).finish()
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        if let Some(eyes) = self.eyes.upgrade() {
            // The eye itself may hold other sights: it is dropped without the lock.
            let closed = eyes.lock().close(self.number);
            drop(closed);
        }
    }
}

fn start() -> nix::Result<Running> {
    let notices = Notices::new()?;
    let state = State { notices, eyes: HashMap::new(), by_token: HashMap::new(), next: 0 };
    let eyes = Arc::new(Eyes(Mutex::new(state)));
    let (woken, wake) = std::io::pipe().map_err(errno_of)?;
    let seen = Arc::clone(&eyes);
    let thread = Builder::new().name("watch".into()).spawn(move || seen.run(woken));
    thread.map_err(errno_of)?;
    Ok(Running { eyes, wake })
}

impl Eyes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(
        &self,
        eye: Arc<dyn Eye>,
        files: &[BorrowedFd<'_>],
        directories: &[BorrowedFd<'_>],
        polled: bool,
    ) -> nix::Result<u64> {
        let mut state = self.lock();
        let mut tokens = Vec::new();
        let begun = files
            .iter()
            .map(|file| (file, false))
            .chain(directories.iter().map(|directory| (directory, true)))
            .try_for_each(|(fd, is_dir)| {
                let token = match is_dir {
                    false => state.notices.begin(*fd)?,
                    true => state.notices.begin_directory(*fd)?,
                };
                tokens.push(token);
                Ok(())
            });
        if let Err(errno) = begun {
            tokens.into_iter().for_each(|token| state.notices.end(token));
            return Err(errno);
        }
        let number = state.next;
        state.next += 1;
        for token in &tokens {
            state.by_token.entry(*token).or_default().push(number);
        }
        state.eyes.insert(number, Open { eye, tokens, polled });
        Ok(number)
    }

    /// Until the hub is gone, which closes the pipe.
    fn run(&self, mut woken: PipeReader) {
        let mut next_poll = Instant::now();
        while self.wait(&woken, next_poll).is_ok_and(|ready| !ready || drain(&mut woken)) {
            let (told, polling) = self.lock().told(Instant::now() >= next_poll);
            let began = Instant::now();
            for (number, eye) in told {
                if !eye.look() {
                    let closed = self.lock().close(number);
                    drop(closed);
                }
            }
            if polling {
                let now = Instant::now();
                next_poll = now + INTERVAL.max((now - began) * SHARE);
            }
        }
    }

    /// Sleeps until there are notices, the pipe is written to (then `true`), or it is time to
    /// look at v1.
    fn wait(&self, woken: &PipeReader, next_poll: Instant) -> nix::Result<bool> {
        let (notices, polled) = {
            let state = self.lock();
            let polled = state.eyes.values().any(|open| open.polled);
            (state.notices.descriptor(), polled)
        };
        let left = next_poll.saturating_duration_since(Instant::now());
        let timeout = match polled {
            // Rounded up, so that it does not wake too early and sleep again.
            true => {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            false => PollTimeout::NONE,
        };
        let mut fds = [
            PollFd::new(notices.as_fd(), PollFlags::POLLIN),
            PollFd::new(woken.as_fd(), PollFlags::POLLIN),
        ];
        match nix::poll::poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(fds[1].any().unwrap_or(false)),
            Err(errno) => Err(errno),
        }
    }
}

/// Takes what was written to wake; `false` when nobody can write any more.
fn drain(woken: &mut PipeReader) -> bool {
    woken.read(&mut [0; 64]).is_ok_and(|length| length > 0)
}

type Told = Vec<(u64, Arc<dyn Eye>)>;

impl State {
    /// The eyes that have to look, each once, and whether those on v1 are among them.
    fn told(&mut self, may_poll: bool) -> (Told, bool) {
        let notices = self.notices.take().unwrap_or_else(|_| vec![Notice::Lost]);
        let all = notices.contains(&Notice::Lost);
        let polling = may_poll && self.eyes.values().any(|open| open.polled);
        let mut numbers: Vec<u64> = notices
            .iter()
            .filter_map(|notice| match notice {
                Notice::Changed(token) | Notice::Gone(token) => self.by_token.get(token),
                Notice::Lost => None,
            })
            .flatten()
            .copied()
            .collect();
        let others = self.eyes.iter().filter(|(_, open)| all || polling && open.polled);
        numbers.extend(others.map(|(number, _)| *number));
        numbers.sort_unstable();
        numbers.dedup();
        let told = numbers
            .into_iter()
            .filter_map(|number| Some((number, Arc::clone(&self.eyes.get(&number)?.eye))))
            .collect();
        (told, polling)
    }

    fn close(&mut self, number: u64) -> Option<Open> {
        let open = self.eyes.remove(&number)?;
        for token in &open.tokens {
            self.notices.end(*token);
            if let Some(numbers) = self.by_token.get_mut(token) {
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    self.by_token.remove(token);
                }
            }
        }
        Some(open)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Eye for Counting {
        fn look(&self) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst) < 2
        }
    }

    impl Counting {
        fn reaches(&self, count: usize) -> bool {
            let end = Instant::now() + Duration::from_secs(10);
            while self.0.load(Ordering::SeqCst) < count && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(2));
            }
            self.0.load(Ordering::SeqCst) == count
        }
    }

    #[test]
    fn an_eye_looks_when_its_file_changes_or_its_directory_loses_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events");
        let mut file = File::create(&path).unwrap();
        let directory = File::open(place.path()).unwrap();
        std::fs::create_dir(place.path().join("child")).unwrap();
        let (hub, eye) = (Hub::default(), Arc::new(Counting::default()));
        let seen = Arc::clone(&eye) as Arc<dyn Eye>;
        let sight = hub.open(seen, &[file.as_fd()], &[directory.as_fd()], false).unwrap();
        assert_eq!((hub.count(), eye.0.load(Ordering::SeqCst)), (1, 0));
        file.write_all(b"1").unwrap();
        assert!(eye.reaches(1));
        std::fs::remove_dir(place.path().join("child")).unwrap();
        assert!(eye.reaches(2));
        drop(sight);
        assert_eq!(hub.count(), 0);
        file.write_all(b"2").unwrap();
        assert!(eye.reaches(2));
    }

    #[test]
    fn a_polled_eye_looks_until_it_has_seen_enough() {
        let (hub, eye) = (Hub::default(), Arc::new(Counting::default()));
        let seen = Arc::clone(&eye) as Arc<dyn Eye>;
        let _sight = hub.open(seen, &[], &[], true).unwrap();
        assert!(eye.reaches(3));
        let end = Instant::now() + Duration::from_secs(10);
        while hub.count() > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(hub.count(), 0);
    }
}
