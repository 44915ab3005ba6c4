//! `cgctl rm`: removes cgroups, now or when they are empty.

use crate::{
    exit::{Exit, Failure},
    output::object,
    request,
    session::Session,
};

/// With which of the flags recursive, kill and when-empty.
pub(super) fn run(
    session: &mut Session,
    paths: &[String],
    [recursive, kill, when_empty]: [bool; 3],
) -> Result<Exit, Failure> {
    let flags =
        request::flags([("recursive", recursive), ("kill", kill), ("when-empty", when_empty)]);
    session.each(paths, |session, path| {
        let removed = session.call(request::remove(path, &flags), &format!("remove {path}"))?;
        if when_empty { told(session, path, removed) } else { Ok(()) }
    })
}

fn told(session: &mut Session, path: &str, removed: bool) -> Result<(), Failure> {
    let output = &mut session.output;
    let said = if removed { "removed" } else { "will be removed when it is empty" };
    match output.json {
        true => output.document(&object([("path", path.into()), ("removed", removed.into())]))?,
        false if output.quiet => {}
        false => output.line(&format!("{path}  {said}"))?,
    }
    Ok(())
}
