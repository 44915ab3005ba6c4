//! Calls to the old interface.

use cgroupd_proto::cgmanager::{INTERFACE, OBJECT_PATH};
use cgroupd_tests::client::{CallError, Client, Result};
use cgroupd_tests::hierarchies::{self, Hierarchy, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::Message;
use zbus::zvariant::{DynamicType, Type};

/// The error name of all that fails.
pub(crate) const INVALID_ARGS: &str = "org.freedesktop.DBus.Error.InvalidArgs";

/// A controller that v1 and v2 have.
pub(crate) const PIDS: &str = "pids";

/// Its hierarchy.
pub(crate) fn pids() -> &'static Hierarchy {
    hierarchies::of(PIDS).expect("every kernel has it")
}

/// A file of it that every cgroup of the hierarchy has, whatever controllers it was given: a
/// number, `max` at first.
pub(crate) fn key() -> &'static str {
    match pids().version {
        Version::V1 => "pids.max",
        Version::V2 => "cgroup.max.depth",
    }
}

/// What the daemon answers to a method of the old interface.
pub(crate) fn call<B: Serialize + DynamicType>(
    client: &Client,
    member: &str,
    body: &B,
) -> Result<Message> {
    client.call_at(OBJECT_PATH, Some(INTERFACE), member, body)
}

/// The same, as a value.
pub(crate) fn get<T: DeserializeOwned + Type>(
    client: &Client,
    member: &str,
    body: &(impl Serialize + DynamicType),
) -> T {
    let answer = call(client, member, body);
    let answer = answer.unwrap_or_else(|error| panic!("{member}: {error}"));
    answer.body().deserialize().expect("the documented type")
}

/// The same, where nothing is answered.
pub(crate) fn done(client: &Client, member: &str, body: &(impl Serialize + DynamicType)) {
    let answer = call(client, member, body);
    let answer = answer.unwrap_or_else(|error| panic!("{member}: {error}"));
    assert_eq!(answer.header().signature().to_string_no_parens(), "", "{member}");
}

/// Asserts that it fails as everything does.
pub(crate) fn refused(client: &Client, member: &str, body: &(impl Serialize + DynamicType)) {
    says(client, member, body, "invalid request");
}

/// Asserts that it fails with a text of its own.
pub(crate) fn says(
    client: &Client,
    member: &str,
    body: &(impl Serialize + DynamicType),
    text: &str,
) {
    let error = call(client, member, body).expect_err(member);
    let expected = CallError { name: INVALID_ARGS.to_owned(), text: text.to_owned() };
    assert_eq!(error, expected, "{member}");
}
