//! cgmanager's interface, for programs that were written for it: an adapter over the same service
//! as the native API. The paths, values, and texts are the original's; who may do what is ours.

mod cgroups;
mod files;
mod meant;
mod methods;
mod processes;
mod scm;

use std::sync::Arc;

use cgroupd_proto::{CgroupPath, ErrorName, Method};
use zbus::Message;

use super::client::Client;
use super::reply::{Fault, Reply, fault};
use crate::caller::Caller;
use crate::service::{Request, Service};
use crate::{Error, Result};
use meant::{Meant, is_denied};
pub(super) use scm::{Context, Order};

/// The one text for whatever cannot be done.
const INVALID: &str = "invalid request";
/// The rule of the errors whose own text is the original's.
const SAID: &str = "cgmanager";

/// What a caller has asked for: its facts are fresh.
struct Asked<'a> {
    service: &'a Service,
    request: Request<'a>,
}

/// Answers a call whose arguments do not fit, or `None`.
pub(super) fn misfit(call: &Message, method: &Method) -> Option<Reply> {
    let fits = call.header().signature().to_string_no_parens() == method.signature();
    let text = || format!("Invalid arguments to {} method", method.member);
    (!fits).then(|| fault(call, Fault::InvalidArgs, &text()))
}

/// What is not there, in the words of the library that its clients use.
pub(super) fn unknown(call: &Message) -> Reply {
    let header = call.header();
    let member = header.member().map_or("", |member| member.as_str());
    let interface = header.interface().map_or("(null)", |interface| interface.as_str());
    let signature = header.signature().to_string_no_parens();
    let text = format!(
        "Method \"{member}\" with signature \"{signature}\" on interface \"{interface}\" \
         doesn't exist\n"
    );
    fault(call, Fault::UnknownMethod, &text)
}

/// The answer on a socket where the interface is not served.
pub(super) fn absent(call: &Message) -> Reply {
    let text = "cgmanager's interface is not served on this socket\n\
                hint: on the host, write private-socket = true below [compat.cgmanager] in \
                /etc/cgroupd/cgroupd.toml and restart cgroupd";
    fault(call, Fault::UnknownObject, text)
}

/// The answer to a form that ends in `Scm`, where these are not served.
pub(super) fn without_scm(call: &Message, member: &str) -> Reply {
    let text = format!(
        "{member} is not served here\n\
         hint: on the host, write scm = true below [compat.cgmanager] in \
         /etc/cgroupd/cgroupd.toml and restart cgroupd"
    );
    fault(call, Fault::UnknownMethod, &text)
}

/// Answers a call to a method of the table.
pub(super) fn answer(
    service: &Arc<Service>,
    client: &Client,
    message: &Message,
    method: &'static Method,
) -> Reply {
    let begun = super::begin(service, client, method, methods::HANDLERS);
    let result = begun.and_then(|(handler, request)| {
        handler(&methods::Call { message, asked: Asked { service, request } })
    });
    let outcome = result.as_ref().map(drop).map_err(Clone::clone);
    record(service, &client.caller, (method, ""), &path_of(message), &outcome);
    result.unwrap_or_else(|error| failed(message, &error))
}

/// Whoever called learns neither why it failed nor the way out: so the log has both, of reads too.
/// `through` is who has passed the caller on, if somebody has.
fn record(
    service: &Service,
    caller: &Caller,
    (method, through): (&Method, &str),
    path: &str,
    result: &Result<()>,
) {
    let told = result.clone().map_err(|error| Error { text: error.to_string(), ..error });
    if method.changes || told.is_err() {
        let verb = format!("cgmanager {}{through}", method.member);
        service.audit.change(caller, &verb, path, &told);
    }
}

/// Reads a call of a form that ends in `Scm`: what it asks for is learned, done and told after the
/// call was answered.
///
/// # Errors
/// The reply, when it cannot be carried out.
pub(super) fn order(
    service: &Service,
    client: &Client,
    call: &Message,
    method: &'static Method,
) -> std::result::Result<Order, Reply> {
    let proven = super::check_proven(client);
    let order = proven.and_then(|()| Order::read(client, call, method));
    order.map_err(|error| refused(service, client, call, method, error))
}

