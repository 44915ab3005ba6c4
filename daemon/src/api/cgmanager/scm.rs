//! The forms that end in `Scm`: whoever calls, a proxy as a rule, passes on who asks for it, and
//! which process or owner is meant, as credentials over a socket. The call itself is answered at
//! once; what follows is told on the socket, and holds up nobody.


use cgroupd_proto::{CgroupPath, ErrorName, Method};
use nix::errno::Errno;
use serde::Deserialize;
use tokio::runtime::Handle;
use zbus::zvariant::Type;
use zbus::{Fd, Message};

use super::talk::Talk;
use super::{Asked, cgroups, files, processes};
use crate::api::changes::Changes;
use crate::api::client::Client;
use crate::caller::{Caller, Passed, Process};
use crate::cgroup::handle::errno_of;
use crate::service::{Key, Request, Service, Victims};
use crate::sys::scm::Credentials;
use crate::{Error, Result};

/// What a call asks for, but for who and whom.
#[derive(Debug)]
pub(in crate::api) struct Order {
    method: &'static Method,
    form: &'static Form,
    words: Vec<String>,
    number: i32,
    talk: Talk,
}

/// One of the forms.
#[derive(Debug)]
struct Form {
    member: &'static str,
    second: Second,
    run: fn(&Work<'_>) -> Result<Answer>,
    failed: Answer,
}

/// What is passed on after who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    Nothing,
    Process,
    Owner,
}

/// What is done, and for whom.
struct Work<'a> {
    order: &'a Order,
    asked: Asked<'a>,
    /// Who has made the call.
    proxy: &'a Caller,
    /// What was passed on second.
    owner: Option<Credentials>,
    victim: Option<Process>,
}

/// What is told at the end.
#[derive(Clone, Debug)]
enum Answer {
    Byte(u8),
    /// With a NUL behind it.
    Text(String),
    Empty,
    Processes(Vec<i32>),
    /// How many there are, and all of them.
    Items(usize, String),
    /// Instead of the number of items.
    NoItems,
}

const DONE: Answer = Answer::Byte(b'1');
const FAILED: Answer = Answer::Byte(b'0');

