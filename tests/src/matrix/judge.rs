//! What the rows mean together: which do not agree as the rules say, which rules no row shows,
//! and whether there are enough rows, and of both kinds, to mean anything.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use super::identity::Identity;
use super::rows::{Act, Row};
use super::rules::{self, Expected, Oracle, Rule};
use super::wire::{Answer, Verdict};

/// Fewer rows than this cannot be what is meant; a host has at least one hierarchy.
const FEWEST_ROWS: usize = 3000;
/// The most offending rows that are shown.
const SHOWN: usize = 40;

/// What one side said and did.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) answer: Answer,
    /// What is different afterwards.
    pub(super) changes: Vec<String>,
}

/// A row and both sides of it.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) row: Row,
    pub(super) oracle: Side,
    pub(super) daemon: Side,
}

/// All rows' outcomes.
#[derive(Debug)]
pub struct Findings {
    pub(super) outcomes: Vec<Outcome>,
    /// What the daemon takes each identity for.
    pub(super) classes: Vec<(&'static Identity, String)>,
}

/// The oracle's answers by row.
struct Answers<'a>(HashMap<Row, &'a Answer>);

impl Oracle for Answers<'_> {
    fn answer(&self, row: Row) -> Answer {
        let answer = self.0.get(&row).unwrap_or_else(|| panic!("no row {row:?} was asked"));
        (*answer).clone()
    }
}

impl Findings {
    fn judged(&self) -> Vec<(&Outcome, Expected)> {
        let oracle = Answers(self.outcomes.iter().map(|o| (o.row, &o.oracle.answer)).collect());
        self.outcomes.iter().map(|o| (o, rules::expected(o.row, &oracle))).collect()
    }

    /// How many rows agree, and how many differ by each rule.
    pub fn summary(&self) -> String {
        let same = self.outcomes.iter().filter(|o| o.agrees()).count();
        let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
        self.outcomes.iter().for_each(|o| *rows.entry(o.row.hierarchy).or_default() += 1);
        let all = self.outcomes.len();
        let mut text = format!("{all} rows {rows:?}, {same} agree with the kernel");
        for (rule, count) in self.differences() {
            let _ = write!(text, "\n  {count:5} {:?} by {rule}", rule.verdict());
        }
        text
    }

    fn differences(&self) -> BTreeMap<Rule, usize> {
        let mut counts: BTreeMap<Rule, usize> = Rule::ALL.map(|rule| (rule, 0)).into();
        for (outcome, expected) in self.judged() {
            if let (Some(rule), false) = (expected.rule, outcome.agrees()) {
                *counts.entry(rule).or_default() += 1;
            }
        }
        counts
    }

    /// Rows whose verdict, effect or error is not what the kernel and the rules say.
    ///
    /// # Errors
    /// The first of them.
    pub fn check_rows(&self) -> Result<(), String> {
        let judged = self.judged();
        let complaints = judged.iter().filter_map(|(outcome, expected)| {
            outcome.complaint(*expected).map(|fault| format!("{fault}: {outcome}"))
        });
        let complaints: Vec<String> = complaints.collect();
        match complaints.len() {
            0 => Ok(()),
            count => {
                let shown = complaints[..count.min(SHOWN)].join("\n");
                Err(format!("{count} rows are not as they should be:\n{shown}"))
            }
        }
    }

    /// Each rule and grant has a row in which the daemon and the kernel differ.
    ///
    /// # Errors
    /// Those that have none.
    pub fn check_rules(&self) -> Result<(), String> {
        let counts = self.differences();
        let idle = counts.iter().filter(|(rule, count)| **count == 0 && rule.can_show());
        let idle: Vec<String> = idle.map(|(rule, _)| rule.to_string()).collect();
        match idle.is_empty() {
            true => Ok(()),
            false => Err(format!("no row differs by {}", idle.join(", "))),
        }
    }

