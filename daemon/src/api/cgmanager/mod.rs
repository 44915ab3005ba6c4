//! cgmanager's interface, for programs that were written for it: an adapter over the same service
//! as the native API. The paths, values, and texts are the original's; who may do what is ours.

mod cgroups;
mod files;
mod meant;
mod methods;
mod processes;

use std::sync::Arc;

use cgroupd_proto::cgmanager::METHODS;
use cgroupd_proto::{CgroupPath, ErrorName, Method, PathError};
use zbus::Message;

use super::client::Client;
use super::reply::{Fault, Reply, fault};
use crate::service::{Request, Service};
use crate::{Error, Result};
use meant::{Meant, is_denied};

/// The one text for whatever cannot be done.
const INVALID: &str = "invalid request";
/// The rule of the errors whose own text is the original's.
const SAID: &str = "cgmanager";

/// What a caller has asked for: its facts are fresh.
struct Asked<'a> {
    service: &'a Service,
    request: Request<'a>,
}

/// The method of this name.
pub(super) fn find(member: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.member == member)
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

/// Answers a call to a method of the table.
pub(super) fn answer(
    service: &Arc<Service>,
    client: &Client,
    message: &Message,
    method: &'static Method,
) -> Reply {
    let result = run(service, client, message, method);
    let verb = format!("cgmanager {}", method.member);
    let log = |error: &Error| {
        // Whoever called learns neither why nor the way out: so the log has both, of reads too.
        let error = Error { text: error.to_string(), ..error.clone() };
        service.audit.refusal(&client.caller, &verb, &path_of(message), &error);
    };
    match result {
        Ok(reply) if method.changes => {
            service.audit.change(&client.caller, &verb, &path_of(message), &Ok::<_, Error>(()));
            reply
        }
        Ok(reply) => reply,
        Err(error) => {
            log(&error);
            failed(message, &error)
        }
    }
}

fn failed(message: &Message, error: &Error) -> Reply {
    let text = if error.rule == Some(SAID) { &error.text } else { INVALID };
    fault(message, Fault::InvalidArgs, text)
}

fn run(
    service: &Arc<Service>,
    client: &Client,
    message: &Message,
    method: &'static Method,
) -> Result<Reply> {
    super::check_proven(client)?;
    let known = methods::HANDLERS.iter().find(|(member, _)| *member == method.member);
    let (_, handler) =
        known.ok_or_else(|| Error::new(ErrorName::NotSupported, "it is not there"))?;
    let asked = Asked { service, request: Request::new(service, &client.caller)? };
    handler(&methods::Call { message, asked })
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
/// For `..` also inside a name, and for what no path has.
fn below_own(text: &str) -> Result<CgroupPath> {
    let path = absolute(text)?;
    Ok(CgroupPath::parse(&path.components().join("/"))?)
}

/// The same path from the caller's scope on.
fn absolute(text: &str) -> Result<CgroupPath> {
    checked(&format!("/{text}"))
}

fn checked(text: &str) -> Result<CgroupPath> {
    if text.len() > CgroupPath::MAX_BYTES {
        return Err(PathError::TooLong(text.len()).into());
    }
    match text.contains("..") || text.contains('\n') {
        true => Err(Error::new(ErrorName::InvalidPath, "`..` and line breaks are refused")),
        false => Ok(CgroupPath::parse(text)?),
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
        for meant in meant::several(controllers, &self.service.layout.hierarchies) {
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
        let hierarchy = meant::one(controller, &self.service.layout.hierarchies)?;
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
