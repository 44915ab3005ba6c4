//! Kill: SIGKILL until nobody is left, any other signal once. All is checked before the first
//! process is signalled.
//!
//! `cgroup.kill` of v2 does it in one write. Elsewhere each process is pinned and signalled by
//! its pidfd, while the freezer keeps them from making new ones; on v1 nobody dies before the
//! thaw, and then all do.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::Request;
use super::freeze::{Brake, not_ones_own, take_back};
use super::request::{has_file, node_at};
use super::signal::Signal;
use super::target::{Cgroup, Wanted};
use super::victim::is_kernel;
use crate::cgroup::freezer::{self, is_set_above};
use crate::cgroup::{Dir, Freezer, Hierarchy, Pauses, Version, below, is_populated, members};
use crate::policy::may_control;
use crate::{Error, Result};

/// How long the processes may take to freeze: those that do not are signalled all the same.
const FREEZING: Duration = Duration::from_secs(1);
/// How long they may take to die until those that are left are signalled again.
const DYING: Duration = Duration::from_millis(200);

/// One hierarchy's part.
struct Field<'a> {
    hierarchy: &'a Hierarchy,
    /// Another handle of the cgroup.
    dir: Dir,
    /// `cgroup.kill`, where there is one: the caller may write it.
    switch: Option<OwnedFd>,
    /// The freezer, where there is one that the caller may set.
    brake: Option<Brake<'a>>,
}

