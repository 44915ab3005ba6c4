//! Changing owners and modes.

use super::{Class, Decision, Node, Position, Refusal, Subject, Terms};
use crate::sys::creds::{Actor, Cap, CapSet};

/// Giving a cgroup to the outside ids `uid` and `gid` (`None`: not mapped for the caller).
///
/// # Errors
/// At the scope's top, for ordinary users, and when an old or new id is not mapped.
pub fn may_chown(
    subject: &Subject,
    position: Position,
    node: Node,
    uid: Option<u32>,
    gid: Option<u32>,
) -> Decision {
    if position == Position::Top {
        let text = "the top of the caller's scope does not change its owner";
        return Err(Refusal::new("chown-top", text));
    }
    if uid.is_none() || gid.is_none() {
        let text = "the new owner is reserved, or not mapped in the caller's user namespace";
        return Err(Refusal::new("chown-new-id", text));
    }
    if subject.class == Class::HostRoot {
        return Ok(Terms::acting(Actor::Root));
    }
    let privileged = subject.class == Class::NsRoot || subject.uid == 0;
    if !privileged || !subject.caps.has(Cap::Chown) {
        let text = "changing owners takes CAP_CHOWN, as chown(2) does";
        return Err(Refusal::new("chown", text).hint("ask root of the host, or of the container"));
    }
    if !subject.maps_both(node.uid, node.gid) {
        let text = "its present owner is not mapped in the caller's user namespace";
        return Err(Refusal::new("chown-old-id", text));
    }
    Ok(Terms::acting(Actor::As(subject.identity(CapSet::one(Cap::Chown)))))
}

/// Changing the mode of a directory or file; `delegated` tells limit files from those a
/// delegatee owns and from the directory.
///
/// # Errors
/// At the scope's top, set-id bits, limit files for group or others to write, not the owner.
pub fn may_chmod(
    subject: &Subject,
    position: Position,
    node: Node,
    mode: u32,
    delegated: bool,
) -> Decision {
    if position == Position::Top {
        let text = "the top of the caller's scope does not change its mode";
        return Err(Refusal::new("chmod-top", text));
    }
    if mode & !0o777 != 0 {
        let text = format!("mode {mode:04o} has bits beyond 0777");
        return Err(Refusal::new("chmod-bits", text));
    }
    if !delegated && mode & 0o022 != 0 {
        let text = "a limit is not for group or others to write";
        return Err(Refusal::new("chmod-limit", text).hint("use a mode without 022, as 0644"));
    }
    let overrides = subject.ns_root_with(Cap::Fowner) && subject.uid_map.maps(node.uid);
    Ok(Terms::acting(match overrides && node.uid != subject.uid {
        true => Actor::As(subject.identity(CapSet::one(Cap::Fowner))),
        false => subject.plain_actor(),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::{host_root, ns_root, user};
    use super::*;

    const MINE: Node = Node { uid: 100_500, gid: 100_500, mode: 0o755 };

    fn chown(
        subject: &Subject,
        position: Position,
        node: Node,
        uid: Option<u32>,
    ) -> Result<(), &'static str> {
        may_chown(subject, position, node, uid, Some(100_001)).map(drop).map_err(|r| r.rule)
    }

    #[test]
    fn cases_35_and_37_owners() {
        let root = ns_root(100_000, CapSet(u64::MAX));
        let weak = ns_root(100_000, CapSet::EMPTY);
        let half = Node { gid: 0, ..MINE };
        for (subject, position, node, uid, verdict) in [
            (&host_root(), Position::Below, MINE, Some(7), Ok(())),
            (&host_root(), Position::Top, MINE, Some(7), Err("chown-top")),
            (&root, Position::Below, MINE, Some(100_001), Ok(())),
            (&root, Position::Top, MINE, Some(100_001), Err("chown-top")),
            (&root, Position::Below, MINE, None, Err("chown-new-id")),
            (&root, Position::Below, half, Some(100_001), Err("chown-old-id")),
            (&weak, Position::Below, MINE, Some(100_001), Err("chown")),
            (&user(100_500, 1, &[]), Position::Below, MINE, Some(100_500), Err("chown")),
        ] {
            assert_eq!(chown(subject, position, node, uid), verdict, "{subject:?}");
        }
    }

    #[test]
    fn case_39_modes() {
        let me = user(1000, 1000, &[]);
        let chmod = |mode, delegated| {
            may_chmod(&me, Position::Below, MINE, mode, delegated).map(drop).map_err(|r| r.rule)
        };
        assert_eq!(chmod(0o7777, true), Err("chmod-bits"));
        assert_eq!(chmod(0o666, false), Err("chmod-limit"));
        assert_eq!(chmod(0o644, false), Ok(()));
        assert_eq!(chmod(0o775, true), Ok(()));
    }
}
