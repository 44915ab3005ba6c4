//! What every command works with: the connection, made when first needed, and the output.
//!
//! Here an error of a call becomes a failure with a text and a hint.

use std::{
    io,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;
use zbus::Type;

use crate::{
    address::Address,
    connect::{CallError, Link, Ticket},
    exit::{Exit, Failure, words},
    output::Output,
    request::{Event, Request},
};

/// One run of cgctl.
pub(crate) struct Session {
    /// Where results go.
    pub(crate) output: Output,
    address: Address,
    timeout: Duration,
    deadline: Instant,
    link: Option<Link>,
    lost: bool,
}

impl Session {
    /// A session that connects to `address` when it has something to ask.
    pub(crate) fn new(address: Address, timeout: Duration, output: Output) -> Self {
        let deadline = Instant::now() + timeout;
        Self { output, address, timeout, deadline, link: None, lost: false }
    }

    /// As if it began now: with all of its time, and another connection.
    pub(crate) fn start_again(&mut self) {
        self.deadline = Instant::now() + self.timeout;
        self.link = None;
        self.lost = false;
    }

    /// Where the daemon is expected.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Makes one call and waits for its answer. `doing` is what an error says failed:
    /// `create a`.
    pub(crate) fn call<R>(&mut self, request: Request<R>, doing: &str) -> Result<R, Failure>
    where
        R: DeserializeOwned + Type,
    {
        let ticket = self.send(request, doing)?;
        self.receive(&ticket, doing)
    }

    /// Queues a call, to leave in one write with the next.
    pub(crate) fn send<R>(
        &mut self,
        request: Request<R>,
        doing: &str,
    ) -> Result<Ticket<R>, Failure> {
        let sent = self.link().and_then(|link| link.send(request));
        sent.map_err(|error| self.failure(error, doing))
    }

    /// Waits for the answer to a queued call.
    pub(crate) fn receive<R>(&mut self, ticket: &Ticket<R>, doing: &str) -> Result<R, Failure>
    where
        R: DeserializeOwned + Type,
    {
        let answer = self.link().and_then(|link| link.receive(ticket));
        answer.map_err(|error| self.failure(error, doing))
    }

    /// Waits for the next event of a watch, for as long as it takes.
    pub(crate) fn next_event(&mut self, doing: &str) -> Result<Event, Failure> {
        let event = self.link().and_then(Link::next_event);
        event.map_err(|error| self.failure(error, doing))
    }

    /// Does the same for each of `paths`, goes on after a failure, and ends in the status of all
    /// of them. Without a connection there is no going on.
    pub(crate) fn each(
        &mut self,
        paths: &[String],
        mut act: impl FnMut(&mut Self, &str) -> Result<(), Failure>,
    ) -> Result<Exit, Failure> {
        let mut each = Vec::with_capacity(paths.len());
        for (at, path) in paths.iter().enumerate() {
            let failure = act(self, path).err();
            each.push(failure.as_ref().map_or(Exit::Ok, |failure| failure.exit));
            if let Some(failure) = failure {
                let rest = if self.lost { &paths[at + 1..] } else { &[] };
                self.output.report(&not_tried(failure, rest))?;
            }
            if self.lost {
                break;
            }
        }
        Ok(Exit::of_all(&each))
    }

    fn link(&mut self) -> Result<&mut Link, CallError> {
        if self.link.is_none() {
            self.link = Some(Link::open(&self.address, self.deadline)?);
        }
        // Just filled; the error arm only keeps a panic out.
        self.link.as_mut().ok_or_else(|| CallError::Closed("there is none".to_owned()))
    }

    fn failure(&mut self, error: CallError, doing: &str) -> Failure {
        self.lost |= !matches!(error, CallError::Refused { .. });
        match error {
            CallError::Refused { name, text } => refused(&name, &text, doing),
            CallError::Unreachable(error) => unreachable(&error, &self.address, doing),
            CallError::Closed(why) => Failure::new(
                Exit::NoDaemon,
                format!("cannot {doing}: the connection to cgroupd ended: {why}"),
            )
            .hint("it may have been restarted, or be full; the call is safe to repeat"),
            CallError::TimedOut => Failure::new(
                Exit::TimedOut,
                format!("cannot {doing}: no answer within {} s", self.timeout.as_secs_f64()),
            )
            .hint("it may still be done; the call is safe to repeat, and --timeout waits longer"),
            CallError::Garbled(what) => Failure::new(
                Exit::Other,
                format!("cannot {doing}: {} does not answer as cgroupd does: {what}", self.address),
            ),
        }
    }
}

/// Says which paths were given up with this one.
fn not_tried(failure: Failure, rest: &[String]) -> Failure {
    if rest.is_empty() {
        return failure;
    }
    let hint = failure.hint.iter().map(|hint| format!("; {hint}")).collect::<String>();
    failure.hint(format!("not tried: {}{hint}", rest.join(" ")))
}

/// The daemon's own errors say what was attempted; faults of the transport do not.
fn refused(name: &str, text: &str, doing: &str) -> Failure {
    let (text, hint) = match text.split_once('\n') {
        Some((text, hint)) => (text, Some(hint.strip_prefix("hint: ").unwrap_or(hint))),
        None => (text, None),
    };
    let ours = cgroupd_proto::ErrorName::from_wire(name).is_some();
    let text = match text {
        "" => format!("cannot {doing}: {name}"),
        text if ours => text.to_owned(),
        text => format!("cannot {doing}: {text}"),
    };
    let old = name.starts_with("org.freedesktop.DBus.Error.Unknown");
    let hint = hint.or(old.then_some("this cgroupd may be older than cgctl: see `cgctl info`"));
    Failure { exit: Exit::of_wire(name), text, hint: hint.map(str::to_owned) }
}

/// That nobody answers at `address`, and what to do about it.
pub(crate) fn unreachable(error: &io::Error, address: &Address, doing: &str) -> Failure {
    let text = format!("cannot {doing}: cgroupd cannot be reached: {}", words(error));
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(Exit::Denied, text).hint(format!(
            "it is expected at {address}; the owner, group and mode of that socket say who may \
             connect"
        )),
        _ => Failure::new(Exit::NoDaemon, text).hint(format!(
            "it is expected at {address}; {}, or say --address or CGROUPD_ADDRESS",
            address.how_to_start()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        peer::{Place, reply, serve},
        request,
    };

    fn remove_each(session: &mut Session, paths: &[&str]) -> Exit {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let remove = |session: &mut Session, path: &str| {
            session.call(request::remove(path, &[]), &format!("remove {path}")).map(drop)
        };
        session.each(&paths, remove).unwrap()
    }

    #[test]
    fn several_paths_go_on_after_an_error() {
        let (_place, listener, address) = Place::new("each");
        let server = serve(listener, 3, |call| {
            let (path, _): (String, Vec<String>) = call.body().deserialize().unwrap();
            let error = zbus::Message::error(&call.header(), "org.cgroupd1.Error.NotFound");
            vec![match path.as_str() {
                "gone" => error.build(&("cannot remove gone: there is no such cgroup",)).unwrap(),
                _ => reply(call, &true),
            }]
        });
        let mut session = Session::new(address, Duration::from_secs(10), Output::new(false, true));
        assert_eq!(remove_each(&mut session, &["a", "gone", "b"]), Exit::Partial);
        server.join().unwrap();
    }

    #[test]
    fn several_paths_end_with_the_connection() {
        let (_place, listener, address) = Place::new("lost");
        drop(listener);
        let mut session = Session::new(address, Duration::from_secs(10), Output::new(false, true));
        assert_eq!(remove_each(&mut session, &["a", "b"]), Exit::NoDaemon);
        assert!(session.lost);

        let failure = Failure::new(Exit::NoDaemon, "cannot remove a: gone").hint("start it");
        let told = not_tried(failure.clone(), &["b".to_owned(), "c".to_owned()]);
        assert_eq!(told.hint.as_deref(), Some("not tried: b c; start it"));
        assert_eq!(not_tried(failure.clone(), &[]), failure);
    }

    #[test]
    fn the_daemons_text_and_hint_are_kept() {
        let failure = refused(
            "org.cgroupd1.Error.InvalidLimit",
            "cannot create a: memory.max: \"64X\" is not a size\nhint: 64M, 1.5G, 50% or max",
            "create a",
        );
        assert_eq!(failure.exit, Exit::BadValue);
        assert_eq!(failure.text, "cannot create a: memory.max: \"64X\" is not a size");
        assert_eq!(failure.hint.as_deref(), Some("64M, 1.5G, 50% or max"));
    }

    #[test]
    fn faults_of_the_transport_say_what_failed() {
        let failure = refused("org.freedesktop.DBus.Error.UnknownMethod", "no Remove", "remove a");
        assert_eq!(failure.text, "cannot remove a: no Remove");
        assert!(failure.hint.unwrap().contains("older"));
        let silent = refused("org.cgroupd1.Error.Busy", "", "remove a");
        assert_eq!(silent.text, "cannot remove a: org.cgroupd1.Error.Busy");
        assert_eq!((silent.exit, silent.hint), (Exit::Busy, None));
    }

    #[test]
    fn a_socket_that_refuses_is_not_a_missing_daemon() {
        let address = Address::parse("/tmp/s").unwrap();
        for (error, exit) in [(13, Exit::Denied), (2, Exit::NoDaemon), (111, Exit::NoDaemon)] {
            let failure = unreachable(&io::Error::from_raw_os_error(error), &address, "list /");
            assert_eq!(failure.exit, exit);
            let hint = failure.hint.unwrap();
            assert!(hint.contains("unix:path=/tmp/s"), "{hint}");
        }
    }
}
