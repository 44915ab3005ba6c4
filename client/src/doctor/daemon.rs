//! What the daemon, and the system bus, say for themselves.

use std::time::{Duration, Instant};

use crate::{
    address::Address,
    connect::{CallError, Link},
    exit::Failure,
    request::{self, Map},
    session::Session,
};

/// The daemon, when it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Daemon {
    /// Its version.
    pub(crate) version: String,
    /// The features of the kernel that it uses.
    pub(crate) features: Vec<String>,
    /// What it thinks of the caller.
    pub(crate) caller: Map,
    /// For the root of a user namespace, who owns the top of what it may see: uid and gid, in its
    /// numbers.
    pub(crate) top: Option<(u32, u32)>,
}

/// Its name on the system bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Bus {
    /// There is no bus, or it does not answer.
    #[default]
    None,
    /// Nobody has the name.
    Free,
    /// Somebody has it.
    Owned,
}

/// Where the system bus is, D-Bus specification, "Well-known Message Bus Instances".
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
const SYSTEM_BUS_VARIABLE: &str = "DBUS_SYSTEM_BUS_ADDRESS";

/// Asks the daemon who it is and who the caller is.
pub(crate) fn ask(session: &mut Session) -> Result<Daemon, Failure> {
    let mut properties = session.call(request::properties(), "ask cgroupd about itself")?;
    let caller = session.call(request::who_am_i(), "ask who I am")?;
    let is_root = caller.get("class").is_some_and(|class| class == "namespace-root");
    let top = is_root.then(|| owner_of_top(session)).flatten();
    let mut take = |name: &str| properties.remove(name);
    Ok(Daemon {
        version: take("Version").and_then(|value| value.try_into().ok()).unwrap_or_default(),
        features: take("Features").and_then(|value| value.try_into().ok()).unwrap_or_default(),
        caller,
        top,
    })
}

/// As the file says that processes are moved with.
fn owner_of_top(session: &mut Session) -> Option<(u32, u32)> {
    let files = session.call(request::list_files("/"), "list the files of /").ok()?;
    let (_, facts) = files.into_iter().find(|(name, _)| name == "cgroup.procs")?;
    let id = |key: &str| facts.get(key)?.parse().ok();
    Some((id("uid")?, id("gid")?))
}

/// Asks the system bus for the daemon's name.
pub(crate) fn bus() -> Bus {
    let address = std::env::var(SYSTEM_BUS_VARIABLE).unwrap_or_else(|_| SYSTEM_BUS.to_owned());
    let ask = || -> Result<bool, CallError> {
        let deadline = Instant::now() + Duration::from_secs(2);
        let address =
            Address::parse(&address).map_err(|failure| CallError::Closed(failure.text))?;
        let mut link = Link::open(&address, deadline)?;
        // A bus answers nobody who has not said this.
        let _hello = link.send(request::bus_hello())?;
        let ticket = link.send(request::bus_has_name())?;
        link.receive(&ticket)
    };
    match ask() {
        Ok(true) => Bus::Owned,
        Ok(false) => Bus::Free,
        Err(_) => Bus::None,
    }
}
