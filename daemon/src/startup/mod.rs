//! From a command line to a daemon that serves, in the order that safety asks for: what it
//! is and may do is settled before the first descriptor of a peer exists.

mod abandoned;
mod failure;
mod hold;
mod home;
mod notify;
mod privileges;
mod reload;
mod serve;
mod settler;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use tokio::runtime::{Builder, Runtime};

use crate::api::Dispatcher;
use crate::caller::{Host, check_kernel};
use crate::cgroup::{Layout, LayoutError};
use crate::cli::Cli;
use crate::config::{self, Config};
use crate::log;
use crate::service::{Quota, Service};
pub use failure::Failure;
pub(crate) use hold::hold;
use notify::Notifier;
pub(crate) use privileges::require_root;
use serve::Daemon;
use settler::Settler;

/// Threads for writes that may wait; how many of them one client gets is `[limits]`' business.
const BLOCKING_THREADS: usize = 128;
/// Nothing recurses, and there may be many threads.
const STACK: usize = 512 << 10;

/// Serves until it is told to stop.
pub fn run(cli: &Cli) -> ExitCode {
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn start(cli: &Cli) -> Result<(), Failure> {
    require_root()?;
    let notifier = Notifier::new(cli.ready_fd)?;
    let config = config::load(&cli.sources(), &cli.overrides(), config::Groups::Later)?.config;
    let log = log::init(&config.log)?;
    privileges::settle()?;
    check_kernel()?;
    privileges::raise_descriptor_limit(&config.limits)?;
    let layout = Layout::detect(managed_root(&config)?)?;
    home::settle(&layout)?;
    let host = Host::read().map_err(Failure::kernel("read /proc/self/ns"))?;
    let dispatcher = dispatcher(&config, layout, host);
    abandoned::take_over(dispatcher.service());
    dispatcher.service().delegations.set(&config.delegate);
    let settler = Settler::start(Arc::clone(&dispatcher))?;

    let runtime = runtime()?;
    let daemon = Daemon { cli, config, log, notifier, dispatcher, host, settler };
    let deadline = runtime.block_on(daemon.serve())?;
    // A call that the kernel holds up past the deadline ends with the process.
    runtime.shutdown_timeout(deadline.saturating_duration_since(Instant::now()));
    Ok(())
}

fn dispatcher(config: &Config, layout: Layout, host: Host) -> Arc<Dispatcher> {
    let quota = Quota::new(config.quota.cgroups, config.quota.depth);
    let service = Arc::new(Service::with_limits(layout, host, quota, &config.limits));
    let id = zbus::Guid::generate().to_string();
    Arc::new(Dispatcher::new(service, id))
}

/// At least two workers, so that a system call that takes long leaves one.
fn runtime() -> Result<Runtime, Failure> {
    let workers = std::thread::available_parallelism().map_or(2, |cpus| cpus.get().max(2));
    Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK)
        .thread_name("cgroupd")
        .enable_all()
        .build()
        .map_err(|error| Failure::kernel("start threads")(crate::cgroup::handle::errno_of(error)))
}

/// What the configuration says, or what suits this host.
fn managed_root(config: &Config) -> Result<&str, LayoutError> {
    if config.root == config::AUTO { Layout::default_root() } else { Ok(&config.root) }
}

/// The line that tells an administrator what runs here.
fn describe(layout: &Layout, config: &Config) -> String {
    let mut controllers: Vec<&str> =
        layout.hierarchies.iter().flat_map(|h| h.controllers.iter().map(String::as_str)).collect();
    controllers.sort_unstable();
    let bus =
        if config.system_bus.enable { ", and on the system bus when there is one" } else { "" };
    let root = layout.hierarchies.first().map_or("", |hierarchy| &hierarchy.root_path);
    format!(
        "version {}, {} layout, controllers {}, root /{root}, serving on unix:path={}{bus}",
        env!("CARGO_PKG_VERSION"),
        layout.kind().as_str(),
        if controllers.is_empty() { "none".to_owned() } else { controllers.join(" ") },
        config.socket.path.display(),
    )
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::kernel("start")(errno)
    }
}
