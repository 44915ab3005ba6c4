//! The forms: which verb each is, what it needs passed on, and what it answers.

use cgroupd_proto::{CgroupPath, ErrorName};
use nix::errno::Errno;

use super::super::{Asked, absolute, cgroups, files, processes};
use super::answer::{Answer, DONE, FAILED, Listed};
use crate::caller::{Caller, Process};
use crate::service::{Key, Request, Victims};
use crate::sys::scm::Credentials;
use crate::{Error, Result};

/// One of the forms.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) member: &'static str,
    pub(super) second: Second,
    pub(super) run: fn(&Work<'_>) -> Result<Answer>,
    pub(super) failed: Answer,
}

/// What is passed on after who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Second {
    Nothing,
    Process,
    Owner,
}

/// What is done, and for whom.
pub(super) struct Work<'a> {
    /// For who asks.
    pub(super) asked: Asked<'a>,
    pub(super) words: &'a [String],
    pub(super) number: i32,
    /// Who has made the call.
    pub(super) proxy: &'a Caller,
    /// What was passed on second.
    pub(super) owner: Option<Credentials>,
    pub(super) victim: Option<Process>,
}

#[rustfmt::skip]
pub(super) const FORMS: &[Form] = &[
    Form { member: "CreateScm", second: Second::Nothing, run: create, failed: FAILED },
    Form { member: "ChownScm", second: Second::Owner, run: chown, failed: FAILED },
    Form { member: "ChmodScm", second: Second::Nothing, run: chmod, failed: FAILED },
    Form { member: "MovePidScm", second: Second::Process, run: move_pid, failed: FAILED },
    Form { member: "MovePidAbsScm", second: Second::Process, run: move_pid_abs, failed: FAILED },
    Form { member: "GetValueScm", second: Second::Nothing, run: get_value, failed: Answer::Empty },
    Form { member: "SetValueScm", second: Second::Nothing, run: set_value, failed: FAILED },
    Form { member: "RemoveScm", second: Second::Nothing, run: remove, failed: FAILED },
    Form { member: "GetTasksScm", second: Second::Nothing, run: get_tasks, failed: Answer::NoItems },
    Form { member: "GetTasksRecursiveScm", second: Second::Nothing, run: get_tasks_recursive, failed: Answer::NoItems },
    Form { member: "ListChildrenScm", second: Second::Nothing, run: list_children, failed: Answer::NoItems },
    Form { member: "RemoveOnEmptyScm", second: Second::Nothing, run: remove_on_empty, failed: FAILED },
    Form { member: "PruneScm", second: Second::Nothing, run: prune, failed: FAILED },
    Form { member: "ListKeysScm", second: Second::Nothing, run: list_keys, failed: Answer::NoItems },
    Form { member: "GetPidCgroupScm", second: Second::Process, run: get_pid_cgroup, failed: Answer::Empty },
    Form { member: "GetPidCgroupAbsScm", second: Second::Process, run: get_pid_cgroup_abs, failed: Answer::Empty },
];

impl Work<'_> {
    fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// The controllers, and the cgroup.
    fn place(&self) -> (&Asked<'_>, &str, &str) {
        (&self.asked, self.word(0), self.word(1))
    }

    /// The process that was passed on, for the requestor to have moved.
    fn victims(&self) -> Result<Victims> {
        let process = self.victim.as_ref().ok_or_else(nobody)?;
        Victims::one(process)
    }

    /// Where it is, as names from the scope of who asks.
    fn victims_cgroup(&self, request: &Request<'_>) -> Result<Vec<String>> {
        let process = self.victim.as_ref().ok_or_else(nobody)?;
        let found = processes::cgroup_of(request, self.asked.request.theirs(process)?)?;
        // Until now the number was its own.
        process.check_alive().map_err(gone)?;
        Ok(found)
    }

    /// The proxy's own cgroup in the hierarchy of `request`, from the managed root.
    fn proxy_cgroup(&self, controller: &str) -> Result<Vec<String>> {
        let service = self.asked.service;
        let asked = Asked { service, request: Request::new(service, self.proxy)? };
        let request = asked.one(controller)?;
        Ok([request.scope_from_root()?, request.own_cgroup()?].concat())
    }
}

fn create(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    let existed = cgroups::create(asked, controllers, cgroup)?;
    Ok(Answer::Byte(if existed { b'2' } else { b'1' }))
}

fn remove(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    let existed = cgroups::remove(asked, controllers, cgroup, work.number != 0)?;
    Ok(Answer::Byte(if existed { b'2' } else { b'1' }))
}

/// The owner that was passed on is one of the daemon's user namespace.
fn chown(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    let (owner, subject) = (work.owner.ok_or_else(nobody)?, asked.request.subject());
    let unmapped = || Error::new(ErrorName::Denied, "the new owner has no number for who asks");
    let uid = subject.uid_map.inside(owner.uid).ok_or_else(unmapped)?;
    let gid = subject.gid_map.inside(owner.gid).ok_or_else(unmapped)?;
    cgroups::chown(asked, controllers, cgroup, (uid, gid)).map(|()| DONE)
}

