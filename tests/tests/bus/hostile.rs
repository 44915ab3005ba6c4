//! Messages no library would send.

use std::num::NonZeroU32;

use cgroupd_proto::{BUS_NAME, OBJECT_PATH};
use cgroupd_tests::bus::{Bus, Strictness};
use cgroupd_tests::wire::Wire;
use zbus::Message;

use crate::daemon::{Daemon, connect, ping, ping_call};

const DRIVER: &str = "org.freedesktop.DBus";

/// On a bus that lets everything through: what counts is who sent it.
pub(crate) fn forgeries_are_ignored() {
    let bus = Bus::running(Strictness::Permissive);
    let daemon = Daemon::joined(&bus);
    let client = daemon.block_on(connect(&bus));
    daemon.block_on(ping(&client)).expect("joined");
    let victim = client.unique_name().expect("on a bus").to_string();

    let mut forger = wire(&bus);
    let ended = Message::signal("/org/freedesktop/DBus", DRIVER, "NameOwnerChanged");
    let ended = ended.destination(BUS_NAME).sender(victim.as_str());
    let ended = ended.build(&(victim.as_str(), victim.as_str(), "")).expect("valid");
    forger.send(&ended).expect("sent");
    for serial in (1..200).filter_map(NonZeroU32::new) {
        let call = Message::method_call("/", "M").serial(serial).build(&()).expect("valid");
        let forged = Message::method_return(&call.header()).destination(BUS_NAME);
        forger.send(&forged.build(&("forged",)).expect("valid")).expect("sent");
    }
    // Its own call comes after all of that.
    assert!(!forger.call(&ping_call()).expect("answered").is_error());
    assert_eq!(daemon.clients(), 2, "nobody was evicted");
    daemon.block_on(ping(&client)).expect("still served");
}

/// What a bus lets through and a client library may choke on.
pub(crate) fn odd_messages_end_nothing() {
    let bus = Bus::running(Strictness::System);
    let daemon = Daemon::joined(&bus);
    let client = daemon.block_on(connect(&bus));
    daemon.block_on(ping(&client)).expect("joined");
    let mut odd = wire(&bus);
    let plain = Odd { serial: 100, ..Odd::default() };
    // Buses forward fields that nobody knows, or strip them; either way nothing ends.
    for field in [42, 255] {
        odd.send_bytes(&Odd { field: Some(field), ..plain }.bytes()).expect("sent");
    }
    let plain = [plain, Odd { big_endian: true, ..plain }, Odd { flags: 0xf8, ..plain }];
    for (number, message) in plain.into_iter().enumerate() {
        let message = Odd { serial: u32::MAX - number as u32, ..message };
        odd.send_bytes(&message.bytes()).expect("sent");
        let answer = odd.reply_to(message.serial).expect("answered");
        assert!(!answer.is_error(), "{number}: {}", answer.text());
    }
    assert_eq!(daemon.clients(), 2, "the connection to the bus was never lost");
    daemon.block_on(ping(&client)).expect("still served");
}

/// A call of Ping, spelled out.
#[derive(Clone, Copy, Default)]
struct Odd {
    big_endian: bool,
    flags: u8,
    serial: u32,
    /// A header field that does not exist.
    field: Option<u8>,
}

impl Odd {
    fn bytes(self) -> Vec<u8> {
        let mut fields = Vec::new();
        let known =
            [(1, 'o', OBJECT_PATH), (2, 's', "org.freedesktop.DBus.Peer"), (3, 's', "Ping")];
        let known = known.into_iter().chain([(6, 's', BUS_NAME)]);
        for (code, kind, value) in known.chain(self.field.map(|code| (code, 's', "odd"))) {
            fields.resize(fields.len().next_multiple_of(8), 0);
            fields.extend([code, 1, kind as u8, 0]);
            fields.extend(self.number(value.len()));
            fields.extend([value.as_bytes(), b"\0"].concat());
        }
        let order = if self.big_endian { b'B' } else { b'l' };
        let mut message = vec![order, 1, self.flags, 1];
        message.extend(self.number(0));
        message.extend(self.number(self.serial as usize));
        message.extend(self.number(fields.len()));
        message.extend(fields);
        message.resize(message.len().next_multiple_of(8), 0);
        message
    }

    fn number(self, value: usize) -> [u8; 4] {
        let value = u32::try_from(value).expect("small");
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

pub(crate) fn long_messages_are_refused() {
    let bus = Bus::running(Strictness::System);
    let daemon = Daemon::joined(&bus);
    let long = |bytes: usize| {
        let call = Message::method_call(OBJECT_PATH, "Ping").destination(BUS_NAME);
        let call = call.interface("org.freedesktop.DBus.Peer").build(&(vec![0u8; bytes],));
        call.expect("valid")
    };
    let mut sender = wire(&bus);
    let answer = sender.call(&long(16 << 20)).expect("answered");
    assert!(answer.text().contains("LimitsExceeded"), "{}", answer.text());
    assert_eq!(daemon.clients(), 0, "it took no seat");
    let answer = sender.call(&long(200 << 10)).expect("answered");
    assert!(!answer.text().contains("LimitsExceeded"), "{}", answer.text());
    assert!(!sender.call(&ping_call()).expect("answered").is_error());
}

fn wire(bus: &Bus) -> Wire {
    let mut wire = Wire::connect(&bus.socket()).expect("the bus runs");
    wire.hello().expect("the bus answers");
    wire
}
