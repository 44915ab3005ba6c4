//! `cgctl freeze` and `cgctl thaw`: stop the processes of cgroups, and let them run again.

use crate::{
    exit::{Exit, Failure},
    request,
    session::Session,
};

pub(super) fn freeze(session: &mut Session, paths: &[String]) -> Result<Exit, Failure> {
    session
        .each(paths, |session, path| session.call(request::freeze(path), &format!("freeze {path}")))
}

pub(super) fn thaw(session: &mut Session, paths: &[String]) -> Result<Exit, Failure> {
    session.each(paths, |session, path| session.call(request::thaw(path), &format!("thaw {path}")))
}
