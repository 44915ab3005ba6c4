//! One call of one caller: the facts that were read for it, and what follows from them.

use cgroupd_proto::{ErrorName, user_home};
use nix::errno::Errno;

use super::Service;
use super::share::Share;
use crate::accounting::{Charge, Resource};
use crate::caller::{Caller, Now, Scope, UNKNOWN_PLACE};
use crate::cgroup::{Actor, Dir, Hierarchy};
use crate::policy::{Node, Refusal, Subject};
use crate::{Error, Result, is_transient};

/// A call under way. The facts are as fresh as the call.
#[derive(Debug)]
pub struct Request<'a> {
    pub(super) service: &'a Service,
    pub(super) caller: &'a Caller,
    pub(super) now: Now,
    /// What the administrator's rules give it, as a user of the host; or why that is not known.
    pub(super) share: Result<Option<Share>>,
    /// The one hierarchy that is meant, where paths start at the caller's own cgroup.
    pub(super) own: Option<usize>,
}

impl<'a> Request<'a> {
    /// Reads the caller's facts.
    ///
    /// # Errors
    /// Denied when the caller is gone or a fact is missing.
    pub fn new(service: &'a Service, caller: &'a Caller) -> Result<Self> {
        let now = caller.now(&service.host).map_err(|errno| gone(errno).rule("caller"))?;
        let share = match now.subject.is_host_user() {
            true => service.share_of(caller),
            false => Ok(None),
        };
        Ok(Self { service, caller, now, share, own: None })
    }

    /// What policy knows of the caller.
    pub fn subject(&self) -> &Subject {
        &self.now.subject
    }

    /// What was read for it.
    pub(crate) fn now(&self) -> &Now {
        &self.now
    }

    /// Charges something to the caller.
    ///
    /// # Errors
    /// QuotaExceeded.
    pub(super) fn charge(&self, resource: Resource, amount: usize) -> Result<Charge> {
        Ok(self.service.accounts.charge(self.caller.account, resource, amount)?)
    }

    /// The most items of an array argument.
    pub(crate) fn most_items(&self) -> usize {
        self.service.array_items
    }

    pub(super) fn hierarchy(&self, index: usize) -> &'a Hierarchy {
        &self.service.layout.hierarchies[index]
    }

    /// The caller's scope in a hierarchy.
    pub(super) fn scope(&self, index: usize) -> Result<Option<Scope>> {
        let usual = user_home(self.subject().uid);
        let homes = match &self.share {
            Ok(share) => share.iter().map(Share::home).chain([&usual[..]]).collect(),
            Err(_) => Vec::new(),
        };
        let scope = self.caller.scope(&self.now, self.hierarchy(index), &homes);
        let scope = scope.map_err(|errno| gone(errno).rule("scope"))?;
        match scope {
            // Its home may be one that a rule gives it.
            Some(scope) if !scope.settled => self.share().map(|_| Some(scope)),
            scope => Ok(scope),
        }
    }

    /// What the administrator's rules give the caller.
    ///
    /// # Errors
    /// When the user database cannot be asked.
    pub(super) fn share(&self) -> Result<Option<&Share>> {
        self.share.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }

    /// The caller's own rights, with nothing added.
    pub(super) fn plain_actor(&self) -> Actor {
        self.subject().plain_actor()
    }

    pub(super) fn is_delegated(&self, index: usize, file: &str) -> bool {
        let list = self.service.delegate_list(self.hierarchy(index).version);
        crate::policy::is_delegated(file, list)
    }
}

pub(super) fn gone(errno: Errno) -> Error {
    if errno == UNKNOWN_PLACE {
        let text = "the kernel does not say which cgroup the caller is in";
        return Error::new(ErrorName::Denied, text).hint(
            "the cgroup's path is longer than the 4,095 bytes that /proc shows, or the cgroup \
                 was removed",
        );
    }
    if errno == Errno::EAGAIN {
        let text = "the caller entered another namespace while it was looked at";
        return Error::new(ErrorName::Raced, text).hint("repeat the call");
    }
    if is_transient(errno) {
        return Error::kernel("the caller cannot be identified for now", errno)
            .hint("repeat the call");
    }
    let text = format!("the caller cannot be identified any more: {}", crate::words(errno));
    Error::new(ErrorName::Denied, text)
        .hint("call from a process that lives until it has its answer")
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = Self::new(ErrorName::Denied, refusal.text).rule(refusal.rule);
        match refusal.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Owner and mode of a directory.
pub(super) fn node_of(dir: &Dir) -> Result<Node> {
    dir.stat().map(node).map_err(|errno| Error::kernel("stat", errno))
}

/// Owner and mode of a file in a directory.
pub(super) fn node_at(dir: &Dir, file: &str) -> Result<Node> {
    dir.stat_at(file).map(node).map_err(|errno| match errno {
        Errno::ENOENT => unknown_file(file),
        errno => Error::kernel(format_args!("stat {file}"), errno),
    })
}

pub(super) fn node(stat: nix::sys::stat::FileStat) -> Node {
    Node { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode }
}

/// Whether the cgroup has an interface file of that name.
pub(super) fn has_file(dir: &Dir, file: &str) -> Result<bool> {
    dir.has_file(file).map_err(|errno| Error::kernel(format_args!("look for {file}"), errno))
}

pub(super) fn unknown_file(file: &str) -> Error {
    Error::new(ErrorName::UnknownFile, format!("{file}: no such interface file there"))
        .hint("ListFiles names those that are")
}
