//! The handlers of the native API: arguments in, the service's verb, the answer out. One row
//! per method of the contract.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use cgroupd_proto::{CgroupPath, ErrorName, Method};
use serde::Deserialize;
use zbus::Message;
use zbus::message::Body;
use zbus::{Fd, zvariant::Type};

use super::reply::{Fault, Reply, failure, fault, limits_exceeded, success};
use crate::caller::Caller;
use crate::cgroup::handle::errno_of;
use crate::service::{Order, Page, Request, Service, Victims};
use crate::{Error, Result};

/// The most rows of one page of List.
const PAGE: usize = 1000;

/// A call whose signature fits, of a caller whose facts are fresh.
struct Call<'a> {
    message: &'a Message,
    method: &'static Method,
    request: Request<'a>,
}

type Handler = fn(&Call<'_>) -> Result<Reply>;

/// Every method but WhoAmI, which also answers callers that have no facts.
const HANDLERS: &[(&str, Handler)] = &[
    ("Create", create),
    ("Remove", remove),
    ("Attach", attach),
    ("AttachPids", attach_pids),
    ("SetLimits", set_limits),
    ("GetLimits", get_limits),
    ("ReadFile", read_file),
    ("WriteFile", write_file),
    ("ListFiles", list_files),
    ("List", list),
    ("Processes", processes),
    ("CgroupOf", cgroup_of),
    ("Chown", chown),
    ("Chmod", chmod),
];

/// Answers a call to a method of the contract.
pub(super) fn answer(
    service: &Service,
    caller: &Caller,
    message: &Message,
    method: &'static Method,
) -> Reply {
    if method.member == "WhoAmI" {
        return success(message, &(service.who_am_i(caller),));
    }
    let result = run(service, caller, message, method);
    record(service, caller, message, method, &result);
    match result {
        Ok(reply) => reply,
        Err(error) if error.rule == Some(WIRE) => fault(message, Fault::InvalidArgs, &error.text),
        Err(error) if error.rule == Some(ITEMS) => limits_exceeded(message, &error.text),
        Err(error) => failure(message, &error),
    }
}

/// One line per change and per refusal.
fn record(
    service: &Service,
    caller: &Caller,
    message: &Message,
    method: &Method,
    result: &Result<Reply>,
) {
    match result {
        result if method.changes => {
            service.audit.change(caller, method.member, &path_of(message), result);
        }
        // A read that finds nothing is no refusal, and neither is one whose caller has left.
        Err(error) if error.name != ErrorName::Denied || error.rule == Some("caller") => {}
        Err(error) => service.audit.refusal(caller, method.member, &path_of(message), error),
        Ok(_) => {}
    }
}

fn run(
    service: &Service,
    caller: &Caller,
    message: &Message,
    method: &'static Method,
) -> Result<Reply> {
    if let Some(reason) = &caller.unproven {
        return Err(unproven(reason));
    }
    let known = HANDLERS.iter().find(|(member, _)| *member == method.member);
    let (_, handler) = known.ok_or_else(|| {
        Error::new(ErrorName::NotSupported, format!("{} is not there", method.member))
    })?;
    handler(&Call { message, method, request: Request::new(service, caller)? })
}

fn unproven(reason: &str) -> Error {
    Error::new(ErrorName::Denied, format!("the caller could not be proven on this bus: {reason}"))
        .hint("use the private socket: busctl --address=unix:path=/run/cgroupd/cgroupd.sock")
        .rule("unproven")
}

/// The first argument, for the log.
fn path_of(message: &Message) -> String {
    let body = message.body();
    body.deserialize_ignore_signature::<(&str,)>()
        .map_or_else(|_| String::new(), |(path,)| path.to_owned())
}

/// The rule that marks an array with too many items.
const ITEMS: &str = "array-items";
/// The rule that marks a body which does not fit its own signature.
const WIRE: &str = "wire";

impl Call<'_> {
    /// The arguments as `T`; the signature was compared already.
    fn arguments<T: for<'d> Deserialize<'d> + Type>(&self) -> Result<T> {
        parse(&self.message.body())
    }

    /// Copies of descriptors, one for each that came: a body may name one of them ten thousand
    /// times, and copies are what all callers share.
    fn owned(&self, named: &[Fd<'_>]) -> Result<Vec<OwnedFd>> {
        let came = self.message.data().fds().len();
        if named.len() > came {
            let text = format!("{} descriptors are named and {came} came", named.len());
            return Err(Error::new(ErrorName::InvalidArgument, text));
        }
        named
            .iter()
            .map(|fd| fd.as_fd().try_clone_to_owned())
            .collect::<std::io::Result<_>>()
            .map_err(|error| Error::kernel("copy a descriptor", errno_of(error)))
    }

    /// Refuses an array of more items than any call needs.
    fn few(&self, items: usize, what: &str) -> Result<()> {
        let most = self.request.most_items();
        match items <= most {
            true => Ok(()),
            false => Err(Error::new(
                ErrorName::InvalidArgument,
                format!("{items} {what} are given, at most {most} are allowed"),
            )
            .rule(ITEMS)),
        }
    }

    /// Whether `flag` is among `flags`, all of which the method must know.
    fn flags(&self, flags: &[String]) -> Result<Flags> {
        let known = self.method.flags.unwrap_or_default();
        match flags.iter().find(|flag| !known.contains(&flag.as_str())) {
            None => Ok(Flags(flags.to_vec())),
            Some(flag) => {
                let text = format!("{} has no flag {flag:?}", self.method.member);
                let error = Error::new(ErrorName::InvalidArgument, text);
                Err(match known {
                    [] => error,
                    known => error.hint(format!("it knows {}", known.join(", "))),
                })
            }
        }
    }

    fn success<B: serde::Serialize + zbus::zvariant::DynamicType>(
        &self,
        body: &B,
    ) -> Result<Reply> {
        Ok(success(self.message, body))
    }
}

struct Flags(Vec<String>);

impl Flags {
    fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|given| given == flag)
    }
}

