//! Handlers of the verbs that tell a client what happens.

use super::{Call, at};
use crate::Result;
use crate::api::reply::Reply;
use crate::service;

pub(super) fn watch(call: &Call<'_>) -> Result<Reply> {
    let (path, events, flags): (String, Vec<String>, Vec<String>) = call.arguments()?;
    let id = at("watch", &path, |parsed| {
        call.flags(&flags)?;
        call.few(events.len(), "events")?;
        let who = (call.service, &call.client.caller);
        let begin = |tell| service::watch(who, &call.request, parsed, &events, tell);
        call.client.watch(begin)
    })?;
    call.success(&(id,))
}

pub(super) fn unwatch(call: &Call<'_>) -> Result<Reply> {
    let (id,): (u32,) = call.arguments()?;
    let ended = call.client.unwatch(id);
    ended.map_err(|error| error.during("end watch", &id.to_string()))?;
    call.success(&())
}
