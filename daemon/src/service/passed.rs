//! Whoever asks through somebody else: pinned, looked at, and taken for who it is if the one who
//! passes it on may do that.

use cgroupd_proto::ErrorName;

use super::Request;
use super::victim::no_process;
use crate::caller::{Caller, Passed};
use crate::policy::{Class, Requestor, may_speak_for};
use crate::sys::creds::{self, CapSet};
use crate::{Error, Result};

impl Request<'_> {
    /// Who asks, passed on by this request's caller; whether that one may is another question.
    ///
    /// # Errors
    /// Denied for one that is gone, or is not who it was said to be.
    pub(crate) fn requestor(&self, passed: Passed) -> Result<Caller> {
        let subject = self.subject();
        // Groups that a container's root cannot give, its processes have from elsewhere.
        let may_have = |group| {
            subject.class != Class::NsRoot
                || subject.gid_map.maps(group)
                || subject.groups.contains(&group)
        };
        self.caller.passed_on(passed, may_have, &self.service.host).map_err(|refused| {
            let text = format!("whoever asks through the caller is not known: {refused}");
            Error::new(ErrorName::Denied, text).rule("requestor")
        })
    }

    /// Whether this request's caller may speak for that of another request.
    ///
    /// # Errors
    /// Denied for whom it may not speak, NoSuchProcess for one that is gone.
    pub(crate) fn check_speaks_for(&self, requestor: &Request<'_>) -> Result<()> {
        // What exists for whom is looked up only where it can matter: a user speaks for itself alone.
        let (subject, own) = (self.subject(), self.caller.is(requestor.caller));
        let in_scope = match subject.class {
            Class::HostRoot => true,
            Class::User if subject.uid != 0 => own,
            _ => own || self.holds(requestor)?,
        };
        let facts = self.requestor_facts(requestor, in_scope);
        let facts = facts.map_err(|_| no_process("whoever asks"))?;
        Ok(may_speak_for(self.subject(), &facts)?)
    }

    fn requestor_facts(&self, requestor: &Request<'_>, in_scope: bool) -> nix::Result<Requestor> {
        let (subject, Request { caller, .. }) = (requestor.subject(), requestor);
        let (proxy, process) = (&self.caller.process, &caller.process);
        let is_proxys_ns = requestor.now.user_ns == self.now.user_ns;
        // With what it had before it acts, with what it has now it could.
        let caps = creds::capabilities(process.pid)?.1.and(subject.caps);
        let facts = Requestor {
            is_proxy: self.caller.is(caller),
            untouchable: self.untouchable(process)?.is_some(),
            class: subject.class,
            at_home: subject.at_home,
            mapped: self.subject().maps_both(caller.uid, caller.gid),
            under_proxys_user_ns: self.is_above(process)?,
            permitted: if is_proxys_ns { caps } else { CapSet::EMPTY },
            visible: self.caller.number_of(process)?.is_some(),
            in_scope,
        };
        // Both have lived until now, so their numbers were theirs.
        proxy.check_alive()?;
        process.check_alive()?;
        Ok(facts)
    }

    /// Whether all that exists for the requestor exists for the caller: in every hierarchy the one's
    /// scope is within the other's. Where the requestor is says nothing: its cgroup namespace may be
    /// another's.
    fn holds(&self, requestor: &Request<'_>) -> Result<bool> {
        for (index, hierarchy) in self.service.layout.hierarchies.iter().enumerate() {
            let Some(theirs) = requestor.scope(index)? else { continue };
            let Some(own) = self.scope(index)? else { return Ok(false) };
            let theirs = self.scope_names(hierarchy, &theirs)?;
            if !theirs.starts_with(&self.scope_names(hierarchy, &own)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