/// Parses a path and puts the verb and the path in front of whatever goes wrong.
fn at<T>(verb: &str, path: &str, work: impl FnOnce(&CgroupPath) -> Result<T>) -> Result<T> {
    let parsed = CgroupPath::parse(path).map_err(Error::from);
    parsed.and_then(|path| work(&path)).map_err(|error| error.during(verb, path))
}

fn parse<'d, T: Deserialize<'d> + Type>(body: &'d Body) -> Result<T> {
    body.deserialize_ignore_signature::<T>()
        .map_err(|error| Error::new(ErrorName::InvalidArgument, error.to_string()).rule(WIRE))
}

fn create(call: &Call<'_>) -> Result<Reply> {
    type In<'d> = (String, Vec<String>, HashMap<String, String>, Vec<Fd<'d>>, Vec<String>);
    let body = call.message.body();
    let (path, controllers, limits, pidfds, flags): In<'_> = parse(&body)?;
    let request = &call.request;
    let created = at("create", &path, |parsed| {
        call.few(controllers.len(), "controllers")?;
        call.few(limits.len(), "limits")?;
        let flags = call.flags(&flags)?;
        let mut victims = Victims::from_pidfds(call.owned(&pidfds)?)?;
        if flags.has("caller") {
            victims = victims.with_caller(request)?;
        }
        let order = Order {
            path: parsed,
            controllers: &controllers,
            limits: &limits,
            must_create: flags.has("must-create"),
        };
        request.create(&order, &victims)
    })?;
    call.success(&(created.path, created.controllers, created.created))
}

fn remove(call: &Call<'_>) -> Result<Reply> {
    let (path, flags): (String, Vec<String>) = call.arguments()?;
    at("remove", &path, |parsed| {
        let recursive = call.flags(&flags)?.has("recursive");
        call.request.remove(parsed, recursive)
    })?;
    call.success(&(true,))
}

