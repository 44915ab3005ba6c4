//! What a container runtime asks of cgroupd: a cgroup with limits and the payload in it, in one
//! call; what the kernel made of the limits; and its end.
//!
//! `cargo run -p cgroupd-proto --example runtime [NAME]`, with `CGROUPD_ADDRESS` for another
//! socket. As an ordinary user it needs a cgroup that was delegated to it.
use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use cgroupd_proto::{ADDRESS_VARIABLE, DEFAULT_SOCKET, ManagerProxy};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use zbus::connection::Builder;
use zbus::proxy::CacheProperties;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "runtime-example".to_owned());
    let address = std::env::var(ADDRESS_VARIABLE);
    let address = address.unwrap_or_else(|_| format!("unix:path={DEFAULT_SOCKET}"));
    let connection = Builder::address(address.as_str()).p2p().build().await?;
    let manager =
        ManagerProxy::builder(&connection).cache_properties(CacheProperties::No).build().await?;

    let mut payload = Payload::start(&["sleep", "0.2"])?;
    let result = contain(&manager, &name, &mut payload).await;
    payload.child.kill()?;
    payload.child.wait()?;
    // The payload has been waited for, so the cgroup is empty.
    let removed = manager.remove(&name, &[]).await;
    result?;
    println!("removed: {}", removed?);
    Ok(())
}

/// Creates the cgroup around the payload, then lets it go.
async fn contain(
    manager: &ManagerProxy<'_>,
    name: &str,
    payload: &mut Payload,
) -> Result<(), Box<dyn Error>> {
    let limits = HashMap::from([("memory.max", "64M"), ("pids.max", "32")]);
    // No controllers named: all there are. Either everything is done or nothing.
    let (path, controllers, created) =
        manager.create(name, &[], &limits, &[payload.pidfd.as_fd().into()], &[]).await?;
    println!("{path} (new: {created}) for {}", controllers.join(", "));
    payload.go()?;

    for (limit, value) in manager.get_limits(name, &["memory.max", "pids.max"]).await? {
        println!("{limit} = {value}");
    }
    println!("processes: {:?}", manager.processes(name, &[]).await?);
    payload.child.wait()?;
    Ok(())
}

/// A process that does nothing until it is told to: it must not run before it is limited.
struct Payload {
    child: Child,
    pidfd: OwnedFd,
}

impl Payload {
    fn start(command: &[&str]) -> Result<Self, Box<dyn Error>> {
        let wait = ["-c", "read _ && exec \"$@\"", "sh"];
        let child = Command::new("sh").args(wait).args(command).stdin(Stdio::piped()).spawn()?;
        // A child that was not waited for keeps its number, so this cannot be somebody else.
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Self { child, pidfd })
    }

    fn go(&mut self) -> std::io::Result<()> {
        self.child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(b"\n"))
    }
}
