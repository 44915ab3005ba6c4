//! The second half: the same from a container of an unprivileged uid, and next to each
//! success an escape that is refused.

use std::collections::HashMap;
use std::path::Path;

use cgroupd_proto::ManagerProxy;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::helpers::{Actor, await_cue};
use super::say::{self, Result};
use super::stage::{Stage, connect};
use super::{GUEST, INSIDE};

/// The container's root is this uid of the host, the first of its range.
const BASE: u32 = 1_000_000;
const RANGE: u32 = 65_536;

/// Host root makes the container's cgroup, hands it over, and puts a process into it, which
/// then leaves for namespaces of its own.
pub(super) async fn invite(stage: &Stage) -> Result<()> {
    say::title(&format!("A container of uid {BASE}"));
    let (_connection, manager) = connect(&stage.socket).await?;
    say::call(
        "Create box",
        manager.create("box", &[], &HashMap::new(), &[], &[]).await,
        |(path, ..)| path.clone(),
    )?;
    say::call(
        &format!("Chown box {BASE} {BASE}"),
        manager.chown("box", BASE, BASE, &[]).await,
        |()| "handed over".to_owned(),
    )?;
    let mut container = Actor::start(INSIDE, &stage.socket.to_string_lossy())?;
    let pid = container.pid();
    manager.attach_pids("box", &[pid], &[]).await?;
    container.cue()?;
    if container.line()?.as_deref() != Some("unshared") {
        return Err("the process could not make namespaces of its own: are unprivileged user \
                    namespaces allowed here?"
            .into());
    }
    for map in ["gid_map", "uid_map"] {
        std::fs::write(format!("/proc/{pid}/{map}"), format!("0 {BASE} {RANGE}"))?;
    }
    container.cue()?;
    while let Some(line) = container.line()? {
        say::text(line);
    }
    match container.wait()?.success() {
        true => Ok(()),
        false => Err("the container's half did not go as told".into()),
    }
}

/// Becomes the container: an unprivileged uid first, then its own namespaces, then pid 1.
pub(super) fn enter(socket: &str) -> Result<()> {
    await_cue()?;
    let (uid, gid) = (Uid::from_raw(BASE), Gid::from_raw(BASE));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWPID)?;
    println!("unshared");
    await_cue()?;
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    let status = std::process::Command::new("/proc/self/exe").args([GUEST, socket]).status()?;
    if status.success() { Ok(()) } else { Err("the guest failed".into()) }
}

/// The client in the container.
pub(super) fn play(socket: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(guest(Path::new(socket)))
}

async fn guest(socket: &Path) -> Result<()> {
    say::kernel("/proc/self/uid_map".as_ref(), |_| true);
    say::kernel("/proc/self/cgroup".as_ref(), say::telling);
    let (_connection, manager) = connect(socket).await?;
    say::call("WhoAmI", manager.who_am_i().await, |who| {
        let known = |key: &str| who.get(key).cloned().unwrap_or_default();
        format!("{}, uid {} here, pid {} here", known("class"), known("uid"), std::process::id())
    })?;
    say::call(
        "Create test01",
        manager.create("test01", &[], &HashMap::new(), &[], &[]).await,
        |(path, ..)| path.clone(),
    )?;
    say::refused(
        "Create ../test02",
        manager.create("../test02", &[], &HashMap::new(), &[], &[]).await,
    )?;
    limit(&manager).await?;
    say::call(
        "AttachPids test01 [] caller",
        manager.attach_pids("test01", &[], &["caller"]).await,
        |()| "moved".to_owned(),
    )?;
    say::kernel("/proc/self/cgroup".as_ref(), say::telling);
    say::refused(
        "AttachPids test01 [4000000]",
        manager.attach_pids("test01", &[4_000_000], &[]).await,
    )?;
    say::refused("Chown / 0 0", manager.chown("/", 0, 0, &[]).await)?;
    say::refused("Remove /", manager.remove("/", &["recursive"]).await)?;
    say::call("CgroupOf caller", manager.cgroup_of(0, &["caller"]).await, |rows| {
        rows.iter()
            .map(|(hierarchy, path)| format!("{hierarchy}:{path}"))
            .collect::<Vec<_>>()
            .join(" ")
    })?;
    Ok(())
}

/// A limit of its own, and one it must not touch.
async fn limit(manager: &ManagerProxy<'_>) -> Result<()> {
    if manager.layout().await? == "unified" {
        // The container's processes are in its cgroup itself, where v2 wants none.
        say::text("  (on cgroup v2 limits inside wait until its processes can be moved to a leaf)");
        return Ok(());
    }
    let limits = HashMap::from([("pids.max", "20")]);
    say::call(
        "SetLimits test01 pids.max=20",
        manager.set_limits("test01", &limits, &[]).await,
        |set| set.iter().map(|(name, value)| format!("{name}={value}")).collect(),
    )?;
    say::refused("SetLimits / pids.max=20", manager.set_limits("/", &limits, &[]).await)?;
    Ok(())
}
