//! Doing what was planned, and taking it back when the kernel refuses a part of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::LimitName;
use nix::errno::Errno;

use super::reclaim::{Permit, Unfinished};
use super::refusal::refused;
use super::step::{Rank, Step, Write};
use super::{Plan, ReclaimThreads, Wire, read};
use crate::{Error, Result, words};

impl Plan<'_> {
    /// Writes, and answers what the kernel made of it. Writes that may reclaim memory run in
    /// threads of their own and are waited for until `deadline`; all others here.
    ///
    /// # Errors
    /// When the kernel refuses a write, the earlier ones are restored and the text names every
    /// limit as kept, restored, or could not be restored. TimedOut past the deadline: the text
    /// says what is still under way, what is written and what is not; nothing is restored.
    pub fn apply(self, threads: &ReclaimThreads, deadline: Instant) -> Result<Wire> {
        let Plan { layout, ground, names, steps, .. } = self;
        let reclaims = steps.iter().any(|step| step.rank == Rank::MayWait);
        let permit = reclaims.then(|| threads.permit()).transpose()?;
        Run { names: &names, threads, permit, deadline, done: Vec::new() }.all(steps)?;
        read(&names, layout, ground).map_err(|error| Error {
            text: format!("the limits are set, but cannot be read back: {}", error.text),
            ..error
        })
    }
}

/// A plan being carried out.
struct Run<'a> {
    names: &'a [LimitName],
    threads: &'a ReclaimThreads,
    permit: Option<Permit>,
    deadline: Instant,
    done: Vec<Done>,
}

/// A step that was made, and how to take it back.
struct Done {
    step: Step,
    undo: Vec<Write>,
}

enum Failure {
    Refused(Errno),
    Unfinished(Unfinished),
}

impl Run<'_> {
    fn all(mut self, steps: Vec<Step>) -> Result<()> {
        let mut waiting = VecDeque::from(steps);
        while let Some(mut step) = waiting.pop_front() {
            match self.make(&step) {
                Ok(undo) => self.done.push(Done { step, undo }),
                Err(Failure::Refused(_)) if step.or_after_next && !waiting.is_empty() => {
                    step.or_after_next = false;
                    waiting.insert(1, step);
                }
                Err(Failure::Refused(errno)) => {
                    return Err(self.take_back(refused(&step, errno)));
                }
                Err(Failure::Unfinished(Unfinished::NoThread)) => {
                    let text = format!("{}: the machine has no thread for the write", step.name);
                    return Err(self.take_back(Error::new(ErrorName::OutOfResources, text)));
                }
                Err(Failure::Unfinished(Unfinished::UnderWay)) => {
                    return Err(self.under_way(&step, &waiting));
                }
            }
        }
        Ok(())
    }

    fn make(&self, step: &Step) -> std::result::Result<Vec<Write>, Failure> {
        let result = match &self.permit {
            Some(permit) if step.rank == Rank::MayWait => {
                let step = step.clone();
                permit.run(self.deadline, move || perform(&step)).map_err(Failure::Unfinished)?
            }
            _ => perform(step),
        };
        result.map_err(Failure::Refused)
    }

    /// Restores what was done, the latest first, and completes the error with every name's fate.
    fn take_back(mut self, error: Error) -> Error {
        let mut fates: BTreeMap<LimitName, Fate> =
            self.names.iter().map(|name| (*name, Fate::Kept)).collect();
        while let Some(done) = self.done.pop() {
            let fate = match self.restore(&done) {
                Ok(()) => Fate::Restored,
                Err(why) => Fate::Stuck(why),
            };
            let known = fates.entry(done.step.name).or_insert(Fate::Kept);
            if !matches!(known, Fate::Stuck(_)) {
                *known = fate;
            }
        }
        Error { text: format!("{}; {}", error.text, tell(&fates)), ..error }
    }

    fn restore(&mut self, done: &Done) -> std::result::Result<(), String> {
        if !done.step.undo_reclaims() {
            return put_back(&done.step, &done.undo).map_err(words);
        }
        let permit = match &self.permit {
            Some(permit) => permit.clone(),
            None => self.threads.permit().map_err(|error| error.text)?,
        };
        let (step, undo) = (done.step.clone(), done.undo.clone());
        let deadline = self.deadline.max(Instant::now() + GRACE);
        match permit.run(deadline, move || put_back(&step, &undo)) {
            Ok(result) => result.map_err(words),
            Err(Unfinished::UnderWay) => Err("the write is still under way".to_owned()),
            Err(Unfinished::NoThread) => Err("there is no thread for the write".to_owned()),
        }
    }

    fn under_way(self, step: &Step, waiting: &VecDeque<Step>) -> Error {
        let has = |names: &[LimitName], name: &LimitName| names.contains(name);
        let waiting: Vec<LimitName> = waiting.iter().map(|step| step.name).collect();
        let done: Vec<LimitName> = self.done.iter().map(|done| done.step.name).collect();
        let others = self.names.iter().filter(|name| **name != step.name);
        let (unwritten, rest): (Vec<_>, Vec<_>) = others.partition(|name| has(&waiting, name));
        let written = rest.into_iter().filter(|name| has(&done, name));
        let mut text = format!(
            "{}: the write of {:?} to {} is still under way, the kernel reclaims memory",
            step.name,
            step.text.trim(),
            step.file
        );
        text += &list("; written: ", written);
        text += &list("; not written: ", unwritten.into_iter());
        Error::new(ErrorName::TimedOut, text).hint(
            "Stats tells how far memory has been reclaimed; nothing else of this call will be \
                 written",
        )
    }
}

