//! What a program's output says of its tests.

use super::inside::Outcome;
use super::plan::Kind;

/// Tests by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    pub(super) passed: usize,
    /// Names; the program's own when it failed in another way.
    pub(super) failed: Vec<String>,
    /// Names and reasons.
    pub(super) ignored: Vec<(String, String)>,
}

impl Score {
    /// Reads the lines that libtest and libtest-mimic write for each test, and believes nothing
    /// but a whole report: a program that ends otherwise has failed.
    pub(super) fn of(outcome: &Outcome) -> Self {
        let mut score = match outcome.kind {
            Kind::Tests => Self::of_tests(&outcome.output),
            Kind::One => Self { passed: 1, ..Self::default() },
        };
        let reported = outcome.kind == Kind::One || outcome.output.contains("\ntest result: ");
        if score.failed.is_empty() && (outcome.status != Some(0) || !reported) {
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
            match result.split_once(", ").unwrap_or((result, "")) {
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
running 4 tests
test a::works                           ... ok
test breaks                             ... FAILED
test [needs v1: no v1 hierarchy] old    ... ignored
test late ... ignored, needs memory on cgroup V1

test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out
";

    fn outcome(kind: Kind, status: Option<i32>, output: &str) -> Outcome {
        let (name, wall) = ("suite".to_owned(), std::time::Duration::ZERO);
        let errors = String::new();
        Outcome { name, kind, status, wall, output: output.to_owned(), errors }
    }

    #[test]
    fn each_line_counts_once() {
        let score = Score::of(&outcome(Kind::Tests, Some(101), OUTPUT));
        assert_eq!((score.passed, score.failed), (1, vec!["breaks".to_owned()]));
        let ignored: Vec<(&str, &str)> =
            score.ignored.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
        let expected =
            [("old", "needs v1: no v1 hierarchy"), ("late", "needs memory on cgroup V1")];
        assert_eq!(ignored, expected);
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
        let failed = Score::of(&outcome(Kind::One, Some(1), ""));
        assert_eq!((failed.passed, failed.failed.len()), (0, 1));
    }
}
