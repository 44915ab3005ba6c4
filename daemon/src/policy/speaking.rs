//! Who may ask in somebody else's name. The kernel vouches that credentials which came over a socket
//! are of a process that agreed to send them, or of one that may name any; but not that they were
//! sent to the daemon, or for this: anybody's byte can be led from one socket to another, the
//! daemon's own among them. So only whoever could be the requestor anyway may pass it on.

use super::{Class, Refusal, Subject};
use crate::sys::creds::Cap;

/// Who asks, as the proxy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Requestor {
    /// Whether it is the proxy itself.
    pub is_proxy: bool,
    /// Whether it is the daemon, pid 1 or a kernel thread.
    pub untouchable: bool,
    /// Whether its uid and gid are mapped in the proxy's user namespace.
    pub mapped: bool,
    /// Whether its user namespace is the proxy's or a descendant of it.
    pub under_proxys_user_ns: bool,
    /// Whether the proxy's pid namespace shows it.
    pub visible: bool,
    /// Whether it is within the proxy's scope, in every hierarchy that has one.
    pub in_scope: bool,
}

/// Passing a requestor on.
///
/// # Errors
/// When the proxy has no say over it.
pub fn may_speak_for(proxy: &Subject, requestor: &Requestor) -> Result<(), Refusal> {
    let refused = |why| Err(Refusal::new("proxy", why));
    let Requestor { mapped, under_proxys_user_ns, visible, in_scope, .. } = *requestor;
    if requestor.untouchable {
        return refused("nobody asks in the daemon's name, or the kernel's");
    }
    if requestor.is_proxy || proxy.class == Class::HostRoot {
        return Ok(());
    }
    if !visible || !under_proxys_user_ns {
        return refused("whoever asks is in no namespace of the proxy's");
    }
    let could_be = proxy.caps.has(Cap::SetUid) && proxy.caps.has(Cap::SetGid);
    match proxy.class {
        Class::NsRoot if could_be && mapped => Ok(()),
        // Root of a container without a user namespace: any uid, but nowhere else.
        Class::User if could_be && proxy.uid == 0 && in_scope => Ok(()),
        _ => refused("the proxy could not be whoever asks"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::{ns_root, user};
    use super::*;
    use crate::sys::creds::CapSet;

    const INSIDE: Requestor = Requestor {
        is_proxy: false,
        untouchable: false,
        mapped: true,
        under_proxys_user_ns: true,
        visible: true,
        in_scope: true,
    };

    fn caps() -> CapSet {
        CapSet::one(Cap::SetUid).with(Cap::SetGid)
    }

    #[test]
    fn whoever_could_be_the_requestor_may_pass_it_on() {
        let host_root = Subject { class: Class::HostRoot, ..user(0, 0, &[]) };
        let confined = Subject { caps: caps(), ..user(0, 0, &[]) };
        for proxy in [&host_root, &ns_root(100_000, caps()), &confined] {
            assert!(may_speak_for(proxy, &INSIDE).is_ok(), "{proxy:?}");
        }
        let itself = Requestor { is_proxy: true, visible: false, mapped: false, ..INSIDE };
        assert!(may_speak_for(&user(1000, 1000, &[]), &itself).is_ok());
    }

    #[test]
    fn case_04_nobody_else_may() {
        let root = ns_root(100_000, caps());
        let confined = Subject { caps: caps(), ..user(0, 0, &[]) };
        for (proxy, requestor) in [
            (&user(1000, 1000, &[]), INSIDE),
            (&Subject { caps: caps(), ..user(1000, 1000, &[]) }, INSIDE),
            (&ns_root(100_000, CapSet::EMPTY), INSIDE),
            (&user(0, 0, &[]), INSIDE),
            (&root, Requestor { mapped: false, ..INSIDE }),
            (&root, Requestor { under_proxys_user_ns: false, ..INSIDE }),
            (&root, Requestor { visible: false, ..INSIDE }),
            (&confined, Requestor { visible: false, ..INSIDE }),
            (&confined, Requestor { in_scope: false, ..INSIDE }),
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
