//! What a run of the matrix tells: a line for each program as it ends, then what failed, what was
//! left out and why, and a table.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::ops::Add;
use std::path::{Path, PathBuf};

use super::inside::Outcome;
use super::score::Score;
use super::{Boot, Place};
use crate::guest::{Cost, Ended};

/// So many lines of each output of a program that failed are shown.
const LAST_WORDS: usize = 12;

/// All guests' results. `Display` is the summary.
#[derive(Debug)]
pub struct Report {
    pub(super) boots: Vec<Boot>,
    /// Where the programs' outputs are.
    pub(super) logs: PathBuf,
}

/// Tells how one program ended, and keeps its output.
pub(super) fn progress((mode, kernel): Place, outcome: &Outcome, score: &Score, logs: &Path) {
    let (passed, failed, ignored) = (score.passed, score.failed.len(), score.ignored.len());
    let counts = format!("{passed:4} passed {failed:3} failed {ignored:3} ignored");
    let seconds = outcome.wall.as_secs_f64();
    println!("{mode:8} {kernel:5} {:24} {counts} {seconds:7.1} s", outcome.name);
    let log = logs.join(format!("{}.log", outcome.name.replace(' ', "-")));
    let text = format!("{}\n{}", outcome.output, outcome.errors);
    let kept = fs::create_dir_all(logs).and_then(|()| fs::write(&log, text));
    if let Err(error) = kept {
        eprintln!("{}: {error}", log.display());
    }
}

/// What a program wrote at its end: where nobody can look at the logs this is all there is.
fn last_words(outcome: &Outcome) -> String {
    let last = |text: &str| {
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        let lines = &lines[lines.len().saturating_sub(LAST_WORDS)..];
        lines.iter().map(|line| format!("    {line}\n")).collect::<String>()
    };
    last(&outcome.output) + &last(&outcome.errors)
}

impl Boot {
    /// Whether the guest ended by itself, after all programs.
    fn problem(&self) -> Option<String> {
        match &self.ended {
            Err(error) => Some(error.to_string()),
            Ok(Ended { status: Err(failure), .. }) => Some(failure.to_string()),
            Ok(Ended { status: Ok(0), .. }) => None,
            Ok(Ended { status: Ok(status), .. }) => Some(format!("it ended with status {status}")),
        }
    }

    fn count(&self, of: impl Fn(&Score) -> usize) -> usize {
        self.outcomes.iter().map(|(_, score)| of(score)).sum()
    }

    fn failed(&self) -> usize {
        self.count(|score| score.failed.len()) + usize::from(self.problem().is_some())
    }
}

impl Report {
    /// Whether nothing failed anywhere.
    pub fn is_success(&self) -> bool {
        self.boots.iter().all(|boot| boot.failed() == 0)
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for boot in &self.boots {
            let (mode, kernel) = boot.place;
            for (outcome, score) in &boot.outcomes {
                for name in &score.failed {
                    writeln!(f, "failed on {mode} {kernel}: {} {name}", outcome.name)?;
                }
                if !score.failed.is_empty() {
                    f.write_str(&last_words(outcome))?;
                }
                for name in &score.unsteady {
                    writeln!(f, "passed only alone, on {mode} {kernel}: {} {name}", outcome.name)?;
                }
            }
            if let Some(problem) = boot.problem() {
                writeln!(f, "failed on {mode} {kernel}: the guest: {problem}")?;
            }
        }
        Ok(())
    }

    /// Each reason once, with the guests where it held and how many tests it kept from running.
    fn left_out(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
        for boot in &self.boots {
            let guest = format!("{} {}", boot.place.0, boot.place.1);
            for (_, why) in boot.outcomes.iter().flat_map(|(_, score)| &score.ignored) {
                *reasons.entry(why).or_default().entry(guest.clone()).or_default() += 1;
            }
        }
        for boot in self.boots.iter().filter(|boot| !boot.elsewhere.is_empty()) {
            let ((mode, kernel), programs) = (boot.place, boot.elsewhere.join(", "));
            writeln!(
                f,
                "{mode} {kernel} leaves to other guests, where they do the same: {programs}"
            )?;
        }
        for (why, guests) in reasons {
            let counts = guests.iter().map(|(guest, count)| format!("{count} on {guest}"));
            writeln!(f, "ignored, {why}: {}", counts.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| layout | kernel | passed | failed | ignored | wall | CPU |")?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- |")?;
        for boot in &self.boots {
            let (mode, kernel) = boot.place;
            let (passed, failed) = (boot.count(|score| score.passed), boot.failed());
            let ignored = boot.count(|score| score.ignored.len());
            let cost = boot.ended.as_ref().map(|ended| ended.cost).unwrap_or_default();
            let (wall, cpu) = (cost.wall.as_secs_f64(), cost.cpu.as_secs_f64());
            let row = format!("{mode} | {kernel} | {passed} | {failed} | {ignored}");
            writeln!(f, "| {row} | {wall:.0} s | {cpu:.0} s |")?;
        }
        let costs = self.boots.iter().filter_map(|boot| Some(boot.ended.as_ref().ok()?.cost));
        let Cost { wall, cpu } = costs.fold(Cost::default(), Cost::add);
        writeln!(f, "\nTogether: {:.0} s, CPU {:.0} s.", wall.as_secs_f64(), cpu.as_secs_f64())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.left_out(f)?;
        self.failures(f)?;
        writeln!(f, "\nThe output of each program is in {}.\n", self.logs.display())?;
        self.table(f)
    }
}

/// Reads `mode/kernel`, where either may be left out with its `/`.
///
/// # Errors
/// Neither is called so.
pub fn matching(text: &str) -> io::Result<Vec<Place>> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    let fits = |(mode, kernel): &Place| {
        parts.iter().all(|part| *part == mode.name() || *part == kernel.name())
    };
    let found: Vec<Place> = super::PLACES.into_iter().filter(fits).collect();
    if found.is_empty() {
        return Err(io::Error::other(format!("no guest of the matrix is called {text}")));
    }
    Ok(found)
}
