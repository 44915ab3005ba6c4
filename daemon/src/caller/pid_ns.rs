//! Process numbers between the caller's pid namespace and the daemon's.
//!
//! Linux 6.11 translates them with an ioctl. Before that only one direction can be read: a pidfd
//! shows the numbers of its process in every pid namespace (`NSpid` in its `fdinfo`, as
//! `/proc/PID/status` has it too, but there behind up to 65,536 groups: measured 24 ms a process).
//! Which process a number of the caller's belongs to is looked up in a table of all that the caller
//! sees, made once for a request.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::errno::Errno;

use super::{Caller, Now, NsId, Process};
use crate::cgroup::handle::errno_of;
use crate::known;
use crate::sys::namespace;

/// The most processes of the machine that a table is made from.
const MOST: usize = 65_536;

static NO_IOCTL: AtomicBool = AtomicBool::new(false);

/// The daemon's numbers of the processes that a caller sees, by the caller's numbers, as they were
/// when the table was made. Both may have passed to other processes since.
#[derive(Debug)]
pub(super) struct PidTable(HashMap<i32, i32>);

impl Caller {
    /// Pins the process that the caller calls `pid`.
    ///
    /// Before Linux 6.11 the first number of a request costs one look at every process of the
    /// machine: measured 10 µs of processor time each, and 30 µs for those in a pid namespace of
    /// their own. Further numbers of the same request cost 30 µs each. The caller pays with its
    /// turn, as for any other call.
    ///
    /// # Errors
    /// ESRCH when the caller sees no such process. EINVAL or ENOENT for a thread that leads no
    /// process. E2BIG when the machine has more processes than can be looked at. What says nothing
    /// about the process: see [`is_transient`](crate::is_transient).
    pub fn pin(&self, now: &Now, pid: i32) -> nix::Result<Process> {
        let process = Process::pin(self.candidate(now, pid)?)?;
        // Either number may have passed to another process since it was looked up.
        match self.number_of(&process)? {
            Some(number) if number == pid => Ok(process),
            _ => Err(Errno::ESRCH),
        }
    }

    /// What the caller calls a process; `None` when it cannot see it.
    ///
    /// # Errors
    /// ESRCH when the process, or the caller, is gone.
    pub fn number_of(&self, process: &Process) -> nix::Result<Option<i32>> {
        let number = match self.translated(process.pid)? {
            Some(number) => Ok(number),
            None => number_in(process, self.pid_namespace()?.1),
        };
        // Until now the daemon's number was its own.
        process.check_alive().and(number).map_err(|errno| match errno {
            Errno::ENOENT => Errno::ESRCH,
            errno => errno,
        })
    }

    /// What the caller calls the daemon's `pid`; `None` when it cannot see it. Before Linux 6.11
    /// that is also the answer for a thread that leads no process.
    ///
    /// # Errors
    /// When the caller is gone, or descriptors or memory ran out.
    pub fn from_our_pid(&self, pid: i32) -> nix::Result<Option<i32>> {
        match self.translated(pid)? {
            Some(number) => Ok(number),
            None => Ok(known(Process::pin(pid).and_then(|it| self.number_of(&it)))?.flatten()),
        }
    }

    /// What the kernel itself answers to [`Self::from_our_pid`]; `None` when it cannot translate.
    fn translated(&self, pid: i32) -> nix::Result<Option<Option<i32>>> {
        let (namespace, id) = self.pid_namespace()?;
        if id == own_pid_ns()? {
            return Ok(Some((pid > 0).then_some(pid)));
        }
        match by_ioctl(|| namespace::pid_in(&*namespace, pid)) {
            Some(Err(Errno::ESRCH)) => Ok(Some(None)),
            Some(answer) => answer.map(|number| Some(Some(number))),
            None => Ok(None),
        }
    }

    /// The daemon's number of the process that the caller calls `pid`, or once called so.
    fn candidate(&self, now: &Now, pid: i32) -> nix::Result<i32> {
        let (namespace, id) = self.pid_namespace()?;
        if id == own_pid_ns()? {
            return Ok(pid);
        }
        match by_ioctl(|| namespace::pid_from(&*namespace, pid)) {
            Some(answer) => answer,
            None => now.pid_table(id)?.0.get(&pid).copied().ok_or(Errno::ESRCH),
        }
    }
}

impl Now {
    fn pid_table(&self, namespace: NsId) -> nix::Result<&PidTable> {
        match self.pid_table.get() {
            Some(table) => Ok(table),
            None => {
                let table = PidTable::new(namespace)?;
                Ok(self.pid_table.get_or_init(|| table))
            }
        }
    }
}

impl PidTable {
    /// Looks at every process of the machine, one after the other. Those that come or go meanwhile
    /// may be missing.
    fn new(namespace: NsId) -> nix::Result<Self> {
        let mut table = HashMap::new();
        let mut looked_at = 0;
        for entry in std::fs::read_dir("/proc").map_err(errno_of)? {
            let name = entry.map_err(errno_of)?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            looked_at += 1;
            if looked_at > MOST {
                return Err(Errno::E2BIG);
            }
            if let Some(number) = known(number_of_any(pid, namespace))?.flatten() {
                table.insert(number, pid);
            }
        }
        Ok(Self(table))
    }
}

/// What the daemon's `pid` is called in a namespace that is not the daemon's. Most processes are in
/// the daemon's: one system call tells these.
fn number_of_any(pid: i32, namespace: NsId) -> nix::Result<Option<i32>> {
    let own = nix::sys::stat::stat(format!("/proc/{pid}/ns/pid").as_str())?;
    match NsId::from(own) == own_pid_ns()? {
        true => Ok(None),
        false => number_in(&Process::pin(pid)?, namespace),
    }
}

