//! The first half: host root makes a cgroup, moves a process, limits it, and cleans up.

use std::collections::HashMap;

use cgroupd_proto::{ManagerProxy, format_size};

use super::EATER;
use super::helpers::Actor;
use super::say::{self, Result};
use super::stage::{Stage, connect};
use crate::cgroup::Version;

const LIMIT: &str = "32M";
const APPETITE: &str = "64";

pub(super) async fn play(stage: &Stage) -> Result<()> {
    let (_connection, manager) = connect(&stage.socket).await?;
    let layout = manager.layout().await?;
    say::text(format_args!(
        "This host's layout is {layout}. Everything happens below /{}.",
        stage.root
    ));
    say::title("Host root, over D-Bus");
    say::call(
        "Create test01",
        manager.create("test01", &[], &HashMap::new(), &[], &[]).await,
        |(path, controllers, _)| format!("{path} for {}", controllers.join(" ")),
    )?;
    let mut process = Actor::start(EATER, APPETITE)?;
    process.line()?;
    let pid = process.pid();
    say::call(
        &format!("AttachPids test01 [{pid}]"),
        manager.attach_pids("test01", &[pid], &[]).await,
        |()| "moved".to_owned(),
    )?;
    say::kernel(format!("/proc/{pid}/cgroup").as_ref(), say::telling);
    limit(stage, &manager, &mut process).await?;
    say::call("List /", manager.list("/", 0, "", 0, &[]).await, |(rows, _)| {
        rows.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(" ")
    })?;
    drop(process);
    say::call("Remove test01", manager.remove("test01", &[]).await, |_| "removed".to_owned())?;
    Ok(())
}

/// Where memory is controlled: a limit, and a process that does not keep to it.
async fn limit(stage: &Stage, manager: &ManagerProxy<'_>, process: &mut Actor) -> Result<()> {
    let hierarchy = stage.hierarchy("memory");
    if !hierarchy.controllers.iter().any(|controller| controller == "memory") {
        say::text("  (memory is not controlled on this host)");
        return Ok(());
    }
    let v1 = hierarchy.version == Version::V1;
    let limits = HashMap::from([("memory.max", LIMIT)]);
    say::call(
        &format!("SetLimits test01 memory.max={LIMIT}"),
        manager.set_limits("test01", &limits, &[]).await,
        show,
    )?;
    let file = if v1 { "memory.limit_in_bytes" } else { "memory.max" };
    say::kernel(&stage.place(hierarchy, "test01").join(file), |_| true);
    process.cue()?;
    let said = process.line()?;
    let status = process.wait()?;
    say::text(format_args!(
        "  the process asks for {APPETITE} MiB ... {}",
        said.map_or_else(|| format!("ended by the kernel: {status}"), |line| line.clone())
    ));
    let events = if v1 { "memory.oom_control" } else { "memory.events" };
    say::call(
        &format!("ReadFile test01 {events}"),
        manager.read_file("test01", events).await,
        |text| text.lines().filter(|l| l.starts_with("oom_kill ")).collect::<Vec<_>>().join(", "),
    )?;
    Ok(())
}

fn show(limits: &HashMap<String, String>) -> String {
    let one = |(name, value): (&String, &String)| match value.parse() {
        Ok(bytes) => format!("{name}={value} ({})", format_size(bytes)),
        Err(_) => format!("{name}={value}"),
    };
    limits.iter().map(one).collect::<Vec<_>>().join(" ")
}
