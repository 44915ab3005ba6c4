//! Handlers of the verbs on cgroups themselves: making, removing, listing, handing over.

use std::collections::HashMap;

use zbus::Fd;

use super::{Call, at, parse};
use crate::Result;
use crate::api::reply::Reply;
use crate::service::{Enabling, Order, Page, Victims, when_empty};

/// The most rows of one page of List.
const PAGE: usize = 1000;

pub(super) fn create(call: &Call<'_>) -> Result<Reply> {
    type In<'d> = (String, Vec<String>, HashMap<String, String>, Vec<Fd<'d>>, Vec<String>);
    let body = call.message.body();
    let (path, controllers, limits, pidfds, flags): In<'_> = parse(&body)?;
    let request = &call.request;
    let created = at("create", &path, |parsed| {
        call.few(controllers.len(), "controllers")?;
        call.few(limits.len(), "limits")?;
        let flags = call.flags(&flags)?;
        let mut victims = Victims::from_pidfds(&call.request, call.owned(&pidfds)?)?;
        if flags.has("caller") {
            victims = victims.with_caller(request)?;
        }
        let order = Order {
            path: parsed,
            controllers: &controllers,
            limits: &limits,
            must_create: flags.has("must-create"),
            when_empty: flags.has("when-empty"),
            enabling: Enabling::new(flags.has("no-evacuate")),
            owner: None,
            enter: false,
        };
        request.create(&order, &victims)
    })?;
    call.success(&(created.path, created.controllers, created.created))
}

pub(super) fn remove(call: &Call<'_>) -> Result<Reply> {
    let (path, flags): (String, Vec<String>) = call.arguments()?;
    let removed = at("remove", &path, |parsed| {
        let flags = call.flags(&flags)?;
        let (recursive, kill) = (flags.has("recursive"), flags.has("kill"));
        match flags.has("when-empty") {
            true => {
                when_empty::check_flags(recursive, kill)?;
                call.request.remove_when_empty(parsed)
            }
            false => call.request.remove(parsed, recursive, kill).map(|()| true),
        }
    })?;
    call.success(&(removed,))
}

pub(super) fn list(call: &Call<'_>) -> Result<Reply> {
    type In = (String, u32, String, u32, Vec<String>);
    let (path, depth, after, limit, flags): In = call.arguments()?;
    let (rows, next) = at("list", &path, |parsed| {
        let children = call.flags(&flags)?.has("children");
        let limit = match limit as usize {
            0 => PAGE,
            limit => limit.min(PAGE),
        };
        call.request.list(parsed, &Page { depth, after, limit, children })
    })?;
    call.success(&(rows, next))
}

pub(super) fn chown(call: &Call<'_>) -> Result<Reply> {
    let (path, uid, gid, flags): (String, u32, u32, Vec<String>) = call.arguments()?;
    at("change the owner of", &path, |parsed| {
        let recursive = call.flags(&flags)?.has("recursive");
        call.request.chown(parsed, uid, gid, recursive)
    })?;
    call.success(&())
}

pub(super) fn chmod(call: &Call<'_>) -> Result<Reply> {
    let (path, file, mode, flags): (String, String, u32, Vec<String>) = call.arguments()?;
    at("change the mode of", &path, |parsed| {
        call.flags(&flags)?;
        call.request.chmod(parsed, &file, mode)
    })?;
    call.success(&())
}
