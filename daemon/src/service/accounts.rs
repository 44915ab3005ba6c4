//! Accounts: who holds and causes how much, so that an administrator finds out who uses up what.

use cgroupd_proto::ErrorName;

use super::Request;
use crate::accounting::Resource;
use crate::policy::Class;
use crate::{Error, Result};

/// An account or several together, a resource, how much of it is charged, and how much may be.
type Row = (String, String, u64, u64);

impl Request<'_> {
    /// All that is charged, this call included.
    ///
    /// # Errors
    /// Denied, but for host root.
    pub(crate) fn accounts(&self) -> Result<Vec<Row>> {
        if self.subject().class != Class::HostRoot {
            let text = "only root of the host may read the accounts";
            return Err(Error::new(ErrorName::Denied, text)
                .rule("host-root")
                .hint("an error QuotaExceeded says how much the caller itself has"));
        }
        let all = self.service.accounts.all().into_iter();
        let number = |amount| u64::try_from(amount).unwrap_or(u64::MAX);
        Ok(all
            .map(|(who, resource, used, bound)| {
                (who.to_string(), self.name_of(resource), number(used), number(bound))
            })
            .collect())
    }

    fn name_of(&self, resource: Resource) -> String {
        match resource {
            Resource::Cgroups(index) => format!("cgroups:{}", self.hierarchy(index).label),
            resource => resource.name(),
        }
    }
}