#[rustfmt::skip]
const FORMS: &[Form] = &[
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

impl Order {
    /// Reads a call whose signature fits.
    ///
    /// # Errors
    /// When its descriptor is no socket that can be used.
    pub(super) fn read(client: &Client, call: &Message, method: &'static Method) -> Result<Self> {
        let form = FORMS.iter().find(|form| form.member == method.member).ok_or_else(|| {
            Error::new(ErrorName::NotSupported, format!("{} is not there", method.member))
        })?;
        let body = call.body();
        let (words, number, descriptor) = arguments(&body, &method.signature())?;
        let socket = client.take_socket(descriptor).ok_or_else(|| unfit(Errno::ENOTSOCK))?;
        let Caller { uid, gid, ref process, .. } = *client.caller;
        let sender = Credentials { pid: process.pid, uid, gid };
        let talk = Talk::over(socket, sender).map_err(|error| unfit(errno_of(error)))?;
        Ok(Self { method, form, words, number, talk })
    }

    /// Learns who asks, does it, and tells the result. Whoever is silent learns nothing.
    pub(in crate::api) fn carry_out(
        self,
        service: &Service,
        proxy: &Caller,
        changes: (&Changes, &Handle),
    ) {
        if let Err(error) = self.converse(service, proxy, changes) {
            let (uid, pid, call) = (proxy.uid, proxy.process.pid, self.form.member);
            tracing::debug!(uid, pid, call, %error, "a conversation broke off");
        }
    }

    fn converse(
        &self,
        service: &Service,
        proxy: &Caller,
        (changes, runtime): (&Changes, &Handle),
    ) -> std::io::Result<()> {
        let first = self.talk.ask()?;
        let second = match self.form.second {
            Second::Nothing => None,
            _ => Some(self.talk.ask()?),
        };
        let requestor = Request::new(service, proxy).and_then(|request| request.requestor(first));
        let requestor = match requestor {
            Ok(requestor) => requestor,
            Err(error) => {
                self.record(service, (proxy, proxy), &Err(error));
                return self.tell(&self.form.failed);
            }
        };
        let turn = runtime.block_on(changes.permit(requestor.key));
        let answer = self.work(service, proxy, &requestor, second);
        drop(turn);
        self.tell(&answer)
    }

    fn work(
        &self,
        service: &Service,
        proxy: &Caller,
        requestor: &Caller,
        second: Option<Passed>,
    ) -> Answer {
        let result = Request::new(service, requestor).and_then(|request| {
            let asked = Asked { service, request };
            let owner = second.as_ref().map(|passed| passed.credentials);
            let victim = match self.form.second {
                Second::Process => second.map(Passed::process).transpose().map_err(gone)?,
                _ => None,
            };
            (self.form.run)(&Work { order: self, asked, proxy, owner, victim })
        });
        let outcome = result.as_ref().map(drop).map_err(Clone::clone);
        self.record(service, (requestor, proxy), &outcome);
        result.unwrap_or_else(|_| self.form.failed.clone())
    }

    fn record(&self, service: &Service, (asker, proxy): (&Caller, &Caller), result: &Result<()>) {
        let (pid, uid) = (proxy.process.pid, proxy.uid);
        let through = format!(" through pid={pid} uid={uid}");
        let path = self.words.get(1).map_or("", String::as_str);
        super::record(service, asker, (self.method, &through), path, result);
    }

    fn tell(&self, answer: &Answer) -> std::io::Result<()> {
        let talk = &self.talk;
        match answer {
            Answer::Byte(byte) => talk.send(&[*byte]),
            Answer::Text(text) => talk.send(&[text.as_bytes(), b"\0"].concat()),
            Answer::Empty => talk.send(&[]),
            Answer::NoItems => talk.send(&(-1i32).to_ne_bytes()),
            Answer::Processes(pids) => {
                talk.send(&(pids.len() as i32).to_ne_bytes())?;
                for pid in pids {
                    talk.send_process(b'p', *pid)?;
                }
                Ok(())
            }
            Answer::Items(count, text) => {
                talk.send(&(*count as i32).to_ne_bytes())?;
                talk.send(&(text.len() as u32).to_ne_bytes())?;
                match count {
                    0 => Ok(()),
                    _ => talk.send(text.as_bytes()),
                }
            }
        }
    }
}

/// The words, the number where there is one, and the descriptor.
fn arguments<'b>(
    body: &'b zbus::message::Body,
    signature: &str,
) -> Result<(Vec<String>, i32, Fd<'b>)> {
    fn read<'b, T: Deserialize<'b> + Type>(body: &'b zbus::message::Body) -> Result<T> {
        let parsed = body.deserialize_ignore_signature::<T>();
        parsed.map_err(|error| Error::new(ErrorName::InvalidArgument, error.to_string()))
    }
    Ok(match signature {
        "sh" => {
            let (a, fd): (String, Fd<'b>) = read(body)?;
            (vec![a], 0, fd)
        }
        "ssh" => {
            let (a, b, fd): (String, String, Fd<'b>) = read(body)?;
            (vec![a, b], 0, fd)
        }
        "sssh" => {
            let (a, b, c, fd): (String, String, String, Fd<'b>) = read(body)?;
            (vec![a, b, c], 0, fd)
        }
        "ssssh" => {
            let (a, b, c, d, fd): (String, String, String, String, Fd<'b>) = read(body)?;
            (vec![a, b, c, d], 0, fd)
        }
        "ssih" => {
            let (a, b, number, fd): (String, String, i32, Fd<'b>) = read(body)?;
            (vec![a, b], number, fd)
        }
        _ => {
            let (a, b, c, number, fd): (String, String, String, i32, Fd<'b>) = read(body)?;
            (vec![a, b, c], number, fd)
        }
    })
}

fn nobody() -> Error {
    Error::new(ErrorName::InvalidArgument, "nobody else was passed on")
}

fn gone(_: Errno) -> Error {
    Error::new(ErrorName::NoSuchProcess, "the process that was passed on does not exist")
}

/// A descriptor over which nobody can be asked.
fn unfit(errno: Errno) -> Error {
    super::said(&format!("Failed to set passcred: {}", errno.desc()))
}

impl Work<'_> {
    fn word(&self, index: usize) -> &str {
        self.order.words.get(index).map_or("", String::as_str)
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

    /// What the requestor calls it.
    fn victim(&self) -> Result<u32> {
        let process = self.victim.as_ref().ok_or_else(nobody)?;
        self.asked.request.theirs(process.pid)
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
    let existed = cgroups::remove(asked, controllers, cgroup, work.order.number != 0)?;
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
    cgroups::chmod(asked, controllers, cgroup, work.word(2), work.order.number).map(|()| DONE)
}

fn move_pid(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    let victims = work.victims()?;
    processes::attach(asked, controllers, &processes::relative(cgroup)?, &victims).map(|()| DONE)
}

/// Grant G7: from the proxy's own cgroup on, as far as that is within what who asks may see.
fn move_pid_abs(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    let below = super::absolute(cgroup)?;
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
    Ok(Answer::Processes(processes::own_pids(asked, controller, cgroup)?))
}

fn get_tasks_recursive(work: &Work<'_>) -> Result<Answer> {
    let (asked, controllers, cgroup) = work.place();
    Ok(Answer::Processes(processes::own_pids_below(asked, controllers, cgroup)?))
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
    let found = processes::cgroup_of(&request, work.victim()?)?;
    processes::below(&request.own_cgroup()?, &found).map(Answer::Text)
}

/// From the proxy's own cgroup on.
fn get_pid_cgroup_abs(work: &Work<'_>) -> Result<Answer> {
    let request = work.asked.one(work.word(0))?;
    let found = processes::cgroup_of(&request, work.victim()?)?;
    let from_root = [request.scope_from_root()?, found].concat();
    let below = processes::below(&work.proxy_cgroup(work.word(0))?, &from_root)?;
    Ok(Answer::Text(format!("/{}", below.trim_start_matches('/'))))
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
