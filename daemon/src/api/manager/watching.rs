//! Handlers of the verbs that tell what happens.

use super::{Call, at};
use crate::Result;
use crate::api::reply::Reply;

pub(super) fn watch(call: &Call<'_>) -> Result<Reply> {
    let (path, events, flags): (String, Vec<String>, Vec<String>) = call.arguments()?;
    let id = at("watch", &path, |parsed| {
        call.few(events.len(), "events")?;
        call.flags(&flags)?;
        call.request.watch(call.watches, parsed, &events)
    })?;
    call.success(&(id,))
}

pub(super) fn unwatch(call: &Call<'_>) -> Result<Reply> {
    let (id,): (u32,) = call.arguments()?;
    call.request.unwatch(call.watches, id)?;
    call.success(&())
}
