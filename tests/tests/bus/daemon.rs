//! The transport under test, in this process, on a runtime of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cgroupd::api::Dispatcher;
use cgroupd::caller::Host;
use cgroupd::cgroup::Layout;
use cgroupd::service::{Quota, Service};
use cgroupd::transport::Limits;
use cgroupd::transport::system_bus::SystemBus;
use cgroupd_proto::{BUS_NAME, INTERFACE, OBJECT_PATH};
use cgroupd_tests::bus::Bus;
use cgroupd_tests::cgroups::Cgroups;
use cgroupd_tests::need::patience;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use zbus::{Connection, Message};

/// A running transport; it stops when it is dropped.
pub(crate) struct Daemon {
    service: Arc<Service>,
    transport: Arc<SystemBus>,
    stop: Option<oneshot::Sender<()>>,
    runtime: Runtime,
}

impl Daemon {
    pub(crate) fn start(bus: &Bus) -> Self {
        Self::with(bus, Limits::default(), false)
    }

    pub(crate) fn with(bus: &Bus, limits: Limits, trust_pid: bool) -> Self {
        Self::of(bus, Layout { hierarchies: Vec::new() }, limits, trust_pid)
    }

    /// One that manages these cgroups.
    pub(crate) fn managing(bus: &Bus, cgroups: &Cgroups) -> Self {
        let layout = Layout::detect(&cgroups.path()).expect("cgroup file systems");
        Self::of(bus, layout, Limits::default(), false)
    }

    pub(crate) fn of(bus: &Bus, layout: Layout, limits: Limits, trust_pid: bool) -> Self {
        let host = Host::read().expect("/proc is mounted");
        let service = Arc::new(Service::with_limits(layout, host, Quota::new(100, 10), &limits));
        let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&service), "0".repeat(32)));
        let transport =
            SystemBus::new(dispatcher, host, watch::channel(limits).1, trust_pid).at(bus.address());
        let transport = Arc::new(transport);
        let (stop, stopped) = oneshot::channel();
        let runtime = Runtime::new().expect("threads");
        let running = Arc::clone(&transport);
        runtime.spawn(async move {
            running.run(async { drop(stopped.await) }).await;
        });
        Self { service, transport, stop: Some(stop), runtime }
    }

    /// Starts it and waits until its name is owned.
    pub(crate) fn joined(bus: &Bus) -> Self {
        let daemon = Self::start(bus);
        daemon.wait_joined(bus, Duration::from_secs(5));
        daemon
    }

    /// Waits for the name.
    pub(crate) fn wait_joined(&self, bus: &Bus, most: Duration) {
        self.block_on(async {
            let client = connect(bus).await;
            let end = Instant::now() + patience(most);
            while !has_owner(&client).await {
                assert!(Instant::now() < end, "the name has no owner after {most:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }

    /// Waits until the daemon knows this process for one that nobody stops.
    pub(crate) fn wait_guarded(&self, pid: i32) {
        let end = Instant::now() + patience(Duration::from_secs(5));
        while self.service.guarded.what(pid) != Some("the system bus") {
            assert!(Instant::now() < end, "{pid} is nobody in particular");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn clients(&self) -> usize {
        self.transport.clients()
    }

    /// Waits until there are exactly so many clients.
    pub(crate) fn wait_clients(&self, wanted: usize) {
        let end = Instant::now() + patience(Duration::from_secs(5));
        while self.clients() != wanted {
            assert!(Instant::now() < end, "{} clients, not {wanted}", self.clients());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// An ordinary client.
pub(crate) async fn connect(bus: &Bus) -> Connection {
    let address = bus.address();
    let builder = zbus::connection::Builder::address(address.as_str());
    builder.build().await.expect("the bus runs")
}

pub(crate) async fn has_owner(client: &Connection) -> bool {
    let driver = "org.freedesktop.DBus";
    let reply = client
        .call_method(Some(driver), "/org/freedesktop/DBus", Some(driver), "NameHasOwner", &BUS_NAME)
        .await;
    reply.and_then(|reply| reply.body().deserialize()).expect("the bus answers")
}

pub(crate) async fn ping(client: &Connection) -> zbus::Result<Message> {
    let peer = "org.freedesktop.DBus.Peer";
    client.call_method(Some(BUS_NAME), OBJECT_PATH, Some(peer), "Ping", &()).await
}

/// Ping as a message, for clients of bare bytes.
pub(crate) fn ping_call() -> Message {
    call("org.freedesktop.DBus.Peer", "Ping")
}

/// WhoAmI as a message.
pub(crate) fn who_am_i_call() -> Message {
    call(INTERFACE, "WhoAmI")
}

/// CgroupOf as a message.
pub(crate) fn cgroup_of_call(pid: u32) -> Message {
    let call = Message::method_call(OBJECT_PATH, "CgroupOf").destination(BUS_NAME);
    call.interface(INTERFACE).build(&(pid, Vec::<&str>::new())).expect("valid")
}

pub(crate) fn call(interface: &'static str, member: &'static str) -> Message {
    let call = Message::method_call(OBJECT_PATH, member);
    call.destination(BUS_NAME).interface(interface).build(&()).expect("valid")
}
