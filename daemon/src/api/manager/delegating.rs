//! Handlers of the verbs that hand cgroups over for good, and take them back.

use std::collections::HashMap;

use super::{Call, at};
use crate::Result;
use crate::api::reply::Reply;
use crate::service::{Delegation, Enabling};

pub(super) fn delegate(call: &Call<'_>) -> Result<Reply> {
    type In = (String, u32, u32, Vec<String>, HashMap<String, String>, Vec<String>);
    let (path, uid, gid, controllers, limits, flags): In = call.arguments()?;
    let path = or_home(call, path, uid)?;
    let delegated = at("delegate", &path, |parsed| {
        call.few(controllers.len(), "controllers")?;
        call.few(limits.len(), "limits")?;
        let flags = call.flags(&flags)?;
        call.request.delegate(Delegation {
            path: parsed,
            owner: (uid, gid),
            controllers: &controllers,
            limits: &limits,
            enter: flags.has("enter"),
            enabling: Enabling::new(flags.has("no-evacuate")),
        })
    })?;
    call.success(&delegated)
}

pub(super) fn undelegate(call: &Call<'_>) -> Result<Reply> {
    let (path, uid, flags): (String, u32, Vec<String>) = call.arguments()?;
    let path = or_home(call, path, uid)?;
    at("take back", &path, |parsed| {
        call.flags(&flags)?;
        call.request.undelegate(parsed, uid)
    })?;
    call.success(&())
}

fn or_home(call: &Call<'_>, path: String, uid: u32) -> Result<String> {
    if path.is_empty() { call.request.home_of_user(uid) } else { Ok(path) }
}
