//! Holds a process by its number while the number is written to `cgroup.procs`.
//!
//! The kernel looks the number up after it has waited for its locks. Before Linux 6.18 one of them
//! is `cgroup_threadgroup_rwsem`, which takes about 8 ms; since then it is `cgroup_mutex` alone,
//! which another move may have for as long. A process that ends meanwhile may have left its number
//! to another user's process, and a pidfd does not prevent that. A traced process keeps its number
//! until its tracer lets it go, dead or alive. So a thread seizes it, which does not stop it, and
//! lets go by ending; there is no other way to let go of a process that runs. (`ptrace(2)`)

use std::collections::HashSet;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;

use super::Request;
use super::victim::uids;
use crate::accounting::{Account, Accounts, Charge, Full, Resource};
use crate::caller::Process;
use crate::policy::{Holding, holding};

/// How long a seizure is waited for. It takes microseconds, unless the process executes a file
/// from a file system that does not answer, or is stopped within a frozen v1 cgroup.
const PATIENCE: Duration = Duration::from_secs(1);
/// For whom a thread works, and the real uid of the process to be seized. A user whose processes
/// cannot be seized does not keep those of others, in the same container too, from being moved.
type Owner = (Account, u32);

/// What is held at the moment. Only one thread can trace a process at a time: whoever moves it
/// as well waits.
#[derive(Clone, Debug)]
pub(super) struct Holds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The numbers that are held, or about to be.
    held: Mutex<HashSet<i32>>,
    let_go: Condvar,
    /// To whom threads are charged that still try when nobody waits any more.
    accounts: Arc<Accounts>,
}

/// A process that keeps its number until this is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    // Fields are dropped in this order.
    _thread: Tracer,
    _turn: Turn,
}

/// The right to hold one number.
#[derive(Debug)]
struct Turn(Holds, i32);

/// The thread that traces.
#[derive(Debug)]
struct Tracer {
    id: i32,
    release: Option<mpsc::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Request<'_> {
    /// Holds a process that is to be moved; `None` where it is moved without, see [`holding`].
    ///
    /// # Errors
    /// As [`Holds::hold`]; also when the process has ended.
    pub(super) fn hold(&self, process: &Process) -> nix::Result<Option<Hold>> {
        let holding = holding(self.subject(), kernel_looks_up_late());
        if holding == Holding::Unneeded {
            return Ok(None);
        }
        let owner = (self.caller.account, uids(process)?[0]);
        match self.service.holds.hold(owner, process.pid) {
            Err(_) if holding == Holding::Wanted && process.is_alive() => Ok(None),
            held => held.map(Some),
        }
    }
}

impl Holds {
    /// Nothing is held.
    pub(super) fn new(accounts: &Arc<Accounts>) -> Self {
        let accounts = Arc::clone(accounts);
        Self(Arc::new(Shared { held: Mutex::default(), let_go: Condvar::new(), accounts }))
    }

    /// Seizes the process with this number, whichever that is: that it is the right one is to
    /// be checked afterwards.
    ///
    /// # Errors
    /// EPERM when it is traced already or is about to end, ESRCH when there is none, ETIMEDOUT
    /// when it cannot be seized for now, ENOMEM when there is no thread for it.
    pub(super) fn hold(&self, owner: Owner, pid: i32) -> nix::Result<Hold> {
        self.check_room(owner).map_err(|_| Errno::ETIMEDOUT)?;
        let turn = self.turn(pid)?;
        let thread = self.trace(owner, pid)?;
        Ok(Hold { _thread: thread, _turn: turn })
    }

    /// Waits until nobody else here holds the number.
    fn turn(&self, pid: i32) -> nix::Result<Turn> {
        let held = lock(&self.0.held);
        let waited = self.0.let_go.wait_timeout_while(held, PATIENCE, |held| held.contains(&pid));
        let (mut held, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match held.insert(pid) {
            true => Ok(Turn(self.clone(), pid)),
            false => Err(Errno::ETIMEDOUT),
        }
    }

    fn trace(&self, owner: Owner, pid: i32) -> nix::Result<Tracer> {
        const STACK: usize = 64 << 10;
        let (answer, answered) = mpsc::sync_channel(1);
        let (release, released) = mpsc::channel();
        let fate = Arc::new(Mutex::new(None));
        let until_the_end = Arc::clone(&fate);
        let work = move || {
            // Dropped, and what it was charged with, when the thread ends.
            let _fate = until_the_end;
            let seized = seize(pid).map(|()| nix::unistd::gettid().as_raw());
            if answer.send(seized).is_ok() && seized.is_ok() {
                let _: Result<Infallible, _> = released.recv();
            }
        };
        let thread = Builder::new().name("hold".into()).stack_size(STACK).spawn(work);
        let thread = thread.map_err(|_| Errno::ENOMEM)?;
        match answered.recv_timeout(PATIENCE) {
            Ok(seized) => {
                seized.map(|id| Tracer { id, release: Some(release), thread: Some(thread) })
            }
            Err(_) => {
                *lock(&fate) = Some(self.charge(owner));
                Err(Errno::ETIMEDOUT)
            }
        }
    }

    fn check_room(&self, owner: Owner) -> Result<(), Full> {
        resources(owner).into_iter().try_for_each(|of| self.0.accounts.check(owner.0, of, 1))
    }

    /// The thread exists: it is charged, however many there are.
    fn charge(&self, owner: Owner) -> [Charge; 2] {
        resources(owner).map(|of| self.0.accounts.charge_unchecked(owner.0, of, 1))
    }
}

fn resources((_, uid): Owner) -> [Resource; 2] {
    [Resource::StuckTracers, Resource::StuckTracersOfUser(uid)]
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.0.0.held).remove(&self.1);
        self.0.0.let_go.notify_all();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.release.take());
        let _ = self.thread.take().map(JoinHandle::join);
        // The kernel lets go of the process after the thread can be joined, and before its
        // entry goes.
        let entry = format!("/proc/self/task/{}", self.id);
        while Path::new(&entry).exists() {
            std::thread::yield_now();
        }
    }
}

