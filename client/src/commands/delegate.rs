//! `cgctl delegate`: hands a cgroup over to a user, or takes it back.

use crate::{
    exit::Failure,
    ids::People,
    limits::{Limits, lines, to_json},
    output::object,
    request::{self, Map},
    session::Session,
};

pub(super) fn run(
    session: &mut Session,
    owner: &str,
    path: Option<&str>,
    controllers: &[String],
    limits: &Limits,
    flags: &[&str],
) -> Result<(), Failure> {
    let ids = ids(owner, "delegate a cgroup to")?;
    let doing = format!("delegate {} to {owner}", path.unwrap_or("a cgroup"));
    let call = request::delegate(path.unwrap_or_default(), ids, controllers, limits, flags);
    let (path, changed) = session.call(call, &doing)?;
    print(session, &path, ids, changed)
}

pub(super) fn revoke(
    session: &mut Session,
    owner: &str,
    path: Option<&str>,
) -> Result<(), Failure> {
    let (uid, _) = ids(owner, "take a cgroup back from")?;
    let doing = format!("take {} back from {owner}", path.unwrap_or("a cgroup"));
    session.call(request::undelegate(path.unwrap_or_default(), uid), &doing)
}

fn ids(owner: &str, doing: &str) -> Result<(u32, u32), Failure> {
    People::local().resolve(owner).map_err(|failure| Failure {
        text: format!("cannot {doing} {owner}: {}", failure.text),
        ..failure
    })
}

fn print(
    session: &mut Session,
    path: &str,
    (uid, gid): (u32, u32),
    mut changed: Map,
) -> Result<(), Failure> {
    let output = &mut session.output;
    let [made, was, note] = ["created", "owner", "note"].map(|key| changed.remove(key));
    if output.json {
        return Ok(output.document(&object([
            ("path", path.into()),
            ("uid", uid.into()),
            ("gid", gid.into()),
            ("created", made.is_some().into()),
            ("owner", was.into()),
            ("limits", to_json(&changed)),
            ("note", note.into()),
        ]))?);
    }
    if output.quiet {
        return Ok(());
    }
    let mut news = lines(&changed, std::iter::empty());
    news.extend(was.map(|owner| format!("was {owner}")));
    news.extend(made.map(|controllers| format!("made in {controllers}")));
    if news.is_empty() {
        news.push("as it was".to_owned());
    }
    output.line(&format!("{path}  {uid}:{gid}  {}", news.join("  ")))?;
    note.map_or(Ok(()), |note| Ok(output.line(&format!("note: {note}"))?))
}
