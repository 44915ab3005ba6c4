//! What a program's output says of its tests.

use super::inside::Outcome;
use super::plan::Kind;

/// What a program ends with that cannot run here; its last words say why.
const SKIPPED: i32 = 77;

/// Tests by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    pub(super) passed: usize,
    /// Names; the program's own when it failed in another way.
    pub(super) failed: Vec<String>,
    /// Names and reasons.
    pub(super) ignored: Vec<(String, String)>,
    /// Names of those that passed only when they ran again; they are among the passed.
    pub(super) unsteady: Vec<String>,
}

impl Score {
    /// Reads the lines that libtest and libtest-mimic write for each test, and believes nothing
    /// but a whole report: a program that ends otherwise has failed.
    pub(super) fn of(outcome: &Outcome) -> Self {
        if outcome.kind == Kind::One && outcome.status == Some(SKIPPED) {
            let why = outcome.errors.lines().last().unwrap_or_default().to_owned();
            return Self { ignored: vec![(outcome.name.clone(), why)], ..Self::default() };
        }
        let mut score = match outcome.kind {
            Kind::Tests => Self::of_tests(&outcome.output),
            Kind::One => Self { passed: 1, ..Self::default() },
        };
        score.failed.retain(|name| !outcome.unsteady.contains(name));
        score.unsteady.clone_from(&outcome.unsteady);
        score.passed += score.unsteady.len();
        let reported = outcome.kind == Kind::One || outcome.output.contains("\ntest result: ");
        let explained = !score.failed.is_empty() || !score.unsteady.is_empty();
        if !reported || !explained && outcome.status != Some(0) {
            score.passed -= usize::from(outcome.kind == Kind::One);
            score.failed.push(outcome.name.clone());
        }
        score
    }

    fn of_tests(output: &str) -> Self {
        let mut score = Self::default();
        for line in output.lines().filter_map(|line| line.strip_prefix("test ")) {
            let Some((name, result)) = line.rsplit_once(" ... ") else { continue };
            let (kind, name) = kind_and_name(name);
            match result_and_reason(result) {
                ("ok", _) => score.passed += 1,
                ("FAILED", _) => score.failed.push(name.to_owned()),
                ("ignored", reason) => {
                    let reason = if reason.is_empty() { kind } else { reason };
                    score.ignored.push((name.to_owned(), reason.to_owned()));
                }
                _ => {}
            }
        }
        score
    }
}

/// libtest writes `ignored, reason`, libtest-mimic `ignored (reason)`.
fn result_and_reason(text: &str) -> (&str, &str) {
    let bracketed = text.strip_suffix(')').and_then(|text| text.split_once(" ("));
    bracketed.or_else(|| text.split_once(", ")).unwrap_or((text, ""))
}

/// libtest-mimic writes `[kind] name`; names are aligned with blanks.
fn kind_and_name(text: &str) -> (&str, &str) {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let (kind, name) = bracketed.unwrap_or(("no reason given", text));
    (kind, name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 5 tests
test a::works                           ... ok
test breaks                             ... FAILED
test [needs v1: no v1 hierarchy] old    ... ignored
test late ... ignored, needs root
test known_late                         ... ignored (needs memory on cgroup V1, it is on V2)

test result: FAILED. 1 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out
";

    fn outcome(kind: Kind, status: Option<i32>, output: &str) -> Outcome {
        let (name, wall) = ("suite".to_owned(), std::time::Duration::ZERO);
        let errors = String::new();
        let (output, unsteady) = (output.to_owned(), Vec::new());
        Outcome { name, kind, status, wall, output, errors, unsteady }
    }

    #[test]
    fn each_line_counts_once() {
        let score = Score::of(&outcome(Kind::Tests, Some(101), OUTPUT));
        assert_eq!((score.passed, score.failed), (1, vec!["breaks".to_owned()]));
        let ignored: Vec<(&str, &str)> =
            score.ignored.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
        let expected = [
            ("old", "needs v1: no v1 hierarchy"),
            ("late", "needs root"),
            ("known_late", "needs memory on cgroup V1, it is on V2"),
        ];
        assert_eq!(ignored, expected);
    }

    #[test]
    fn what_passes_when_it_runs_again_is_told() {
        let mut again = outcome(Kind::Tests, Some(101), OUTPUT);
        again.unsteady = vec!["breaks".to_owned()];
        let score = Score::of(&again);
        assert_eq!((score.passed, score.failed.len()), (2, 0));
        assert_eq!(score.unsteady, ["breaks"]);
    }

    #[test]
    fn a_program_that_does_not_report_has_failed() {
        let whole = OUTPUT.replace("FAILED", "ok");
        assert!(Score::of(&outcome(Kind::Tests, Some(0), &whole)).failed.is_empty());
        for (status, output) in [(Some(1), whole.as_str()), (None, &whole), (Some(0), "running")] {
            let score = Score::of(&outcome(Kind::Tests, status, output));
            assert_eq!(score.failed, ["suite"], "{status:?}");
        }
        assert_eq!(Score::of(&outcome(Kind::One, Some(0), "")).passed, 1);
        let mut skipped = outcome(Kind::One, Some(77), "");
        skipped.errors = "not here\n".to_owned();
        let expected = [("suite".to_owned(), "not here".to_owned())];
        assert_eq!(Score::of(&skipped).ignored, expected);
        let failed = Score::of(&outcome(Kind::One, Some(1), ""));
        assert_eq!((failed.passed, failed.failed.len()), (0, 1));
    }
}
