//! The calls cgctl makes, one function for each, with their types on the wire.
//!
//! A request knows the type of its reply. The messages are checked against the contract's table
//! of methods in the tests below; nothing here does I/O.

use std::{collections::BTreeMap, marker::PhantomData, os::fd::BorrowedFd};

use cgroupd_proto::{BUS_NAME, INTERFACE, OBJECT_PATH, cgmanager as old};
use zbus::{DynamicType, Fd, Message, OwnedVariant};

/// A method call whose answer is an `R`.
#[must_use]
pub(crate) struct Request<R> {
    pub(crate) message: zbus::Result<Message>,
    reply: PhantomData<fn() -> R>,
}

/// Limits, or anything else of signature `a{ss}`.
pub(crate) type Map = BTreeMap<String, String>;
/// Numbers by name.
pub(crate) type Stats = BTreeMap<String, u64>;
/// What Create answers: the path, its controllers, whether it is new.
pub(crate) type Created = (String, Vec<String>, bool);
/// A page of List: its rows, and where the next page starts.
pub(crate) type Page = (Vec<(String, Map)>, String);
/// What a watch tells: its number, the path, the event, and how often it has happened.
pub(crate) type Event = (u32, String, String, u64);
/// All properties of the interface.
pub(crate) type Properties = BTreeMap<String, OwnedVariant>;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

fn call<B, R>((path, interface): (&str, &str), member: &str, body: &B) -> Request<R>
where
    B: serde::Serialize + DynamicType,
{
    // No destination: on the private socket there is one peer, and it is the service.
    let message = Message::method_call(path, member).interface(interface).build(body);
    Request { message, reply: PhantomData }
}

fn manager<B, R>(member: &str, body: &B) -> Request<R>
where
    B: serde::Serialize + DynamicType,
{
    call((OBJECT_PATH, INTERFACE), member, body)
}

