//! WhoAmI: what the daemon thinks of the caller, so that a refusal can be understood.

use std::collections::HashMap;

use cgroupd_proto::ErrorName;

use super::target::shown;
use super::{Request, Service};
use crate::Result;
use crate::caller::Caller;
use crate::policy::Class;

impl Service {
    /// Answers also when the caller could not be proven.
    ///
    /// # Errors
    /// OutOfResources: it cannot be told for now.
    pub(crate) fn who_am_i(&self, caller: &Caller) -> Result<HashMap<String, String>> {
        let mut answer = HashMap::new();
        let mut say = |key: &str, value: String| answer.insert(key.to_owned(), value);
        say("proven", caller.unproven.is_none().to_string());
        say("uid", caller.uid.to_string());
        say("gid", caller.gid.to_string());
        if let Some(reason) = &caller.unproven {
            say("class", "unproven".to_owned());
            say("refused-because", reason.clone());
            return Ok(answer);
        }
        match Request::new(self, caller) {
            Ok(request) => {
                request.settle();
                answer.extend(request.describe()?);
            }
            Err(error) if error.name == ErrorName::OutOfResources => return Err(error),
            Err(error) => {
                say("refused-because", error.text);
            }
        }
        Ok(answer)
    }
}

impl Request<'_> {
    fn describe(&self) -> Result<Vec<(String, String)>> {
        let subject = self.subject();
        let class = match subject.class {
            Class::HostRoot => "host-root",
            Class::NsRoot => "namespace-root",
            Class::User => "user",
        };
        let mut rows = vec![
            ("class".to_owned(), class.to_owned()),
            ("uid".to_owned(), subject.uid_map.shown(subject.uid).to_string()),
            ("gid".to_owned(), subject.gid_map.shown(subject.gid).to_string()),
        ];
        for (index, hierarchy) in self.service.layout.hierarchies.iter().enumerate() {
            match self.scope(index) {
                Ok(Some(scope)) => {
                    rows.push((format!("scope.{}", hierarchy.label), "/".to_owned()));
                    rows.push((format!("home.{}", hierarchy.label), shown(&scope.home)));
                }
                Err(error) if error.name == ErrorName::OutOfResources => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        if !rows.iter().any(|(key, _)| key.starts_with("scope.")) {
            let reason = "no hierarchy has a cgroup of the caller's own, or one it is confined to";
            rows.push(("refused-because".to_owned(), reason.to_owned()));
        }
        Ok(rows)
    }
}