/// When another thread of the process executes a program, that thread takes over the number and
/// is not traced: with this option the old leader, which must end first, waits for us.
fn seize(pid: i32) -> nix::Result<()> {
    ptrace::seize(Pid::from_raw(pid), Options::PTRACE_O_TRACEEXIT)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the kernel takes `cgroup_threadgroup_rwsem` between taking the number and looking it up:
/// before Linux 6.18.
fn kernel_looks_up_late() -> bool {
    static LATE: OnceLock<bool> = OnceLock::new();
    *LATE.get_or_init(|| {
        let name = nix::sys::utsname::uname();
        let release = name.as_ref().map(|name| name.release().to_string_lossy());
        release.is_ok_and(|release| is_late(&release))
    })
}

/// What cannot be read is taken for an old kernel.
fn is_late(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 18)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use nix::sys::signal::{Signal, kill};

    use super::*;
    use crate::accounting::Bounds;
    use crate::transport::Limits;

    const ROOT: Owner = (Account::HostRoot, 0);

    impl Default for Holds {
        fn default() -> Self {
            Self::new(&Accounts::new(Bounds::new(&Limits::default(), 100)))
        }
    }

    struct Victim(Child);

    impl Victim {
        fn start() -> Self {
            Self(Command::new("sleep").arg("60").spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            self.0.id().cast_signed()
        }

        fn status(&self, name: &str) -> String {
            let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        }
    }

    impl Drop for Victim {
        fn drop(&mut self) {
            let _ = self.0.kill().and_then(|()| self.0.wait());
        }
    }

    #[test]
    fn a_held_process_runs_and_is_let_go() {
        let (victim, holds) = (Victim::start(), Holds::default());
        for _ in 0..3 {
            let held = holds.hold(ROOT, victim.pid()).unwrap();
            assert_ne!(victim.status("TracerPid"), "0");
            assert!(!victim.status("State").starts_with(['t', 'T']));
            assert_eq!(Holds::default().hold(ROOT, victim.pid()).unwrap_err(), Errno::EPERM);
            drop(held);
            assert_eq!(victim.status("TracerPid"), "0");
        }
    }

    #[test]
    fn whoever_comes_second_waits() {
        let (victim, holds) = (Victim::start(), Holds::default());
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads
                    .spawn(|| (0..50).for_each(|_| drop(holds.hold(ROOT, victim.pid()).unwrap())));
            }
        });
        assert!(lock(&holds.0.held).is_empty());
    }

    /// Its parent cannot take it away, so the number stays. (The parent is another process: this
    /// one may wait for what it traces itself.)
    #[test]
    fn a_held_process_that_ends_keeps_its_number() {
        let script = "sleep 60 & echo $!; wait; echo over";
        let mut shell = Command::new("sh");
        let mut shell = shell.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
        let pid = lines.next().unwrap().unwrap().parse().unwrap();
        let holds = Holds::default();
        let held = holds.hold(ROOT, pid).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(held);
        assert_eq!(lines.next().unwrap().unwrap(), "over");
        assert!(shell.wait().unwrap().success());
        assert_eq!(holds.hold(ROOT, pid).unwrap_err(), Errno::ESRCH);
    }

    #[test]
    fn threads_that_were_given_up_are_counted_until_they_end() {
        let holds = Holds::default();
        let [one, other] = [(Account::User(7), 1000), (Account::User(8), 1000)];
        let charges = [holds.charge(one), holds.charge(one)];
        assert_eq!(holds.hold(one, i32::MAX).unwrap_err(), Errno::ETIMEDOUT);
        assert_eq!(holds.hold(other, i32::MAX).unwrap_err(), Errno::ESRCH);
        drop(charges);
        assert_eq!(holds.hold(one, i32::MAX).unwrap_err(), Errno::ESRCH);
    }

    #[test]
    fn case_70_processes_of_one_user_that_cannot_be_seized_leave_room_for_others() {
        let holds = Holds::default();
        let of_user = |uid| (Account::User(7), uid);
        let mut charges = vec![holds.charge(of_user(1)), holds.charge(of_user(1))];
        let has_room = |owner| holds.check_room(owner).is_ok();
        assert!(!has_room(of_user(1)) && has_room(of_user(2)));
        charges.extend((2..16).map(|uid| holds.charge(of_user(uid))));
        assert!(!has_room(of_user(99)), "all of an account's are bounded, too");
        assert!(has_room((Account::User(8), 1)));
        drop(charges);
        assert!(has_room(of_user(1)));
    }

    #[test]
    fn kernels_that_wait_first() {
        for (release, late) in [
            ("6.1.0-37-cloud-amd64", true),
            ("6.12.30", true),
            ("6.17.0-rc1", true),
            ("6.18.0", false),
            ("7.0.1", false),
            ("odd", true),
        ] {
            assert_eq!(is_late(release), late, "{release}");
        }
    }
}
