//! `cgctl ps`: the processes of a cgroup, with their commands where the caller's own `/proc`
//! shows them.

use std::fs;

use crate::{exit::Failure, request, session::Session};

pub(super) fn run(session: &mut Session, path: &str, recursive: bool) -> Result<(), Failure> {
    let request = request::processes(path, recursive);
    let mut pids = session.call(request, &format!("list the processes of {path}"))?;
    pids.sort_unstable();
    let output = &mut session.output;
    if output.json {
        return Ok(output.document(&pids.into())?);
    }
    let name = |pid| if output.quiet { None } else { command(pid) };
    let rows: Vec<Vec<String>> = pids
        .into_iter()
        .map(|pid| [pid.to_string()].into_iter().chain(name(pid)).collect())
        .collect();
    Ok(output.table(&rows)?)
}

/// Gone by now, or another `/proc`: then there is no name to tell.
fn command(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn a_live_process_has_a_name() {
        assert!(command(std::process::id()).is_some_and(|name| !name.ends_with('\n')));
        assert_eq!(command(u32::MAX), None);
    }
}
