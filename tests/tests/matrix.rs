//! The rule matrix: the daemon's verdicts compared with the kernel's, on this machine.

use std::process::ExitCode;
use std::sync::OnceLock;

use cgroupd_tests::matrix::{self, Findings};
use cgroupd_tests::need::{Need, trial};
use cgroupd_tests::suite;
use libtest_mimic::Trial;

/// A check of the findings.
type Check = fn(&Findings) -> Result<(), String>;

/// The rows are run once, by whichever check comes first.
fn findings() -> &'static Findings {
    static FINDINGS: OnceLock<Option<Findings>> = OnceLock::new();
    let findings = FINDINGS.get_or_init(|| {
        let findings = std::panic::catch_unwind(matrix::run).ok()?;
        eprintln!("{}", findings.summary());
        Some(findings)
    });
    findings.as_ref().expect("the rows could be run; the reason is above")
}

fn check(name: &str, check: Check) -> Trial {
    trial(name, &[Need::Root, Need::UserNs], move || {
        if let Err(complaint) = check(findings()) {
            panic!("{complaint}");
        }
    })
}

fn main() -> ExitCode {
    if let Some(code) = matrix::child::run_if_asked() {
        return code;
    }
    suite::main_with("matrix", [], trials)
}

fn trials() -> Vec<Trial> {
    vec![
        check("peers_are_who_they_are_meant_to_be", Findings::check_classes),
        check("rows_agree_with_the_kernel_or_a_rule", Findings::check_rows),
        check("every_rule_and_grant_has_a_row_that_differs", Findings::check_rules),
        check("rows_are_many_and_of_both_kinds", Findings::check_variety),
    ]
}
