//! `cgctl set`: sets limits and shows what the kernel made of them.

use crate::{
    exit::{Exit, Failure},
    limits::{Limits, lines, to_json},
    request,
    session::Session,
};

pub(super) fn run(
    session: &mut Session,
    path: &str,
    limits: &Limits,
    flags: &[&str],
) -> Result<(), Failure> {
    if limits.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            format!("cannot set limits of {path}: none is given"),
        )
        .hint("for example -m 512M, or memory.high=1G; `cgctl set --help` lists the options"));
    }
    let request = request::set_limits(path, limits, flags);
    let values = session.call(request, &format!("set limits of {path}"))?;
    let output = &mut session.output;
    if output.quiet {
        return Ok(());
    }
    if output.json {
        return Ok(output.document(&to_json(&values))?);
    }
    for line in lines(&values, limits.iter().map(|(name, _)| name.as_str())) {
        output.line(&line)?;
    }
    Ok(())
}