    /// Enough rows; and whatever is done is allowed to some and denied to others, on each side.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_variety(&self) -> Result<(), String> {
        let rows = self.outcomes.len();
        if rows < FEWEST_ROWS {
            return Err(format!("{rows} rows, at least {FEWEST_ROWS} are meant"));
        }
        let mut seen: HashMap<(&str, String, &str), Vec<Verdict>> = HashMap::new();
        for Outcome { row, oracle, daemon } in &self.outcomes {
            let mut note = |side: &'static str, verdict| {
                seen.entry((side, row.act.family(), row.hierarchy)).or_default().push(verdict);
            };
            note("oracle", oracle.answer.verdict);
            if !row.act.is_refused_to_all() {
                note("daemon", daemon.answer.verdict);
            }
        }
        let both = [Verdict::Allowed, Verdict::Denied];
        let one_sided = seen.iter().filter(|(_, seen)| !both.iter().all(|v| seen.contains(v)));
        let one_sided: Vec<String> = one_sided.map(|(kind, _)| format!("{kind:?}")).collect();
        match one_sided.is_empty() {
            true => Ok(()),
            false => Err(format!("always the same verdict: {}", one_sided.join(", "))),
        }
    }

    /// The peers are who they are meant to be.
    ///
    /// # Errors
    /// Those that the daemon takes for somebody else.
    pub fn check_classes(&self) -> Result<(), String> {
        let wrong =
            self.classes.iter().filter(|(identity, class)| identity.class.as_str() != class);
        let wrong: Vec<String> =
            wrong.map(|(identity, class)| format!("{} is {class}", identity.name)).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
    }
}

impl Outcome {
    fn agrees(&self) -> bool {
        self.oracle.answer.verdict == self.daemon.answer.verdict
    }

    fn complaint(&self, expected: Expected) -> Option<String> {
        let (oracle, daemon) = (&self.oracle, &self.daemon);
        let refused = |side: &Side| side.answer.verdict == Verdict::Denied;
        let both_allowed = [oracle, daemon].iter().all(|s| s.answer.verdict == Verdict::Allowed);
        let is_grant = refused(oracle) && expected.verdict == Verdict::Allowed;
        let names = expected.rule.map_or(&["Denied"][..], Rule::errors);
        let is_named = names.iter().any(|name| daemon.answer.is_error(name));
        let faults = [
            (oracle.answer.verdict == Verdict::Odd, "the oracle failed"),
            (
                // A recursive removal is many calls, some of which may be allowed.
                refused(oracle) && !oracle.changes.is_empty() && self.row.act != Act::RemoveTree,
                "denied by the kernel, yet changed",
            ),
            (daemon.answer.verdict != expected.verdict, "another verdict is expected"),
            (refused(daemon) && !daemon.changes.is_empty(), "denied by the daemon, yet changed"),
            (refused(daemon) && !is_named, "another error is expected"),
            (is_grant && daemon.changes.is_empty(), "granted, yet nothing has changed"),
            (both_allowed && oracle.changes != daemon.changes, "other effects"),
            (both_allowed && oracle.answer.data != daemon.answer.data, "other answers"),
        ];
        let fault = faults.iter().find_map(|(is, text)| is.then_some(text))?;
        let rule = expected.rule.map_or("the kernel".to_owned(), |rule| rule.to_string());
        Some(format!("{fault} ({:?} by {rule})", expected.verdict))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { identity, hierarchy, site, act } = self.row;
        let (uid, gid) = site.owner;
        write!(f, "{act:?} by {identity} in {hierarchy}, ")?;
        write!(f, "{:?} {uid}:{gid} {:04o}", site.position, site.mode)?;
        for (name, side) in [("kernel", &self.oracle), ("daemon", &self.daemon)] {
            let Answer { verdict, why, data } = &side.answer;
            write!(f, "\n    {name}: {verdict:?} {why} {data:?} {}", side.changes.join(", "))?;
        }
        Ok(())
    }
}

impl Answer {
    fn is_error(&self, name: &str) -> bool {
        self.why.starts_with(&format!("org.cgroupd1.Error.{name}:"))
    }
}