/// `flag` if `set`, as a list.
pub(crate) fn flag(flag: &'static str, set: bool) -> Vec<&'static str> {
    flags([(flag, set)])
}

/// Those that are set.
pub(crate) fn flags<const N: usize>(flags: [(&'static str, bool); N]) -> Vec<&'static str> {
    flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect()
}

fn dict(limits: &[(String, String)]) -> BTreeMap<&str, &str> {
    limits.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

pub(crate) fn create(
    path: &str,
    controllers: &[String],
    limits: &[(String, String)],
    flags: &[&str],
) -> Request<Created> {
    let no_processes: [Fd<'_>; 0] = [];
    manager("Create", &(path, controllers, dict(limits), &no_processes[..], flags))
}

/// Makes a leaf if need be, and moves a process to it: one that is named, or the caller.
pub(crate) fn enter(path: &str, process: Option<BorrowedFd<'_>>) -> Request<Created> {
    let nothing: &[&str] = &[];
    let processes: Vec<Fd<'_>> = process.into_iter().map(Fd::Borrowed).collect();
    let flags = flag("caller", process.is_none());
    manager("Create", &(path, nothing, dict(&[]), processes, flags))
}

pub(crate) fn remove(path: &str, flags: &[&str]) -> Request<bool> {
    manager("Remove", &(path, flags))
}

pub(crate) fn stats(path: &str) -> Request<Vec<(String, Stats)>> {
    manager("Stats", &([path].as_slice(),))
}

pub(crate) fn freeze(path: &str) -> Request<()> {
    manager("Freeze", &(path, flag("", false)))
}

pub(crate) fn thaw(path: &str) -> Request<()> {
    manager("Thaw", &(path, flag("", false)))
}

pub(crate) fn kill(path: &str, signal: u32) -> Request<u32> {
    manager("Kill", &(path, signal, flag("", false)))
}

pub(crate) fn attach_pids(path: &str, pids: &[u32]) -> Request<()> {
    manager("AttachPids", &(path, pids, flag("", false)))
}

/// Moves the process that calls.
pub(crate) fn attach_caller(path: &str) -> Request<()> {
    let nobody_else: &[u32] = &[];
    manager("AttachPids", &(path, nobody_else, flag("caller", true)))
}

/// The interface files of a cgroup: name, and uid, gid and mode.
pub(crate) fn list_files(path: &str) -> Request<Vec<(String, Map)>> {
    manager("ListFiles", &(path,))
}

pub(crate) fn set_limits(path: &str, limits: &[(String, String)], flags: &[&str]) -> Request<Map> {
    manager("SetLimits", &(path, dict(limits), flags))
}

pub(crate) fn get_limits(path: &str, names: &[&str]) -> Request<Map> {
    manager("GetLimits", &(path, names))
}

pub(crate) fn list(path: &str, depth: u32, after: &str, children: bool) -> Request<Page> {
    manager("List", &(path, depth, after, 0u32, flag("children", children)))
}

pub(crate) fn processes(path: &str, recursive: bool) -> Request<Vec<u32>> {
    manager("Processes", &(path, flag("recursive", recursive)))
}

pub(crate) fn chown(path: &str, uid: u32, gid: u32, recursive: bool) -> Request<()> {
    manager("Chown", &(path, uid, gid, flag("recursive", recursive)))
}

pub(crate) fn delegate(
    path: &str,
    (uid, gid): (u32, u32),
    controllers: &[String],
    limits: &[(String, String)],
    flags: &[&str],
) -> Request<(String, Map)> {
    manager("Delegate", &(path, uid, gid, controllers, dict(limits), flags))
}

pub(crate) fn undelegate(path: &str, uid: u32) -> Request<()> {
    manager("Undelegate", &(path, uid, flag("", false)))
}

pub(crate) fn chmod(path: &str, file: &str, mode: u32) -> Request<()> {
    manager("Chmod", &(path, file, mode, flag("", false)))
}

pub(crate) fn watch(path: &str, events: &[&str]) -> Request<u32> {
    manager("Watch", &(path, events, flag("", false)))
}

pub(crate) fn who_am_i() -> Request<Map> {
    manager("WhoAmI", &())
}

/// What a client of a message bus says first; the answer is its unique name.
pub(crate) fn bus_hello() -> Request<String> {
    bus("Hello", &())
}

/// Whether somebody has the daemon's name.
pub(crate) fn bus_has_name() -> Request<bool> {
    bus("NameHasOwner", &BUS_NAME)
}

/// A call to the message bus itself.
fn bus<B, R>(member: &str, body: &B) -> Request<R>
where
    B: serde::Serialize + DynamicType,
{
    const BUS: &str = "org.freedesktop.DBus";
    let call = Message::method_call("/org/freedesktop/DBus", member);
    let message = call.destination(BUS).interface(BUS).build(body);
    Request { message, reply: PhantomData }
}

pub(crate) fn properties() -> Request<Properties> {
    call((OBJECT_PATH, PROPERTIES), "GetAll", &INTERFACE)
}

/// A call of cgmanager's interface.
pub(crate) fn cgmanager<B, R>(member: &str, body: &B) -> Request<R>
where
    B: serde::Serialize + DynamicType,
{
    call((old::OBJECT_PATH, old::INTERFACE), member, body)
}

pub(crate) fn cgmanager_version() -> Request<OwnedVariant> {
    call((old::OBJECT_PATH, PROPERTIES), "Get", &(old::INTERFACE, "api_version"))
}

#[cfg(test)]
mod tests {
    use cgroupd_proto::{EVENT, find_method};
    use zbus::Type;

    use super::*;

    /// The request's member and arguments, and its reply, are what the contract says.
    fn agrees<R: Type>(request: Request<R>, flags: &[&str]) {
        let message = request.message.unwrap();
        let header = message.header();
        assert_eq!(header.interface().unwrap().as_str(), INTERFACE);
        assert_eq!(header.path().unwrap().as_str(), OBJECT_PATH);
        let method = find_method(header.member().unwrap()).expect("a method of the contract");
        let body = message.body();
        assert_eq!(body.signature().to_string_no_parens(), method.signature(), "{method:?}");
        let output: String = method.output.iter().map(|(_, signature)| *signature).collect();
        assert_eq!(R::SIGNATURE.to_string_no_parens(), output, "{method:?}");
        for flag in flags {
            assert!(method.flags.unwrap().contains(flag), "{method:?} has no {flag}");
        }
    }

    #[test]
    fn every_call_is_in_the_contract() {
        let limits = [("memory.max".to_owned(), "1G".to_owned())];
        let creating = ["when-empty", "no-evacuate"];
        agrees(create("a", &["memory".to_owned()], &limits, &creating), &creating);
        agrees(enter("a", None), &["caller"]);
        agrees(remove("a", &["recursive", "kill"]), &["recursive", "kill", "when-empty"]);
        agrees(stats("a"), &[]);
        agrees(freeze("a"), &[]);
        agrees(thaw("a"), &[]);
        agrees(kill("a", 9), &[]);
        agrees(attach_pids("a", &[1]), &[]);
        agrees(attach_caller("a"), &["caller"]);
        let setting = ["dry-run", "force", "no-evacuate"];
        agrees(set_limits("a", &limits, &setting), &setting);
        agrees(list_files("a"), &[]);
        agrees(get_limits("a", &["memory.max"]), &[]);
        agrees(list("a", 1, "", true), &["children"]);
        agrees(processes("a", true), &["recursive"]);
        agrees(chown("a", 1, 1, true), &["recursive"]);
        let delegating = ["enter", "no-evacuate"];
        agrees(delegate("a", (1, 1), &[], &limits, &delegating), &delegating);
        agrees(undelegate("a", 1), &[]);
        agrees(chmod("a", "", 0o755), &[]);
        agrees(watch("a", &["oom_kill"]), &[]);
        agrees(who_am_i(), &[]);
    }

    #[test]
    fn an_event_is_what_the_contract_says() {
        let signature: String = EVENT.arguments.iter().map(|(_, signature)| *signature).collect();
        assert_eq!(Event::SIGNATURE.to_string_no_parens(), signature);
    }

    #[test]
    fn a_flag_is_sent_only_when_set() {
        for (request, sent) in
            [(chown("a", 1, 1, true), vec!["recursive"]), (chown("a", 1, 1, false), vec![])]
        {
            let body = request.message.unwrap().body();
            let (path, _, _, flags): (String, u32, u32, Vec<String>) = body.deserialize().unwrap();
            assert_eq!(
                (path.as_str(), flags),
                ("a", sent.into_iter().map(str::to_owned).collect())
            );
        }
    }
}