fn chmod(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    cgroups::chmod(asked, controllers, cgroup, work.word(2), work.number).map(|()| DONE)
}

fn move_pid(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    let victims = work.victims()?;
    processes::attach(asked, controllers, &processes::relative(cgroup)?, &victims).map(|()| DONE)
}

/// Grant G7: from the proxy's own cgroup on, as far as that is within what who asks may see.
fn move_pid_abs(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    let below = absolute(cgroup)?;
    let victims = work.victims()?;
    asked.each(controllers, |request, meant| {
        let label = &asked.service.layout.hierarchies[meant.hierarchy].label;
        let from_root = [work.proxy_cgroup(label)?, below.components().to_vec()].concat();
        let outside = || Error::new(ErrorName::Denied, "that is outside of what who asks may see");
        let scope = request.scope_from_root()?;
        let names = from_root.strip_prefix(&scope[..]).ok_or_else(outside)?;
        request.attach(&CgroupPath::parse(&format!("/{}", names.join("/")))?, &victims)
    })?;
    Ok(DONE)
}

fn get_value(work: &Work<'_>) -> Result<Answer> {
    let (asked, controller, cgroup) = work.place();
    files::value(asked, controller, cgroup, work.word(2)).map(Answer::Text)
}

fn set_value(work: &Work<'_>) -> Result<Answer> {
    let (asked, controller, cgroup) = work.place();
    files::set_value(asked, controller, cgroup, work.word(2), work.word(3)).map(|()| DONE)
}

fn remove_on_empty(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    cgroups::remove_on_empty(asked, controllers, cgroup).map(|()| DONE)
}

fn prune(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    cgroups::prune(asked, controllers, cgroup).map(|()| DONE)
}

fn get_tasks(work: &Work<'_>) -> Result<Answer> {
    let (asked, controller, cgroup) = work.place();
    listed(processes::daemon_pids(asked, controller, cgroup)?)
}

fn get_tasks_recursive(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    listed(processes::daemon_pids_below(asked, controllers, cgroup)?)
}

fn listed(pids: Vec<i32>) -> Result<Answer> {
    let listed = pids.into_iter().filter_map(|pid| Listed::new(pid).transpose());
    let listed = listed.collect::<nix::Result<_>>();
    let unseen = |errno| Error::kernel("look at a process in it", errno);
    Ok(Answer::Processes(listed.map_err(unseen)?))
}

fn list_children(work: &Work<'_>) -> Result<Answer> {
    let (asked, controller, cgroup) = work.place();
    let names = cgroups::children(asked, controller, cgroup)?;
    let text = names.iter().map(|name| format!("{name}\0")).collect();
    Ok(Answer::Items(names.len(), text))
}

fn list_keys(work: &Work<'_>) -> Result<Answer> {
    let (asked, controller, cgroup) = work.place();
    let keys = files::keys(asked, controller, cgroup)?;
    let text = keys.iter().map(key_lines).collect();
    Ok(Answer::Items(keys.len(), text))
}

fn key_lines(key: &Key) -> String {
    let shown = |id: Option<u32>| id.unwrap_or(u32::MAX);
    format!("{}\n{}\n{}\n{}\n", key.name, shown(key.uid), shown(key.gid), key.mode)
}

/// Relative to the own cgroup of who asks.
fn get_pid_cgroup(work: &Work<'_>) -> Result<Answer> {
    let request = work.asked.one(work.word(0))?;
    let found = work.victims_cgroup(&request)?;
    processes::below(&request.own_cgroup()?, &found).map(Answer::Text)
}

/// From the proxy's own cgroup on.
fn get_pid_cgroup_abs(work: &Work<'_>) -> Result<Answer> {
    let request = work.asked.one(work.word(0))?;
    let found = work.victims_cgroup(&request)?;
    let from_root = [request.scope_from_root()?, found].concat();
    let below = processes::below(&work.proxy_cgroup(work.word(0))?, &from_root)?;
    Ok(Answer::Text(format!("/{}", below.trim_start_matches('/'))))
}

fn nobody() -> Error {
    Error::new(ErrorName::InvalidArgument, "nobody else was passed on").hint(
        "send the credentials of the process, or the owner, when the second byte asks for them",
    )
}

/// A process that was passed on, and cannot be had.
pub(super) fn gone(errno: Errno) -> Error {
    let text = format!("the process that was passed on cannot be found: {}", crate::words(errno));
    Error::new(ErrorName::NoSuchProcess, text)
}

#[cfg(test)]
mod tests {
    use super::FORMS;
    use cgroupd_proto::cgmanager::METHODS;

    #[test]
    fn every_scm_method_has_a_form() {
        let members = METHODS.iter().map(|method| method.member);
        let contract: Vec<_> = members.filter(|member| member.ends_with("Scm")).collect();
        let forms: Vec<_> = FORMS.iter().map(|form| form.member).collect();
        assert_eq!(contract, forms);
    }
}
