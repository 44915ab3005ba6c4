//! `cgctl watch`: what happens in a cgroup, a line for each event, until it is removed.

use serde_json::Value;

use crate::{
    exit::Failure,
    output::object,
    request::{self, Event},
    session::Session,
};

/// The last event of every watch.
const REMOVED: &str = "removed";

pub(super) fn run(session: &mut Session, path: &str, events: &[String]) -> Result<(), Failure> {
    let doing = format!("watch {path}");
    let watch = session.call(request::watch(path, &wanted(events)), &doing)?;
    loop {
        let event = session.next_event(&doing)?;
        if event.0 != watch {
            continue;
        }
        let output = &mut session.output;
        match output.json {
            true => output.document(&to_json(&event))?,
            false => output.line(&said(&event))?,
        }
        // Somebody waits for this line, and the next may be days away.
        output.flush()?;
        if event.2 == REMOVED {
            return Ok(());
        }
    }
}

/// Those named, and the one that is the end. None named means all there are, that one too.
fn wanted(named: &[String]) -> Vec<&str> {
    let end = (!named.is_empty() && !named.iter().any(|name| name == REMOVED)).then_some(REMOVED);
    named.iter().map(String::as_str).chain(end).collect()
}

/// What is a state and no counter has no number.
fn said((_, path, event, count): &Event) -> String {
    match count {
        0 => format!("{path}  {event}"),
        count => format!("{path}  {event}  {count}"),
    }
}

fn to_json((_, path, event, count): &Event) -> Value {
    let (path, event) = (path.as_str().into(), event.as_str().into());
    object([("path", path), ("event", event), ("count", (*count).into())])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cgroupd_proto::{INTERFACE, OBJECT_PATH};
    use zbus::Message;

    use super::*;
    use crate::{
        exit::Exit,
        output::Output,
        peer::{Place, reply, serve},
    };

    fn signal(event: (u32, &str, &str, u64)) -> Message {
        Message::signal(OBJECT_PATH, INTERFACE, "Event").build(&event).unwrap()
    }

    /// Watches a daemon that sends these events and then goes away.
    fn watched(name: &str, events: &'static [(u32, &str, &str, u64)]) -> Result<(), Failure> {
        let (_place, listener, address) = Place::new(name);
        let server = serve(listener, 1, |call| {
            let asked: (String, Vec<String>, Vec<String>) = call.body().deserialize().unwrap();
            let wanted = ["max", REMOVED].map(str::to_owned).into();
            assert_eq!(asked, ("a".to_owned(), wanted, vec![]));
            [reply(call, &7u32)].into_iter().chain(events.iter().copied().map(signal)).collect()
        });
        let mut session = Session::new(address, Duration::from_secs(10), Output::new(false, true));
        let ended = run(&mut session, "a", &["max".to_owned()]);
        server.join().unwrap();
        ended
    }

    #[test]
    fn a_removed_cgroup_is_the_end() {
        watched("removed", &[(7, "/a", "max", 1), (7, "/a", REMOVED, 0)]).unwrap();
    }

    #[test]
    fn without_the_daemon_there_is_no_end_to_know() {
        let failure = watched("gone", &[(7, "/a", "max", 1), (8, "/b", REMOVED, 0)]).unwrap_err();
        assert_eq!(failure.exit, Exit::NoDaemon);
        assert!(failure.text.starts_with("cannot watch a: the connection"), "{}", failure.text);
    }

    #[test]
    fn the_end_is_always_asked_for_once() {
        let named = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(wanted(&named(&["max"])), ["max", REMOVED]);
        assert_eq!(wanted(&named(&[REMOVED, "max"])), [REMOVED, "max"]);
        assert!(wanted(&[]).is_empty());
    }

    #[test]
    fn a_counter_has_its_number() {
        let event = |name: &str, count| (1, "/a".to_owned(), name.to_owned(), count);
        assert_eq!(said(&event("oom_kill", 2)), "/a  oom_kill  2");
        assert_eq!(said(&event("empty", 0)), "/a  empty");
        assert_eq!(
            to_json(&event("oom_kill", 2)).to_string(),
            r#"{"count":2,"event":"oom_kill","path":"/a"}"#
        );
    }
}
