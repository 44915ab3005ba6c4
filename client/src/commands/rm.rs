//! `cgctl rm`: removes cgroups.

use crate::{
    exit::{Exit, Failure},
    request,
    session::Session,
};

pub(super) fn run(
    session: &mut Session,
    paths: &[String],
    recursive: bool,
    kill: bool,
) -> Result<Exit, Failure> {
    let flags = [request::flag("recursive", recursive), request::flag("kill", kill)].concat();
    session.each(paths, |session, path| {
        // The answer tells removed from marked, and nothing here asks for marking.
        session.call(request::remove(path, &flags), &format!("remove {path}")).map(drop)
    })
}