fn attach(call: &Call<'_>) -> Result<Reply> {
    let body = call.message.body();
    let (path, pidfds, flags): (String, Vec<Fd<'_>>, Vec<String>) = parse(&body)?;
    at("attach to", &path, |parsed| {
        let flags = call.flags(&flags)?;
        let victims = Victims::from_pidfds(call.owned(&pidfds)?)?;
        enter(call, parsed, victims, &flags)
    })?;
    call.success(&())
}

fn attach_pids(call: &Call<'_>) -> Result<Reply> {
    let (path, pids, flags): (String, Vec<u32>, Vec<String>) = call.arguments()?;
    at("attach to", &path, |parsed| {
        call.few(pids.len(), "processes")?;
        let flags = call.flags(&flags)?;
        let victims = Victims::from_pids(&call.request, &pids)?;
        enter(call, parsed, victims, &flags)
    })?;
    call.success(&())
}

fn enter(call: &Call<'_>, path: &CgroupPath, victims: Victims, flags: &Flags) -> Result<()> {
    let victims = match flags.has("caller") {
        true => victims.with_caller(&call.request)?,
        false => victims,
    };
    call.request.attach(path, &victims)
}

fn set_limits(call: &Call<'_>) -> Result<Reply> {
    type In = (String, HashMap<String, String>, Vec<String>);
    let (path, limits, flags): In = call.arguments()?;
    let limits = at("set limits of", &path, |parsed| {
        call.few(limits.len(), "limits")?;
        let flags = call.flags(&flags)?;
        call.request.set_limits(parsed, &limits, flags.has("dry-run"), flags.has("force"))
    })?;
    call.success(&(limits,))
}

fn get_limits(call: &Call<'_>) -> Result<Reply> {
    let (path, names): (String, Vec<String>) = call.arguments()?;
    let limits = at("get limits of", &path, |parsed| {
        call.few(names.len(), "names")?;
        call.request.get_limits(parsed, &names)
    })?;
    call.success(&(limits,))
}

fn read_file(call: &Call<'_>) -> Result<Reply> {
    let (path, file): (String, String) = call.arguments()?;
    let text = at("read a file of", &path, |parsed| call.request.read_file(parsed, &file))?;
    call.success(&(text,))
}

fn write_file(call: &Call<'_>) -> Result<Reply> {
    type In = (String, String, String, Vec<String>);
    let (path, file, value, flags): In = call.arguments()?;
    at("write a file of", &path, |parsed| {
        call.flags(&flags)?;
        call.request.write_file(parsed, &file, &value)
    })?;
    call.success(&())
}

fn list_files(call: &Call<'_>) -> Result<Reply> {
    let (path,): (String,) = call.arguments()?;
    let files = at("list the files of", &path, |parsed| call.request.list_files(parsed))?;
    call.success(&(files,))
}

fn list(call: &Call<'_>) -> Result<Reply> {
    type In = (String, u32, String, u32, Vec<String>);
    let (path, depth, after, limit, flags): In = call.arguments()?;
    let (rows, next) = at("list", &path, |parsed| {
        let children = call.flags(&flags)?.has("children");
        let limit = match limit as usize {
            0 => PAGE,
            limit => limit.min(PAGE),
        };
        call.request.list(parsed, &Page { depth, after, limit, children })
    })?;
    call.success(&(rows, next))
}

fn processes(call: &Call<'_>) -> Result<Reply> {
    let (path, flags): (String, Vec<String>) = call.arguments()?;
    let pids = at("list the processes of", &path, |parsed| {
        let flags = call.flags(&flags)?;
        call.request.processes(parsed, flags.has("recursive"), flags.has("threads"))
    })?;
    call.success(&(pids,))
}

fn cgroup_of(call: &Call<'_>) -> Result<Reply> {
    let (pid, flags): (u32, Vec<String>) = call.arguments()?;
    let caller = call.flags(&flags)?.has("caller");
    let during = |error: Error| error.during("find the cgroups of", &format!("process {pid}"));
    let rows = call.request.cgroup_of((!caller).then_some(pid)).map_err(during)?;
    call.success(&(rows,))
}

fn chown(call: &Call<'_>) -> Result<Reply> {
    let (path, uid, gid, flags): (String, u32, u32, Vec<String>) = call.arguments()?;
    at("change the owner of", &path, |parsed| {
        let recursive = call.flags(&flags)?.has("recursive");
        call.request.chown(parsed, uid, gid, recursive)
    })?;
    call.success(&())
}

fn chmod(call: &Call<'_>) -> Result<Reply> {
    let (path, file, mode, flags): (String, String, u32, Vec<String>) = call.arguments()?;
    at("change the mode of", &path, |parsed| {
        call.flags(&flags)?;
        call.request.chmod(parsed, &file, mode)
    })?;
    call.success(&())
}

#[cfg(test)]
mod tests {
    use super::HANDLERS;
    use cgroupd_proto::METHODS;

    #[test]
    fn every_method_of_the_contract_has_a_handler() {
        let mut contract: Vec<_> = METHODS.iter().map(|method| method.member).collect();
        contract.retain(|member| *member != "WhoAmI");
        let handlers: Vec<_> = HANDLERS.iter().map(|(member, _)| *member).collect();
        assert_eq!(contract, handlers);
    }
}
