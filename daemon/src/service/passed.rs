//! Whoever asks through somebody else: pinned, looked at, and taken for who it is if the one who
//! passes it on may do that.

use cgroupd_proto::ErrorName;
use nix::errno::Errno;

use super::Request;
use super::victim::no_process;
use crate::caller::{Caller, Passed, Place};
use crate::policy::{Class, Requestor, may_speak_for};
use crate::{Error, Result};

impl Request<'_> {
    /// Who asks, passed on by this request's caller.
    ///
    /// # Errors
    /// Denied for whom the caller may not speak, NoSuchProcess for one that is gone.
    pub(crate) fn requestor(&self, passed: Passed) -> Result<Caller> {
        let requestor = Caller::passed_on(passed, &self.service.host).map_err(|refused| {
            let text = format!("whoever asks through the caller is not known: {refused}");
            Error::new(ErrorName::Denied, text).rule("requestor")
        })?;
        let facts = self.requestor_facts(&requestor).map_err(|_| no_process("whoever asks"))?;
        may_speak_for(self.subject(), &facts)?;
        Ok(requestor)
    }

    fn requestor_facts(&self, requestor: &Caller) -> nix::Result<Requestor> {
        let (proxy, process) = (&self.caller.process, &requestor.process);
        let facts = Requestor {
            is_proxy: process.pid == proxy.pid
                && (requestor.uid, requestor.gid) == (self.caller.uid, self.caller.gid),
            untouchable: self.untouchable(process)?.is_some(),
            mapped: self.subject().maps_both(requestor.uid, requestor.gid),
            under_proxys_user_ns: self.is_above(process)?,
            visible: self.caller.from_our_pid(process.pid)?.is_some(),
            // Only who is confined to it is asked for that.
            in_scope: self.subject().class == Class::User && self.holds(requestor)?,
        };
        // Both have lived until now, so their numbers were theirs.
        proxy.check_alive()?;
        process.check_alive()?;
        Ok(facts)
    }

    /// Whether the requestor is within the caller's scope wherever that has one.
    fn holds(&self, requestor: &Caller) -> nix::Result<bool> {
        let now = requestor.now(&self.service.host)?;
        let places = requestor.places(&now)?;
        for (index, hierarchy) in self.service.layout.hierarchies.iter().enumerate() {
            let scope = self.scope(index).map_err(|_| Errno::ESRCH)?;
            let Some(scope) = scope else { continue };
            let top = self.scope_names(hierarchy, &scope).map_err(|_| Errno::ESRCH)?;
            let is_inside =
                matches!(places.within(hierarchy), Place::Inside(names) if names.starts_with(&top));
            if !is_inside {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
