//! `cgctl chown`: gives cgroups to a user of the caller's own user namespace.

use crate::{
    exit::{Exit, Failure},
    ids::People,
    request,
    session::Session,
};

pub(super) fn run(
    session: &mut Session,
    owner: &str,
    paths: &[String],
    recursive: bool,
) -> Result<Exit, Failure> {
    let (uid, gid) = People::local().resolve(owner).map_err(|failure| Failure {
        text: format!("cannot give {} to {owner}: {}", paths.join(" "), failure.text),
        ..failure
    })?;
    session.each(paths, |session, path| {
        let doing = format!("give {path} to {uid}:{gid}");
        session.call(request::chown(path, uid, gid, recursive), &doing)
    })
}
