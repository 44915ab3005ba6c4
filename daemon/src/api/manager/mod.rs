//! The handlers of the native API: arguments in, the service's verb, the answer out. One row
//! per method of the contract; the handlers lie in a file per family of verbs.

mod cgroups;
mod delegating;
mod files;
mod processes;
mod watching;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use cgroupd_proto::{CgroupPath, ErrorName, Method};
use serde::Deserialize;
use zbus::Message;
use zbus::message::Body;
use zbus::{Fd, zvariant::Type};

use super::begin;
use super::client::Client;
use super::reply::{Fault, Reply, failure, fault, limits_exceeded, success};
use crate::caller::Caller;
use crate::cgroup::handle::errno_of;
use crate::service::{Request, Service};
use crate::{Error, Result};

/// A call whose signature fits, of a caller whose facts are fresh.
struct Call<'a> {
    message: &'a Message,
    method: &'static Method,
    service: &'a Arc<Service>,
    client: &'a Client,
    request: Request<'a>,
}

type Handler = fn(&Call<'_>) -> Result<Reply>;

/// Every method but WhoAmI, which also answers callers that have no facts.
const HANDLERS: &[(&str, Handler)] = &[
    ("Create", cgroups::create),
    ("Remove", cgroups::remove),
    ("Attach", processes::attach),
    ("AttachPids", processes::attach_pids),
    ("SetLimits", files::set_limits),
    ("GetLimits", files::get_limits),
    ("ReadFile", files::read_file),
    ("WriteFile", files::write_file),
    ("ListFiles", files::list_files),
    ("List", cgroups::list),
    ("Processes", processes::processes),
    ("CgroupOf", processes::cgroup_of),
    ("Stats", files::stats),
    ("Freeze", processes::freeze),
    ("Thaw", processes::thaw),
    ("Kill", processes::kill),
    ("Chown", cgroups::chown),
    ("Delegate", delegating::delegate),
    ("Undelegate", delegating::undelegate),
    ("Chmod", cgroups::chmod),
    ("Watch", watching::watch),
    ("Unwatch", watching::unwatch),
    ("Accounts", accounts),
];

/// Answers a call to a method of the contract.
pub(super) fn answer(
    service: &Arc<Service>,
    client: &Client,
    message: &Message,
    method: &'static Method,
) -> Reply {
    let caller = &*client.caller;
    if method.member == "WhoAmI" {
        return match service.who_am_i(caller) {
            Ok(answer) => success(message, &(answer,)),
            Err(error) => failure(message, &error),
        };
    }
    let result = begin(service, client, method, HANDLERS).and_then(|(handler, request)| {
        handler(&Call { message, method, service, client, request })
    });
    record(service, caller, message, method, &result);
    match result {
        Ok(reply) => reply,
        Err(error) if error.rule == Some(WIRE) => fault(message, Fault::InvalidArgs, &error.text),
        Err(error) if error.rule == Some(ITEMS) => limits_exceeded(message, &error.text),
        Err(error) => failure(message, &error),
    }
}

fn accounts(call: &Call<'_>) -> Result<Reply> {
    call.success(&(call.request.accounts()?,))
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
