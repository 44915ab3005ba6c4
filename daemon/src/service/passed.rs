//! Whoever asks through somebody else: pinned, looked at, and taken for who it is if the one who
//! passes it on may do that.

use cgroupd_proto::ErrorName;
use nix::errno::Errno;

use super::Request;
use super::victim::no_process;
use crate::caller::{Caller, Now, NsId, Passed, Place, Process};
use crate::policy::{Class, Requestor, may_speak_for};
use crate::sys::creds::{self, CapSet};
use crate::{Error, Result};

impl Request<'_> {
    /// Who asks, passed on by this request's caller.
    ///
    /// # Errors
    /// Denied for whom the caller may not speak, NoSuchProcess for one that is gone.
    pub(crate) fn requestor(&self, passed: Passed) -> Result<Caller> {
        let requestor = self.caller.passed_on(passed, &self.service.host).map_err(|refused| {
            let text = format!("whoever asks through the caller is not known: {refused}");
            Error::new(ErrorName::Denied, text).rule("requestor")
        })?;
        let facts = self.requestor_facts(&requestor).map_err(|_| no_process("whoever asks"))?;
        may_speak_for(self.subject(), &facts)?;
        Ok(requestor)
    }

    fn requestor_facts(&self, requestor: &Caller) -> nix::Result<Requestor> {
        let (proxy, process) = (&self.caller.process, &requestor.process);
        let now = requestor.now(&self.service.host)?;
        let user_ns = |of: &Process| of.stat("ns/user").map(NsId::from);
        let is_proxys_ns = user_ns(process)? == user_ns(proxy)?;
        let (_, permitted) = creds::capabilities(process.pid)?;
        let facts = Requestor {
            is_proxy: self.caller.is(requestor),
            untouchable: self.untouchable(process)?.is_some(),
            class: now.subject.class,
            at_home: now.subject.at_home,
            mapped: self.subject().maps_both(requestor.uid, requestor.gid),
            under_proxys_user_ns: self.is_above(process)?,
            permitted: if is_proxys_ns { permitted } else { CapSet::EMPTY },
            visible: self.caller.from_our_pid(process.pid)?.is_some(),
            // Host root is not asked for that.
            in_scope: self.subject().class != Class::HostRoot && self.holds(requestor, &now)?,
        };
        // Both have lived until now, so their numbers were theirs.
        proxy.check_alive()?;
        process.check_alive()?;
        Ok(facts)
    }

    /// Whether the requestor is within the caller's scope in every hierarchy. Where the caller has
    /// none, the requestor may be in nothing that is managed.
    fn holds(&self, requestor: &Caller, now: &Now) -> nix::Result<bool> {
        let places = requestor.places(now)?;
        for (index, hierarchy) in self.service.layout.hierarchies.iter().enumerate() {
            let scope = self.scope(index).map_err(|_| Errno::ESRCH)?;
            let place = places.within(hierarchy);
            let Some(scope) = scope else {
                match place {
                    Place::Outside => continue,
                    _ => return Ok(false),
                }
            };
            let top = self.scope_names(hierarchy, &scope).map_err(|_| Errno::ESRCH)?;
            match place {
                Place::Inside(names) if names.starts_with(&top) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}