impl Request<'_> {
    /// Signals all processes in the cgroup and below it, in any of its hierarchies, and answers
    /// how many these were. With SIGKILL the cgroup is empty and thawed afterwards.
    pub(crate) fn kill(&self, path: &CgroupPath, signal: Signal) -> Result<u32> {
        let mut fields = Vec::new();
        for cgroup in self.existing(path, &Wanted::Implied)? {
            self.check_stoppable(&cgroup)?;
            fields.push(self.field(cgroup, signal)?);
        }
        for field in fields.iter().filter(|field| !field.is_switched(signal)) {
            self.check_signals(&field.dir).map_err(|error| in_hierarchy(error, field))?;
        }
        let mut killed = BTreeSet::new();
        match signal.kills() {
            true => self.end_all(&fields, &mut killed)?,
            false => fields
                .iter()
                .try_for_each(|field| self.strike(&field.dir, signal, &mut killed))
                .map_err(|error| after(error, &killed))?,
        }
        Ok(u32::try_from(killed.len()).unwrap_or(u32::MAX))
    }

    fn field(&self, cgroup: Cgroup, signal: Signal) -> Result<Field<'_>> {
        let hierarchy = self.hierarchy(cgroup.target.hierarchy);
        let dir = cgroup.dir.try_clone().map_err(|errno| Error::kernel("dup", errno))?;
        let switch = self.switch(hierarchy, &cgroup)?;
        let brake = if signal.kills() { self.own_brake(hierarchy, cgroup)? } else { None };
        Ok(Field { hierarchy, dir, switch, brake })
    }

    /// `cgroup.kill` (Linux 5.14), opened with the caller's rights: whoever may not write it
    /// sends no other signal either.
    fn switch(&self, hierarchy: &Hierarchy, cgroup: &Cgroup) -> Result<Option<OwnedFd>> {
        const FILE: &str = "cgroup.kill";
        if hierarchy.version == Version::V1 || !has_file(&cgroup.dir, FILE)? {
            return Ok(None);
        }
        let node = node_at(&cgroup.dir, FILE)?;
        let terms = may_control(self.subject(), cgroup.target.position(), Some(node))
            .map_err(|refusal| not_ones_own(refusal.into(), FILE))?;
        let opened = terms.actor.run(|| cgroup.dir.open_file(FILE, OFlag::O_WRONLY));
        opened
            .map(Some)
            .map_err(|errno| not_ones_own(Error::kernel("open cgroup.kill", errno), FILE))
    }

    /// The freezer, if the caller may set it. Where it may not, the processes are killed as they
    /// run; but those that v1 has frozen cannot die, and then nobody is signalled.
    fn own_brake(&self, hierarchy: &Hierarchy, cgroup: Cgroup) -> Result<Option<Brake<'_>>> {
        let v1 = hierarchy.version == Version::V1;
        let Some(file) = Freezer::file(hierarchy) else { return Ok(None) };
        let cannot_die = |why: String| {
            Error::new(ErrorName::Busy, format!("{why}, in {}", hierarchy.label))
                .hint("what cgroup v1 has frozen dies when it is thawed: have that done first")
        };
        let unread = |errno| Error::kernel(format_args!("look at {file}"), errno);
        if v1 && is_set_above(hierarchy, &cgroup.dir).map_err(unread)? {
            return Err(cannot_die("a cgroup above it is frozen".to_owned()));
        }
        let is_set = v1 && freezer::is_set(&cgroup.dir, hierarchy.version).map_err(unread)?;
        match self.brake(cgroup) {
            Err(error) if error.name != ErrorName::Denied => Err(error),
            Err(_) if is_set => {
                Err(cannot_die("it is frozen, and not the caller's to thaw".to_owned()))
            }
            Err(_) => Ok(None),
            opened => opened,
        }
    }

    /// Signals, and waits, and signals who is left, until nobody is.
    fn end_all(&self, fields: &[Field<'_>], killed: &mut BTreeSet<i32>) -> Result<()> {
        let deadline = Instant::now() + self.service.deadline;
        loop {
            self.round(fields, killed, deadline).map_err(|error| after(error, killed))?;
            let left = left_after(fields, deadline.min(Instant::now() + DYING));
            let left = left.map_err(|error| after(error, killed))?;
            if left == 0 {
                return Ok(());
            }
            for field in fields.iter().filter(|field| field.switch.is_some()) {
                self.strike_left(&field.dir, killed).map_err(|error| after(error, killed))?;
            }
            if Instant::now() >= deadline {
                let text = format!("{left} processes have not ended in time");
                return Err(after(Error::new(ErrorName::TimedOut, text), killed).hint(
                    "a process that waits for a device or a file system ends when it has its \
                     answer; the call is safe to repeat",
                ));
            }
        }
    }

    fn round(
        &self,
        fields: &[Field<'_>],
        killed: &mut BTreeSet<i32>,
        deadline: Instant,
    ) -> Result<()> {
        for field in fields {
            field.switch_off(killed)?;
        }
        let mut begun = Vec::new();
        // The rest of the time is for dying.
        let until = deadline.min(Instant::now() + FREEZING.min(self.service.deadline / 4));
        let by_hand: Vec<_> = fields.iter().filter(|field| field.switch.is_none()).collect();
        for brake in by_hand.iter().filter_map(|field| field.brake.as_ref()) {
            // Without it they are as many as they were a moment ago, and this is not the last
            // round.
            let _ = brake.freeze(&mut begun, until);
        }
        let struck =
            by_hand.iter().try_for_each(|field| self.strike(&field.dir, Signal::KILL, killed));
        struck.map_err(|error| take_back(&begun, error))?;
        fields.iter().filter_map(|field| field.brake.as_ref()).try_for_each(|b| self.release(b))
    }

    /// Thaws the cgroup and what is below it, as far as the caller may.
    fn release(&self, brake: &Brake<'_>) -> Result<()> {
        let version = brake.hierarchy.version;
        // Also where somebody else was faster: the mark of a freeze that was begun goes along.
        let thawed = brake.freezer.thaw().and_then(|()| {
            below(&brake.cgroup.dir, |_, _, dir| {
                self.thaw_if_frozen(dir, version)?;
                Ok(std::ops::ControlFlow::Continue(()))
            })
        });
        match thawed {
            // Deeper than any walk goes nothing is frozen by the daemon either.
            Ok(()) | Err(Errno::ENOENT | Errno::ENODEV | Errno::ELOOP) => Ok(()),
            Err(errno) => {
                Err(Error::kernel(format_args!("thaw in {}", brake.hierarchy.label), errno))
            }
        }
    }

    /// Thaws a cgroup that has a freezer set which the caller may write. One that was removed
    /// meanwhile needs no thaw.
    fn thaw_if_frozen(&self, dir: &Dir, version: Version) -> nix::Result<()> {
        let opened = match freezer::is_set(dir, version) {
            Ok(false) => return Ok(()),
            Ok(true) => self.plain_actor().run(|| Freezer::open(dir, version)),
            Err(errno) => Err(errno),
        };
        match opened {
            Ok(freezer) => freezer.thaw(),
            Err(Errno::EACCES | Errno::ENOENT | Errno::ENODEV) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl Field<'_> {
    /// Whether one write is all there is to do.
    fn is_switched(&self, signal: Signal) -> bool {
        signal.kills() && self.switch.is_some()
    }

    /// Counts the processes, then has the kernel kill them, and those that they make meanwhile.
    fn switch_off(&self, killed: &mut BTreeSet<i32>) -> Result<()> {
        let Some(switch) = &self.switch else { return Ok(()) };
        let found = match self.mortals() {
            // The kernel reaches what is too deep to be counted.
            Err(Errno::ELOOP) => Ok(BTreeSet::new()),
            found => found,
        };
        match found.and_then(|found| nix::unistd::write(switch, b"1").map(|_| found)) {
            Ok(found) => killed.extend(found),
            Err(Errno::ENOENT | Errno::ENODEV) => {}
            Err(errno) => return Err(Error::kernel("write cgroup.kill", errno)),
        }
        Ok(())
    }

    /// The processes in it and below. Kernel threads are left out: they stay where root put them.
    fn mortals(&self) -> nix::Result<BTreeSet<i32>> {
        let mut mortals = BTreeSet::new();
        for pid in members(&self.dir)? {
            if !is_kernel(pid)? {
                mortals.insert(pid);
            }
        }
        Ok(mortals)
    }

    /// How many processes are left in it and below; none in a cgroup that was removed.
    fn left(&self) -> Result<usize> {
        match self.mortals() {
            Ok(mortals) => Ok(mortals.len()),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(0),
            // Too deep to be counted; what was killed by the switch is told without a walk.
            Err(Errno::ELOOP) if self.switch.is_some() => self.is_populated().map(usize::from),
            Err(errno) => Err(Error::kernel("list the processes in it", errno)),
        }
    }

    /// What v2 says of the cgroup and all below it.
    fn is_populated(&self) -> Result<bool> {
        match self.dir.read("cgroup.events") {
            Ok(events) => Ok(is_populated(&events)),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
            Err(errno) => Err(Error::kernel("read cgroup.events", errno)),
        }
    }
}

/// How many are left in the field that has most, when there are none or it is `until`.
fn left_after(fields: &[Field<'_>], until: Instant) -> Result<usize> {
    let mut pauses = Pauses::until(until);
    loop {
        let mut left = 0;
        for field in fields {
            left = left.max(field.left()?);
        }
        if left == 0 || !pauses.sleep() {
            return Ok(left);
        }
    }
}

fn in_hierarchy(error: Error, field: &Field<'_>) -> Error {
    Error { text: format!("{}, in {}", error.text, field.hierarchy.label), ..error }
}

/// What has been done all the same.
fn after(error: Error, killed: &BTreeSet<i32>) -> Error {
    match killed.len() {
        0 => error,
        count => Error { text: format!("{}; {count} had been signalled", error.text), ..error },
    }
}
