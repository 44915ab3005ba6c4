//! What is remembered of a removal that was promised: as whom, and on what condition. It lies on
//! the cgroup as a mark, which only root of the initial user namespace can write, and is believed
//! after a restart of the daemon.

use std::ffi::OsStr;

use cgroupd_proto::ErrorName;

use crate::accounting::Account;
use crate::cgroup::{Actor, Dir, MAX_MARK};
use crate::sys::creds::{Cap, CapSet, Identity};
use crate::{Error, Result};

/// The mark's name.
pub(super) const MARK: &str = "when-empty";
/// The first word of a mark that this version understands.
const VERSION: &str = "1";

/// A removal that was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    /// Whether somebody has been in the cgroup: a new one is not removed before.
    pub(super) populated: bool,
    /// The account of whom it was promised to.
    pub(super) account: Account,
    /// Whom to be.
    pub(super) actor: Actor,
    /// The parent's owner and group, where a capability was lent because of them.
    pub(super) lent_for: Option<(u32, u32)>,
    /// Whether the way from the managed root to the parent was the caller's to walk: then it must
    /// still be.
    pub(super) walked: bool,
}

impl Promise {
    /// Walks the way with nothing lent.
    ///
    /// # Errors
    /// EACCES.
    pub(super) fn walk(actor: &Actor, root: &Dir, above: &OsStr) -> nix::Result<()> {
        let plain = match actor {
            Actor::Root => Actor::Root,
            Actor::As(who) => Actor::As(Identity { caps: CapSet::EMPTY, ..who.clone() }),
        };
        plain.run(|| root.open(above)).map(drop)
    }

    /// The mark's value: version, populated, account, then `root`, or uid, gid, the owner and group for
    /// which DAC_OVERRIDE was lent, the supplementary groups, and whether the way was walked.
    ///
    /// # Errors
    /// NotSupported for more groups than a mark can hold.
    pub(super) fn encode(&self) -> Result<String> {
        let start = format!("{VERSION} {} {}", u8::from(self.populated), self.account);
        let text = match &self.actor {
            Actor::Root => format!("{start} root"),
            Actor::As(Identity { uid, gid, groups, .. }) => {
                let lent =
                    self.lent_for.map_or("-".to_owned(), |(uid, gid)| format!("{uid}:{gid}"));
                let groups: Vec<_> = groups.iter().map(u32::to_string).collect();
                let walked = u8::from(self.walked);
                format!("{start} {uid}:{gid} {lent} {} {walked}", groups.join(","))
            }
        };
        match text.len() <= MAX_MARK {
            true => Ok(text),
            false => Err(Error::new(
                ErrorName::NotSupported,
                "the caller is in more groups than can be remembered with the cgroup",
            )
            .hint("remove it once it is empty, or call with fewer supplementary groups")),
        }
    }

    /// What [`Self::encode`] wrote; `None` for anything else.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let version = words.next()?;
        let populated = words.next()? == "1";
        let account = account(words.next()?)?;
        let who = words.next()?;
        if version != VERSION {
            return None;
        }
        if who == "root" {
            return Some(Self {
                populated,
                account,
                actor: Actor::Root,
                lent_for: None,
                walked: false,
            });
        }
        let (uid, gid) = pair(who)?;
        let lent_for = match words.next()? {
            "-" => None,
            lent => Some(pair(lent)?),
        };
        let groups = words.next()?.split(',').filter(|word| !word.is_empty());
        let groups = groups.map(|word| word.parse().ok()).collect::<Option<Vec<u32>>>()?;
        let walked = words.next() == Some("1");
        let caps = lent_for.map_or(CapSet::EMPTY, |_| CapSet::one(Cap::DacOverride));
        let actor = Actor::As(Identity { uid, gid, groups: groups.into(), caps });
        Some(Self { populated, account, actor, lent_for, walked })
    }
}

/// Version 0.1.0 wrote a uid, and the largest number for all of root's containers.
fn account(word: &str) -> Option<Account> {
    match word.parse() {
        Ok(0) => Some(Account::HostRoot),
        Ok(u32::MAX) => Some(Account::Confined),
        Ok(uid) => Some(Account::User(uid)),
        Err(_) => word.parse().ok(),
    }
}

fn pair(text: &str) -> Option<(u32, u32)> {
    let (uid, gid) = text.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uid: u32, groups: &[u32], lent_for: Option<(u32, u32)>) -> Promise {
        let caps = lent_for.map_or(CapSet::EMPTY, |_| CapSet::one(Cap::DacOverride));
        let actor = Actor::As(Identity { uid, gid: 7, groups: groups.into(), caps });
        Promise {
            populated: true,
            account: Account::of_uid(uid),
            actor,
            lent_for,
            walked: uid == 1000,
        }
    }

    #[test]
    fn what_was_promised_is_read_again() {
        let root = Promise {
            populated: false,
            account: Account::HostRoot,
            actor: Actor::Root,
            lent_for: None,
            walked: false,
        };
        // A uid 0 that is confined is not root.
        for promise in [root, of(0, &[], None), of(1000, &[4, 24], None), of(5, &[], Some((9, 8)))]
        {
            let text = promise.encode().unwrap();
            assert_eq!(Promise::decode(&text), Some(promise), "{text}");
        }
    }

    #[test]
    fn a_mark_of_the_version_before_is_understood() {
        for (word, account) in [
            ("0", Account::HostRoot),
            ("1000", Account::User(1000)),
            ("4294967295", Account::Confined),
        ] {
            let promise = Promise::decode(&format!("1 1 {word} root")).unwrap();
            assert_eq!(promise.account, account);
        }
    }

    #[test]
    fn what_is_no_promise_is_not_believed() {
        for text in ["", "1", "2 1 0 root", "1 1 x root", "1 1 0 5", "1 1 0 5:6", "1 1 0 5:6 - x"] {
            assert_eq!(Promise::decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn too_many_groups_are_refused() {
        let groups: Vec<u32> = (1_000_000_000..1_000_000_300).collect();
        assert_eq!(of(1, &groups, None).encode().unwrap_err().name, ErrorName::NotSupported);
    }
}
