//! Who may ask in somebody else's name. The kernel vouches that credentials which came over a socket
//! are of a process that agreed to send them, or of one that may name any; but not that they were
//! sent to the daemon, or for this: anybody's byte can be led from one socket to another, the
//! daemon's own among them. So only whoever could be the requestor anyway may pass it on.

use super::{Class, Refusal, Subject};
use crate::sys::creds::{Cap, CapSet};

/// Who asks, as the proxy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Requestor {
    /// Whether it is the proxy itself.
    pub is_proxy: bool,
    /// Whether it is the daemon, pid 1 or a kernel thread.
    pub untouchable: bool,
    /// What kind of caller it would be.
    pub class: Class,
    /// Whether its user, pid and cgroup namespaces are all the daemon's: it is confined to nothing.
    pub at_home: bool,
    /// Whether its uid and gid are mapped in the proxy's user namespace.
    pub mapped: bool,
    /// Whether its user namespace is the proxy's or a descendant of it.
    pub under_proxys_user_ns: bool,
    /// Its permitted capabilities, where its user namespace is the proxy's; in one below that the
    /// proxy has them all.
    pub permitted: CapSet,
    /// Whether the proxy's pid namespace shows it.
    pub visible: bool,
    /// Whether its scope is within the proxy's, in every hierarchy where it has one.
    pub in_scope: bool,
}

/// Passing a requestor on: whoever could make itself one like it, there where it is.
///
/// # Errors
/// When the proxy has no say over it.
pub fn may_speak_for(proxy: &Subject, requestor: &Requestor) -> Result<(), Refusal> {
    let refused = |why| Err(Refusal::new("proxy", why));
    if requestor.untouchable {
        return refused("nobody asks in the daemon's name, or the kernel's");
    }
    if requestor.is_proxy || proxy.class == Class::HostRoot {
        return Ok(());
    }
    if !requestor.visible || !requestor.under_proxys_user_ns || !requestor.in_scope {
        return refused("whoever asks is outside of what the proxy may see");
    }
    let could_be = proxy.caps.has(Cap::SetUid) && proxy.caps.has(Cap::SetGid);
    let adds_nothing = requestor.class != Class::HostRoot
        && (proxy.at_home || !requestor.at_home)
        && proxy.caps.includes(requestor.permitted);
    match proxy.class {
        Class::NsRoot if could_be && adds_nothing && requestor.mapped => Ok(()),
        // Root of a container without a user namespace: any uid, but nowhere else.
        Class::User if could_be && adds_nothing && proxy.uid == 0 => Ok(()),
        _ => refused("the proxy could not be whoever asks"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::{ns_root, user};
    use super::*;

    const INSIDE: Requestor = Requestor {
        is_proxy: false,
        untouchable: false,
        class: Class::User,
        at_home: false,
        mapped: true,
        under_proxys_user_ns: true,
        permitted: CapSet::EMPTY,
        visible: true,
        in_scope: true,
    };

    fn caps() -> CapSet {
        CapSet::one(Cap::SetUid).with(Cap::SetGid)
    }

    #[test]
    fn whoever_could_be_the_requestor_may_pass_it_on() {
        let host_root = Subject { class: Class::HostRoot, ..user(0, 0, &[]) };
        let confined = Subject { caps: caps(), at_home: false, ..user(0, 0, &[]) };
        for proxy in [&host_root, &ns_root(100_000, caps()), &confined] {
            assert!(may_speak_for(proxy, &INSIDE).is_ok(), "{proxy:?}");
        }
        let itself = Requestor { is_proxy: true, visible: false, mapped: false, ..INSIDE };
        assert!(may_speak_for(&user(1000, 1000, &[]), &itself).is_ok());
    }

    #[test]
    fn case_04_nobody_else_may() {
        let root = ns_root(100_000, caps());
        let confined = Subject { caps: caps(), at_home: false, ..user(0, 0, &[]) };
        for (proxy, requestor) in [
            (&user(1000, 1000, &[]), INSIDE),
            (&Subject { caps: caps(), ..user(1000, 1000, &[]) }, INSIDE),
            (&ns_root(100_000, CapSet::EMPTY), INSIDE),
            (&user(0, 0, &[]), INSIDE),
            (&root, Requestor { mapped: false, ..INSIDE }),
            (&root, Requestor { under_proxys_user_ns: false, ..INSIDE }),
            (&root, Requestor { visible: false, ..INSIDE }),
            (&root, Requestor { in_scope: false, ..INSIDE }),
            (&root, Requestor { permitted: caps().with(Cap::SysAdmin), ..INSIDE }),
            (&confined, Requestor { class: Class::HostRoot, ..INSIDE }),
            (&confined, Requestor { permitted: CapSet::one(Cap::SysAdmin), ..INSIDE }),
            (&confined, Requestor { visible: false, ..INSIDE }),
            (&confined, Requestor { in_scope: false, ..INSIDE }),
            (&confined, Requestor { at_home: true, ..INSIDE }),
        ] {
            assert_eq!(may_speak_for(proxy, &requestor).unwrap_err().rule, "proxy");
        }
    }

    #[test]
    fn case_04_not_even_root_speaks_for_the_daemon() {
        let root = Subject { class: Class::HostRoot, ..user(0, 0, &[]) };
        let daemon = Requestor { untouchable: true, is_proxy: true, ..INSIDE };
        assert!(may_speak_for(&root, &daemon).is_err());
    }
}
