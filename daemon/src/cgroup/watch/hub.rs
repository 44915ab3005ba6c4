//! Who looks when: eyes are told that a file or a directory may say something new, by one thread
//! that sleeps until the kernel has a notice. v1's files give none, so eyes on them are told from
//! time to time, and only while there are any.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::eyes::{Eye, Eyes, Look, look_safely};
use super::notices::Notices;
use super::rounds::Rounds;
use crate::accounting::Account;
use crate::cgroup::handle::errno_of;

/// How long v1 may be looked at before notices are taken again.
const SLICE: Duration = Duration::from_millis(20);

/// Tells the eyes. The thread starts with the first of them and ends with the hub.
#[derive(Default)]
pub struct Hub(Mutex<Option<Running>>);

struct Running {
    eyes: Arc<Shared>,
    wake: PipeWriter,
}

/// The eyes, shared with the thread that tells them.
struct Shared(Mutex<Eyes>);

/// An open eye; it closes when this is dropped.
pub struct Sight {
    eyes: Weak<Shared>,
    number: u64,
}

impl Hub {
    /// Opens an eye on files and directories; a polled one is told every
    /// [`INTERVAL`](super::INTERVAL) as well, or later when the eyes of its lane take long.
    ///
    /// # Errors
    /// EMFILE without an inotify instance, ENOSPC at the kernel's limit of watches, EAGAIN
    /// without a thread.
    pub fn open(
        &self,
        eye: Arc<dyn Eye>,
        files: &[BorrowedFd<'_>],
        directories: &[BorrowedFd<'_>],
        (lane, polled): (Account, bool),
    ) -> nix::Result<Sight> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match running.as_mut() {
            Some(running) => running,
            None => running.insert(start()?),
        };
        let number = running.eyes.lock().add(eye, files, directories, (lane, polled))?;
        if polled {
            // A full pipe wakes as well.
            let _ = running.wake.write(&[0]);
        }
        Ok(Sight { eyes: Arc::downgrade(&running.eyes), number })
    }

    /// How many eyes are open.
    fn count(&self) -> usize {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map_or(0, |running| running.eyes.lock().len())
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
    // Its own for as long as it runs: a process that is out of descriptors must not lose it.
    let waiting = notices.descriptor();
    let eyes = Arc::new(Shared(Mutex::new(Eyes::new(notices))));
    let (woken, wake) = std::io::pipe().map_err(errno_of)?;
    let seen = Arc::clone(&eyes);
    let thread = Builder::new().name("watch".into()).spawn(move || seen.serve(&waiting, woken));
    thread.map_err(errno_of)?;
    Ok(Running { eyes, wake })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Eyes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the hub is gone. A panic outside of an eye's look is a bug of ours, too: all eyes
    /// stay open, and look anew.
    fn serve(&self, notices: &OwnedFd, mut woken: PipeReader) {
        while catch_unwind(AssertUnwindSafe(|| self.run(notices, &mut woken))).is_err() {
            tracing::error!("a bug: the thread for all watches panicked; it begins again");
            std::thread::sleep(SLICE);
            self.lock().lose();
        }
    }

    /// Until the hub is gone, which closes the pipe.
    fn run(&self, notices: &OwnedFd, woken: &mut PipeReader) {
        let mut rounds = Rounds::default();
        loop {
            let told = self.lock().told();
            told.into_iter().for_each(|(number, eye)| self.look(number, &*eye));
            self.go_on(&mut rounds);
            if self.wait(notices, woken, &rounds) && !drain(woken) {
                return;
            }
        }
    }

    fn look(&self, number: u64, eye: &dyn Eye) {
        let look = look_safely(|| eye.look()).unwrap_or_else(|| {
            eye.failed();
            Look::Over
        });
        match look {
            Look::Over => {
                // As in [`Sight`]'s end: without the lock.
                let closed = self.lock().close(number);
                drop(closed);
            }
            look => self.lock().poll(number, look == Look::Again),
        }
    }

    /// Looks at some of v1. The rest waits until notices have been taken: v2's eyes are not late
    /// because of those who have much to look at.
    fn go_on(&self, rounds: &mut Rounds<Account>) {
        let began = Instant::now();
        rounds.begin(self.lock().polled(), began);
        while let Some((lane, number)) = rounds.pop() {
            let looks = Instant::now();
            let eye = self.lock().get(number);
            if let Some(eye) = eye {
                self.look(number, &*eye);
            }
            rounds.took(lane, looks.elapsed(), Instant::now());
            if began.elapsed() >= SLICE {
                break;
            }
        }
    }

    /// Sleeps until there are notices, the pipe is written to (then `true`), or it is time to
    /// look at v1.
    fn wait(&self, notices: &OwnedFd, woken: &PipeReader, rounds: &Rounds<Account>) -> bool {
        let timeout = match rounds.pause(self.lock().polled(), Instant::now()) {
            Some(Duration::ZERO) => PollTimeout::ZERO,
            // Rounded up, so that it does not wake too early and sleep again.
            Some(pause) => {
                PollTimeout::try_from(pause + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let mut fds = [
            PollFd::new(notices.as_fd(), PollFlags::POLLIN),
            PollFd::new(woken.as_fd(), PollFlags::POLLIN),
        ];
        match nix::poll::poll(&mut fds, timeout) {
            Ok(_) => fds[1].any().unwrap_or(false),
            Err(Errno::EINTR) => false,
            // For want of memory: that passes, and nobody else would look.
            Err(_) => {
                std::thread::sleep(SLICE);
                false
            }
        }
    }
}

/// Takes what was written to wake; `false` when nobody can write any more.
fn drain(woken: &mut PipeReader) -> bool {
    woken.read(&mut [0; 64]).is_ok_and(|length| length > 0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LANE: Account = Account::HostRoot;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Eye for Counting {
        fn look(&self) -> Look {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0..2 => Look::Awake,
                _ => Look::Over,
            }
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
        let sight = hub.open(seen, &[file.as_fd()], &[directory.as_fd()], (LANE, false)).unwrap();
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

    /// Panics at each look; it counts those, and how often it was told so.
    #[derive(Default)]
    struct Broken(AtomicUsize, AtomicUsize);

    impl Eye for Broken {
        fn look(&self) -> Look {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic!("meant by this test")
        }

        fn failed(&self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_panic_ends_one_watch_and_no_other() {
        for polled in [false, true] {
            let place = tempfile::tempdir().unwrap();
            let mut file = File::create(place.path().join("events")).unwrap();
            let (hub, broken) = (Hub::default(), Arc::new(Broken::default()));
            let eye = Arc::new(Counting::default());
            let open = |eye: Arc<dyn Eye>, lane| {
                hub.open(eye, &[file.as_fd()], &[], (lane, polled)).unwrap()
            };
            let _broken = open(Arc::clone(&broken) as _, LANE);
            let _seen = open(Arc::clone(&eye) as _, Account::User(1));
            for times in 1..=2 {
                file.write_all(b"1").unwrap();
                assert!(eye.reaches(times) || polled && eye.0.load(Ordering::SeqCst) > times);
            }
            let end = Instant::now() + Duration::from_secs(10);
            while broken.1.load(Ordering::SeqCst) == 0 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            let times = [&broken.0, &broken.1].map(|count| count.load(Ordering::SeqCst));
            assert_eq!(times, [1, 1], "it looks once, and is told that it has ended");
        }
    }

    #[test]
    fn after_a_panic_of_the_thread_all_look_anew() {
        let place = tempfile::tempdir().unwrap();
        let mut file = File::create(place.path().join("events")).unwrap();
        let (hub, eye) = (Hub::default(), Arc::new(Counting::default()));
        let seen = Arc::clone(&eye) as Arc<dyn Eye>;
        let _sight = hub.open(seen, &[file.as_fd()], &[], (LANE, false)).unwrap();
        let running = hub.0.lock().unwrap();
        let shared = Arc::clone(&running.as_ref().unwrap().eyes);
        shared.lock().lose();
        running.as_ref().unwrap().wake.try_clone().unwrap().write_all(&[0]).unwrap();
        drop(running);
        assert!(eye.reaches(1), "without any notice");
        file.write_all(b"1").unwrap();
        assert!(eye.reaches(2));
    }

    /// Takes its time.
    #[derive(Default)]
    struct Slow(Counting);

    impl Eye for Slow {
        fn look(&self) -> Look {
            std::thread::sleep(Duration::from_millis(50));
            self.0.0.fetch_add(1, Ordering::SeqCst);
            Look::Awake
        }
    }

    /// Its first look ends when the gate is opened.
    #[derive(Default)]
    struct Gated(Counting, Mutex<()>);

    impl Eye for Gated {
        fn look(&self) -> Look {
            drop(self.1.lock());
            self.0.0.fetch_add(1, Ordering::SeqCst);
            Look::Awake
        }
    }

    #[test]
    fn a_storm_of_notices_is_one_look() {
        let place = tempfile::tempdir().unwrap();
        let directory = File::open(place.path()).unwrap();
        let (hub, eye) = (Hub::default(), Arc::new(Gated::default()));
        let seen = Arc::clone(&eye) as Arc<dyn Eye>;
        let _sight = hub.open(seen, &[], &[directory.as_fd()], (LANE, false)).unwrap();
        let gate = eye.1.lock();
        for number in 0..2000 {
            let child = place.path().join(number.to_string());
            std::fs::create_dir(&child).unwrap();
            std::fs::remove_dir(&child).unwrap();
        }
        drop(gate);
        std::thread::sleep(Duration::from_secs(1));
        // The one that waited, and one for all that came meanwhile.
        assert!((1..=2).contains(&eye.0.0.load(Ordering::SeqCst)));
    }

    /// Looks how often another has looked.
    struct Onlooker(Arc<Slow>, AtomicUsize);

    impl Eye for Onlooker {
        fn look(&self) -> Look {
            self.1.store(self.0.0.0.load(Ordering::SeqCst), Ordering::SeqCst);
            Look::Over
        }
    }

    #[test]
    fn much_to_look_at_on_v1_does_not_keep_v2_waiting() {
        const MANY: usize = 1000;
        let place = tempfile::tempdir().unwrap();
        let mut quiet = File::create(place.path().join("quiet")).unwrap();
        let (hub, slow) = (Hub::default(), Arc::new(Slow::default()));
        let open = || hub.open(Arc::clone(&slow) as Arc<dyn Eye>, &[], &[], (LANE, true)).unwrap();
        let _polled: Vec<_> = (0..MANY).map(|_| open()).collect();
        let eye = Arc::new(Onlooker(Arc::clone(&slow), AtomicUsize::new(0)));
        let seen = Arc::clone(&eye) as Arc<dyn Eye>;
        let _quiet = hub.open(seen, &[quiet.as_fd()], &[], (Account::User(2), false)).unwrap();
        while slow.0.0.load(Ordering::SeqCst) < 5 {
            std::thread::sleep(Duration::from_millis(5));
        }
        quiet.write_all(b"1").unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while eye.1.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < end, "it is not told");
            std::thread::sleep(Duration::from_millis(5));
        }
        let meanwhile = eye.1.load(Ordering::SeqCst);
        assert!((5..MANY).contains(&meanwhile), "after {meanwhile} of the others");
    }

    /// Cannot see the first time.
    #[derive(Default)]
    struct Blinded(Counting);

    impl Eye for Blinded {
        fn look(&self) -> Look {
            match self.0.0.fetch_add(1, Ordering::SeqCst) {
                0 => Look::Again,
                _ => Look::Awake,
            }
        }
    }

    #[test]
    fn an_eye_that_could_not_see_looks_once_more() {
        let place = tempfile::tempdir().unwrap();
        let mut file = File::create(place.path().join("events")).unwrap();
        let (hub, eye) = (Hub::default(), Arc::new(Blinded::default()));
        let seen = Arc::clone(&eye) as Arc<dyn Eye>;
        let _sight = hub.open(seen, &[file.as_fd()], &[], (LANE, false)).unwrap();
        file.write_all(b"1").unwrap();
        assert!(eye.0.reaches(2));
        std::thread::sleep(2 * super::super::INTERVAL);
        assert!(eye.0.reaches(2), "it sees again");
    }

    #[test]
    fn a_polled_eye_looks_until_it_has_seen_enough() {
        let (hub, eye) = (Hub::default(), Arc::new(Counting::default()));
        let seen = Arc::clone(&eye) as Arc<dyn Eye>;
        let _sight = hub.open(seen, &[], &[], (LANE, true)).unwrap();
        assert!(eye.reaches(3));
        let end = Instant::now() + Duration::from_secs(10);
        while hub.count() > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(hub.count(), 0);
    }
}
