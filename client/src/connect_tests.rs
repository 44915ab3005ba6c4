//! The link against zbus' own server side over a real socket.

use std::{collections::BTreeMap, thread};

use cgroupd_proto::OBJECT_PATH;

use super::*;
use crate::{
    peer::{Place, reply, serve, soon},
    request,
};

#[test]
fn two_calls_in_one_write_get_their_own_answers() {
    let (_place, listener, address) = Place::new("two");
    let server = serve(listener, 2, |call| match call.header().member().unwrap().as_str() {
        "Remove" => vec![reply(call, &true)],
        _ => vec![reply(call, &BTreeMap::from([("memory.max", "1024")]))],
    });
    let mut link = Link::open(&address, soon()).unwrap();
    let removed = link.send(request::remove("a", &[])).unwrap();
    let limits = link.send(request::get_limits("a", &[])).unwrap();
    assert!(link.receive(&removed).unwrap());
    assert_eq!(link.receive(&limits).unwrap()["memory.max"], "1024");
    server.join().unwrap();
}

#[test]
fn signals_and_unclaimed_answers_are_passed_over() {
    let (_place, listener, address) = Place::new("pass");
    let server = serve(listener, 2, |call| {
        let signal = Message::signal("/a", "a.b", "C").build(&()).unwrap();
        let (path, _): (String, Vec<String>) = call.body().deserialize().unwrap();
        vec![signal, reply(call, &[path.len() as u32].as_slice())]
    });
    let mut link = Link::open(&address, soon()).unwrap();
    let _ = link.send(request::processes("unclaimed", false)).unwrap();
    let wanted = link.send(request::processes("a", false)).unwrap();
    assert_eq!(link.receive(&wanted).unwrap(), [1]);
    server.join().unwrap();
}

/// What comes between, from elsewhere or of another name, is passed over.
#[test]
fn events_come_after_the_deadline_too() {
    let (_place, listener, address) = Place::new("events");
    let server = serve(listener, 1, |call| {
        let event = |interface, name, count| {
            let signal = Message::signal(OBJECT_PATH, interface, name);
            signal.build(&(1u32, "/a", "max", count)).unwrap()
        };
        let others = [event("a.b", "Event", 1u64), event(INTERFACE, "Other", 2)];
        [reply(call, &1u32)]
            .into_iter()
            .chain(others)
            .chain([event(INTERFACE, "Event", 3)])
            .collect()
    });
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut link = Link::open(&address, deadline).unwrap();
    let watch = link.send(request::watch("a", &[])).unwrap();
    assert_eq!(link.receive(&watch).unwrap(), 1);
    server.join().unwrap();
    thread::sleep(deadline.saturating_duration_since(Instant::now()));
    assert_eq!(link.next_event().unwrap(), (1, "/a".to_owned(), "max".to_owned(), 3));
    assert!(matches!(link.next_event(), Err(CallError::Closed(_))));
}

#[test]
fn an_error_keeps_its_name_and_text() {
    let (_place, listener, address) = Place::new("error");
    let server = serve(listener, 1, |call| {
        let error = Message::error(&call.header(), "org.cgroupd1.Error.Busy");
        vec![error.build(&("cannot remove a: busy\nhint: wait",)).unwrap()]
    });
    let mut link = Link::open(&address, soon()).unwrap();
    let ticket = link.send(request::remove("a", &[])).unwrap();
    match link.receive(&ticket) {
        Err(CallError::Refused { name, text }) => {
            assert_eq!(name, "org.cgroupd1.Error.Busy");
            assert_eq!(text, "cannot remove a: busy\nhint: wait");
        }
        other => panic!("{other:?}"),
    }
    server.join().unwrap();
}

#[test]
fn an_answer_of_another_type_is_garbled() {
    let (_place, listener, address) = Place::new("type");
    let server = serve(listener, 1, |call| vec![reply(call, &"text")]);
    let mut link = Link::open(&address, soon()).unwrap();
    let ticket = link.send(request::processes("a", false)).unwrap();
    assert!(matches!(link.receive(&ticket), Err(CallError::Garbled(_))));
    server.join().unwrap();
}

#[test]
fn a_daemon_that_goes_away_closes_the_connection() {
    let (_place, listener, address) = Place::new("closed");
    let server = serve(listener, 1, |_| vec![]);
    let mut link = Link::open(&address, soon()).unwrap();
    let ticket = link.send(request::remove("a", &[])).unwrap();
    assert!(matches!(link.receive(&ticket), Err(CallError::Closed(_))));
    server.join().unwrap();
}

#[test]
fn silence_ends_at_the_deadline() {
    let (_place, listener, address) = Place::new("silent");
    let deadline = Instant::now() + Duration::from_millis(100);
    let mut link = Link::open(&address, deadline).unwrap();
    let ticket = link.send(request::remove("a", &[])).unwrap();
    assert!(matches!(link.receive(&ticket), Err(CallError::TimedOut)));
    assert!(Instant::now() >= deadline);
    drop(listener);
}

#[test]
fn a_full_backlog_ends_at_the_deadline() {
    let (_place, listener, address) = Place::new("backlog");
    // A short queue: the usual one may be longer than this process may have descriptors.
    rustix::net::listen(&listener, 4).unwrap();
    let deadline = Instant::now() + Duration::from_millis(200);
    let mut held = Vec::new();
    let error = loop {
        match Link::open(&address, deadline) {
            Ok(link) => held.push(link),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, CallError::TimedOut), "{error:?} after {} connections", held.len());
    drop(listener);
}

#[test]
fn nobody_there_is_unreachable() {
    let (place, listener, address) = Place::new("nobody");
    drop(listener);
    let error = Link::open(&address, soon()).unwrap_err();
    assert!(matches!(error, CallError::Unreachable(e) if e.raw_os_error() == Some(111)));
    drop(place);
    let error = Link::open(&address, soon()).unwrap_err();
    assert!(matches!(error, CallError::Unreachable(e) if e.raw_os_error() == Some(2)));
}

#[test]
fn what_is_no_dbus_server_is_garbled() {
    for (name, said) in [("http", "HTTP/1.0 400 Bad\r\n"), ("reject", "REJECTED EXTERNAL\r\n")] {
        let (_place, listener, address) = Place::new(name);
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            // Until the client has left, so that it reads the answer and not a reset.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let mut link = Link::open(&address, soon()).unwrap();
        let ticket = link.send(request::remove("a", &[])).unwrap();
        match link.receive(&ticket) {
            Err(CallError::Garbled(what)) => assert!(what.contains(said.trim()), "{what}"),
            other => panic!("{other:?}"),
        }
        drop(link);
        server.join().unwrap();
    }
}
