//! What is said of a command that has ended: on standard error, the output is the command's.

use std::{io::Write, os::unix::process::ExitStatusExt};

use cgroupd_proto::{printable, round_size};

use crate::{commands::stat::to_json, exit::Exit, output::object, session::Session};

use super::Ended;

/// There is nobody to tell when it cannot be printed.
pub(super) fn print(session: &Session, ended: &Ended<'_>) {
    let output = &session.output;
    if output.quiet && !output.json {
        return;
    }
    let line = if output.json { document(ended) } else { printable(&line(ended)).into_owned() };
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn document(ended: &Ended<'_>) -> String {
    let document = object([
        ("command", ended.command.to_string_lossy().into()),
        ("exit", Exit::of_command(ended.status).code().into()),
        ("signal", ended.status.signal().into()),
        ("seconds", ended.seconds.into()),
        ("stats", to_json(&ended.stats)),
    ]);
    document.to_string()
}

fn line(ended: &Ended<'_>) -> String {
    let number = |name: &str| ended.stats.get(name).copied();
    let mut parts = Vec::new();
    match (number("memory.events.oom_kill"), ended.status.signal()) {
        (None | Some(0), _) => {}
        (Some(_), Some(KILL)) => parts.push("killed by the OOM killer".to_owned()),
        (Some(count), _) => parts.push(format!("{count} killed by the OOM killer")),
    }
    parts.push(format!("exit {}", Exit::of_command(ended.status).code()));
    parts.push(format!("{:.1} s", ended.seconds));
    parts.extend(number("cpu.usage_usec").map(|micros| format!("cpu {}", seconds(micros))));
    let throttled = number("cpu.throttled_usec").filter(|micros| *micros > 0);
    parts.extend(throttled.map(|micros| format!("throttled {}", seconds(micros))));
    parts.extend(number("memory.peak").map(|peak| {
        let most = number("memory.max").map(|most| format!(" of {}", round_size(most)));
        format!("memory peak {}{}", round_size(peak), most.unwrap_or_default())
    }));
    format!("{}: {}", ended.command.display(), parts.join("  "))
}

const KILL: i32 = 9;

fn seconds(micros: u64) -> String {
    format!("{:.1} s", micros as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, process::ExitStatus};

    use super::*;

    fn said(status: i32, stats: &[(&str, u64)]) -> String {
        let command = OsString::from("./job");
        let stats = stats.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
        let status = ExitStatus::from_raw(status);
        line(&Ended { command: &command, status, seconds: 2.94, stats })
    }

    #[test]
    fn one_line_of_what_is_known() {
        assert_eq!(said(3 << 8, &[]), "./job: exit 3  2.9 s");
        let all = [
            ("cpu.usage_usec", 2_500_000),
            ("memory.events.oom_kill", 1),
            ("memory.max", 50 << 20),
            ("memory.peak", 50 << 20),
        ];
        assert_eq!(
            said(9, &all),
            "./job: killed by the OOM killer  exit 137  2.9 s  cpu 2.5 s  memory peak 50.0M of 50.0M"
        );
        let child = said(0, &[("memory.events.oom_kill", 2)]);
        assert_eq!(child, "./job: 2 killed by the OOM killer  exit 0  2.9 s");
    }
}