/// The answer to a call for which nobody has the time.
pub(super) fn crowded(
    service: &Service,
    client: &Client,
    call: &Message,
    method: &Method,
) -> Reply {
    let error =
        Error::new(ErrorName::Busy, "as many conversations as a caller may have are under way")
            .hint("answer or close them, and try again");
    refused(service, client, call, method, error)
}

fn refused(
    service: &Service,
    client: &Client,
    call: &Message,
    method: &Method,
    error: Error,
) -> Reply {
    let reply = failed(call, &error);
    record(service, &client.caller, (method, ""), &path_of(call), &Err(error));
    reply
}

fn failed(message: &Message, error: &Error) -> Reply {
    let text = if error.rule == Some(SAID) { &error.text } else { INVALID };
    fault(message, Fault::InvalidArgs, text)
}

/// The cgroup that a call is about, for the log.
fn path_of(message: &Message) -> String {
    let body = message.body();
    body.deserialize_ignore_signature::<(&str, &str)>()
        .map_or_else(|_| String::new(), |(_, cgroup)| cgroup.to_owned())
}

/// A path relative to the caller's own cgroup, whatever it begins with.
///
/// # Errors
/// As [`absolute`].
fn below_own(text: &str) -> Result<CgroupPath> {
    absolute(text).map(CgroupPath::relative)
}

/// The same path from the caller's scope on.
///
/// # Errors
/// For `..` also inside a name, and for what no path has.
fn absolute(text: &str) -> Result<CgroupPath> {
    match text.contains("..") || text.contains('\n') {
        true => Err(Error::new(ErrorName::InvalidPath, "`..` and line breaks are refused")),
        false => Ok(CgroupPath::parse(&format!("/{text}"))?),
    }
}

/// A number that the original's clients send signed.
fn unsigned(number: i32) -> Result<u32> {
    let negative = || Error::new(ErrorName::InvalidArgument, format!("{number} is negative"));
    u32::try_from(number).map_err(|_| negative())
}

/// A refusal with a text of the original's own.
fn said(text: &str) -> Error {
    Error::new(ErrorName::Denied, text).rule(SAID)
}

impl Asked<'_> {
    /// Does `work` in every hierarchy that `controllers` means, in their order. Where several are
    /// meant those that deny it are passed over, unless that leaves none.
    fn each<T>(
        &self,
        controllers: &str,
        mut work: impl FnMut(&Request<'_>, &Meant) -> Result<T>,
    ) -> Result<Vec<T>> {
        let (mut done, mut denied) = (Vec::new(), None);
        for meant in meant::several(controllers, &self.service.layout) {
            let meant = meant?;
            match work(&self.request.at_own(meant.hierarchy), &meant) {
                Ok(result) => done.push(result),
                Err(error) if meant::is_list(controllers) && is_denied(&error) => {
                    denied.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match denied {
            Some(error) if done.is_empty() => Err(error),
            _ => Ok(done),
        }
    }

    /// The call as it concerns the one hierarchy that `controller` means.
    fn one(&self, controller: &str) -> Result<Request<'_>> {
        let hierarchy = meant::one(controller, &self.service.layout)?;
        Ok(self.request.at_own(hierarchy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_whatever_they_begin_with() {
        for (text, parts) in [
            ("", vec![]),
            ("/", vec![]),
            (".", vec![]),
            ("/x", vec!["x"]),
            ("x/", vec!["x"]),
            ("a//b", vec!["a", "b"]),
        ] {
            let path = below_own(text).unwrap();
            assert!(!path.is_absolute(), "{text:?}");
            assert_eq!(path.components(), parts, "{text:?}");
            assert!(absolute(text).unwrap().is_absolute(), "{text:?}");
        }
        let slashes = "/".repeat(5000);
        for text in [&*slashes, "..", "/..", "a/../b", "a..b", "...", "a\nb"] {
            assert!(below_own(text).is_err() && absolute(text).is_err(), "{text:?}");
        }
    }
}