/// What a process is called in a pid namespace that is held open; `None` where that does not show
/// the process.
fn number_in(process: &Process, wanted: NsId) -> nix::Result<Option<i32>> {
    match levels_up(process, wanted)? {
        Some(levels) => {
            numbers(process)?.into_iter().rev().nth(levels).map(Some).ok_or(Errno::ESRCH)
        }
        None => Ok(None),
    }
}

/// How far above the process's own pid namespace `wanted` is: 0 when it is the same; `None` when it
/// is none of those between it and the daemon's.
fn levels_up(process: &Process, wanted: NsId) -> nix::Result<Option<usize>> {
    let top = own_pid_ns()?;
    let found = |id, levels| match id {
        id if id == wanted => Some(Some(levels)),
        id if id == top => Some(None),
        _ => None,
    };
    if let Some(answer) = found(process.stat("ns/pid")?.into(), 0) {
        return Ok(answer);
    }
    let mut namespace = process.open("ns/pid")?;
    // The kernel allows 32 levels.
    for levels in 1.. {
        namespace = namespace::parent(&namespace)?;
        if let Some(answer) = found(NsId::of(&namespace)?, levels) {
            return Ok(answer);
        }
    }
    Ok(None)
}

/// The numbers of a process in the pid namespaces from the daemon's down to its own.
fn numbers(process: &Process) -> nix::Result<Vec<i32>> {
    let path = format!("/proc/self/fdinfo/{}", process.pidfd().as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).map_err(errno_of)?;
    let line = text.lines().find_map(|line| line.strip_prefix("NSpid:")).ok_or(Errno::ESRCH)?;
    let numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
    // That of a process that is gone is -1.
    let numbers: Option<Vec<i32>> = numbers.map(|number| number.filter(|n| *n > 0)).collect();
    numbers.ok_or(Errno::ESRCH)
}

/// `None` on kernels that do not have the ioctl.
fn by_ioctl<T>(ioctl: impl FnOnce() -> nix::Result<T>) -> Option<nix::Result<T>> {
    if NO_IOCTL.load(Relaxed) {
        return None;
    }
    match ioctl() {
        Err(Errno::ENOTTY) => {
            NO_IOCTL.store(true, Relaxed);
            None
        }
        answer => Some(answer),
    }
}

fn own_pid_ns() -> nix::Result<NsId> {
    static OWN: OnceLock<nix::Result<NsId>> = OnceLock::new();
    *OWN.get_or_init(|| nix::sys::stat::stat("/proc/self/ns/pid").map(NsId::from))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A pid namespace with five processes, of which two are in another one below.
    struct Namespaces(Child);

    impl Namespaces {
        fn start() -> Self {
            let inner = "unshare --pid --fork sh -c 'sleep 60 & echo ready; wait'";
            let script = format!("sleep 60 & {inner} & wait");
            let mut outer = Command::new("unshare");
            outer.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
            let mut outer =
                outer.args(["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
            let out = outer.stdout.take().unwrap();
            assert_eq!(BufReader::new(out).lines().next().unwrap().unwrap(), "ready");
            Self(outer)
        }

        fn outer(&self) -> File {
            File::open(format!("/proc/{}/ns/pid_for_children", self.0.id())).unwrap()
        }
    }

    impl Drop for Namespaces {
        fn drop(&mut self) {
            let _ = self.0.kill().and_then(|()| self.0.wait());
        }
    }

    /// As the kernel tells them in another file.
    fn status_numbers(pid: i32) -> Vec<i32> {
        let process = Process::pin(pid).unwrap();
        let [numbers] = process.ids(["NSpid"]).unwrap();
        numbers.into_iter().map(u32::cast_signed).collect()
    }

    fn check(namespace: &File, level: usize, count: usize) -> PidTable {
        let id = NsId::of(namespace).unwrap();
        let table = PidTable::new(id).unwrap();
        assert_eq!(table.0.len(), count, "{table:?}");
        for (theirs, ours) in &table.0 {
            assert_eq!(status_numbers(*ours)[level], *theirs);
            assert_eq!(number_in(&Process::pin(*ours).unwrap(), id), Ok(Some(*theirs)));
            if let Some(answer) = by_ioctl(|| namespace::pid_in(namespace, *ours)) {
                assert_eq!(answer, Ok(*theirs));
            }
        }
        table
    }

    #[test]
    fn case_23_a_table_has_what_a_namespace_shows() {
        let namespaces = Namespaces::start();
        let outer = namespaces.outer();
        let table = check(&outer, 1, 5);
        let inner = table.0.values().find(|pid| status_numbers(**pid).len() == 3).unwrap();
        let inner = File::open(format!("/proc/{inner}/ns/pid")).unwrap();
        let below = check(&inner, 2, 2);
        // What is in the namespace above, or in the daemon's, has no number in the inner one.
        let id = NsId::of(&inner).unwrap();
        let above = table.0.values().find(|pid| !below.0.values().any(|own| own == *pid)).unwrap();
        assert_eq!(number_in(&Process::pin(*above).unwrap(), id), Ok(None));
        assert_eq!(
            number_in(&Process::pin(std::process::id().cast_signed()).unwrap(), id),
            Ok(None)
        );
    }

    #[test]
    fn the_dead_have_no_numbers() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::pin(child.id().cast_signed()).unwrap();
        assert_eq!(numbers(&process), Ok(vec![process.pid]));
        child.kill().and_then(|()| child.wait()).unwrap();
        assert_eq!(numbers(&process), Err(Errno::ESRCH));
    }
}