/// For writes that put back what was there, when the deadline is near.
const GRACE: Duration = Duration::from_secs(2);

/// Reads what is there, then writes: as the step's actor, on this thread.
fn perform(step: &Step) -> nix::Result<Vec<Write>> {
    step.actor.run(|| {
        let undo = step.undo_now()?;
        step.dir.write(&step.file, &step.text)?;
        Ok(undo)
    })
}

fn put_back(step: &Step, undo: &[Write]) -> nix::Result<()> {
    step.actor.run(|| undo.iter().try_for_each(|Write { file, text }| step.dir.write(file, text)))
}

/// What became of a limit of a call that failed.
enum Fate {
    /// It was not written.
    Kept,
    /// It was written and holds its old value again.
    Restored,
    /// It was written, and putting the old value back failed.
    Stuck(String),
}

fn tell(fates: &BTreeMap<LimitName, Fate>) -> String {
    if fates.values().all(|fate| matches!(fate, Fate::Kept)) {
        return "nothing was changed".to_owned();
    }
    let of = |wanted: fn(&Fate) -> bool| fates.iter().filter(move |(_, fate)| wanted(fate));
    let stuck = of(|fate| matches!(fate, Fate::Stuck(_))).map(|(name, fate)| match fate {
        Fate::Stuck(why) => format!("{name} ({why})"),
        _ => name.to_string(),
    });
    let parts = [
        list("restored: ", of(|fate| matches!(fate, Fate::Restored)).map(|(name, _)| name)),
        list("kept: ", of(|fate| matches!(fate, Fate::Kept)).map(|(name, _)| name)),
        list("could not be restored: ", stuck),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

fn list(label: &str, names: impl Iterator<Item = impl ToString>) -> String {
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    if names.is_empty() { String::new() } else { format!("{label}{}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_fate() {
        let fates = BTreeMap::from([
            (LimitName::CpuMax, Fate::Restored),
            (LimitName::PidsMax, Fate::Stuck("permission denied (EACCES)".into())),
            (LimitName::MemoryMax, Fate::Kept),
        ]);
        assert_eq!(
            tell(&fates),
            "restored: cpu.max; kept: memory.max; \
             could not be restored: pids.max (permission denied (EACCES))"
        );
        let fates = BTreeMap::from([(LimitName::CpuMax, Fate::Kept)]);
        assert_eq!(tell(&fates), "nothing was changed");
    }
}
