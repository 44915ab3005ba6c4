//! Handlers of the verbs that move, stop or end processes, or tell where they are.

use cgroupd_proto::CgroupPath;
use zbus::Fd;

use super::{Call, Flags, at, parse};
use crate::api::reply::Reply;
use crate::service::{Signal, Victims};
use crate::{Error, Result};

pub(super) fn attach(call: &Call<'_>) -> Result<Reply> {
    let body = call.message.body();
    let (path, pidfds, flags): (String, Vec<Fd<'_>>, Vec<String>) = parse(&body)?;
    at("attach to", &path, |parsed| {
        let flags = call.flags(&flags)?;
        let victims = Victims::from_pidfds(&call.request, call.owned(&pidfds)?)?;
        enter(call, parsed, victims, &flags)
    })?;
    call.success(&())
}

pub(super) fn attach_pids(call: &Call<'_>) -> Result<Reply> {
    let (path, pids, flags): (String, Vec<u32>, Vec<String>) = call.arguments()?;
    at("attach to", &path, |parsed| {
        call.few(pids.len(), "processes")?;
        let flags = call.flags(&flags)?;
        let victims = Victims::from_pids(&call.request, &pids)?;
        enter(call, parsed, victims, &flags)
    })?;
    call.success(&())
}

fn enter(call: &Call<'_>, path: &CgroupPath, victims: Victims, flags: &Flags) -> Result<()> {
    let victims = match flags.has("caller") {
        true => victims.with_caller(&call.request)?,
        false => victims,
    };
    call.request.attach(path, &victims)
}

pub(super) fn processes(call: &Call<'_>) -> Result<Reply> {
    let (path, flags): (String, Vec<String>) = call.arguments()?;
    let pids = at("list the processes of", &path, |parsed| {
        let flags = call.flags(&flags)?;
        call.request.processes(parsed, flags.has("recursive"), flags.has("threads"))
    })?;
    call.success(&(pids,))
}

pub(super) fn cgroup_of(call: &Call<'_>) -> Result<Reply> {
    let (pid, flags): (u32, Vec<String>) = call.arguments()?;
    let caller = call.flags(&flags)?.has("caller");
    let during = |error: Error| error.during("find the cgroups of", &format!("process {pid}"));
    let rows = call.request.cgroup_of((!caller).then_some(pid)).map_err(during)?;
    call.success(&(rows,))
}

pub(super) fn freeze(call: &Call<'_>) -> Result<Reply> {
    let (path, flags): (String, Vec<String>) = call.arguments()?;
    at("freeze", &path, |parsed| {
        call.flags(&flags)?;
        call.request.freeze(parsed)
    })?;
    call.success(&())
}

pub(super) fn thaw(call: &Call<'_>) -> Result<Reply> {
    let (path, flags): (String, Vec<String>) = call.arguments()?;
    at("thaw", &path, |parsed| {
        call.flags(&flags)?;
        call.request.thaw(parsed)
    })?;
    call.success(&())
}

pub(super) fn kill(call: &Call<'_>) -> Result<Reply> {
    let (path, signal, flags): (String, u32, Vec<String>) = call.arguments()?;
    let killed = at("kill", &path, |parsed| {
        call.flags(&flags)?;
        call.request.kill(parsed, Signal::new(signal)?)
    })?;
    call.success(&(killed,))
}
