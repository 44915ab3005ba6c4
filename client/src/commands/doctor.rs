//! `cgctl doctor`: what this host offers, what is missing, and what to do about it.

use serde_json::{Value, json};

use crate::{
    doctor::{self, Check, State},
    exit::{Exit, Failure},
    session::Session,
};

/// Ends in 1 when there is a problem; notes are none.
pub(super) fn run(session: &mut Session) -> Result<Exit, Failure> {
    let checks = doctor::examine(&doctor::gather(session));
    let problems = checks.iter().filter(|check| check.state == State::Problem).count();
    let output = &mut session.output;
    match output.json {
        true => output.document(&to_json(&checks, problems))?,
        false => {
            output.table(&rows(&checks, output.quiet))?;
            if !output.quiet {
                output.line(&summary(problems))?;
            }
        }
    }
    Ok(if problems == 0 { Exit::Ok } else { Exit::Other })
}

/// A remedy has a line of its own below what it is for. Quiet leaves out what blocks nothing.
fn rows(checks: &[Check], quiet: bool) -> Vec<Vec<String>> {
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let mut rows = Vec::new();
    for check in checks.iter().filter(|check| !quiet || check.state == State::Problem) {
        rows.push(row([check.state.word(), check.name, &check.text]));
        rows.extend(check.remedy.iter().map(|remedy| row(["", "", &format!("-> {remedy}")])));
    }
    rows
}

fn summary(problems: usize) -> String {
    match problems {
        0 => "nothing is blocked".to_owned(),
        1 => "1 problem".to_owned(),
        more => format!("{more} problems"),
    }
}

fn to_json(checks: &[Check], problems: usize) -> Value {
    let check = |check: &Check| {
        json!({
            "name": check.name,
            "state": check.state.word(),
            "text": check.text,
            "remedy": check.remedy,
        })
    };
    json!({ "problems": problems, "checks": checks.iter().map(check).collect::<Value>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        let check = |state, remedy: Option<&str>| Check {
            name: "layout",
            state,
            text: "text".to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        vec![check(State::Ok, None), check(State::Problem, Some("do this"))]
    }

    #[test]
    fn a_remedy_stands_below_its_problem() {
        let expected =
            [["ok", "layout", "text"], ["problem", "layout", "text"], ["", "", "-> do this"]];
        assert_eq!(rows(&checks(), false), expected);
        assert_eq!(rows(&checks(), true), expected[1..]);
        assert_eq!([0, 1, 2].map(summary), ["nothing is blocked", "1 problem", "2 problems"]);
    }

    #[test]
    fn json_counts_the_problems() {
        let document = to_json(&checks(), 1);
        assert_eq!(document["problems"], 1);
        assert_eq!(document["checks"][1]["remedy"], "do this");
        assert_eq!(document["checks"][0]["remedy"], Value::Null);
    }
}
