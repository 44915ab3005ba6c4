//! A transport that runs in this process, and what it costs the process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cgroupd::api::Dispatcher;
use cgroupd::caller::Host;
use cgroupd::cgroup::Layout;
use cgroupd::service::{Quota, Service};
use cgroupd::transport::{Limits, Peers, PrivateSocket};
use tokio::sync::{oneshot, watch};

use crate::peer::Peer;

/// Serves until dropped, on a socket in a directory of its own.
pub(crate) struct Server {
    pub(crate) path: PathBuf,
    directory: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Deadlines of a second, so that a test may wait for them.
pub(crate) fn limits() -> Limits {
    Limits { handshake_seconds: 1, write_seconds: 1, ..Limits::default() }
}

pub(crate) fn dispatcher(limits: Limits) -> (Arc<Dispatcher>, Host) {
    let host = Host::read().expect("own namespaces");
    let layout = Layout::detect(&cgroupd_tests::place::root()).expect("cgroup hierarchies");
    let service = Arc::new(Service::with_limits(layout, host, Quota::default(), &limits));
    let id = "0123456789abcdef0123456789abcdef".to_owned();
    (Arc::new(Dispatcher::new(service, id)), host)
}

/// A directory that everybody may look into; removed by whoever made it.
pub(crate) fn directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("cgroupd-test-wire-{}-{number}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir(&directory).expect("a temporary directory");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("chmod");
    directory
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(limits())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let directory = directory();
        let path = directory.join("cgroupd.sock");
        let (file, socket) = PrivateSocket::bind(&path, 0o666, None).expect("bind");
        let (stop, stopped) = oneshot::channel::<()>();
        let (dispatcher, host) = dispatcher(limits);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            let shutdown = async { stopped.await.unwrap_or(()) };
            let peers = Arc::new(Peers::new(dispatcher, host, watch::channel(limits).1));
            runtime.block_on(socket.serve(peers, shutdown)).expect("serve");
            drop(file);
        });
        Self { path, directory, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> Peer {
        Peer::connect(&self.path).expect("connect")
    }

    /// A peer that has shaken hands, with descriptors agreed on.
    pub(crate) fn peer(&self) -> Peer {
        let mut peer = self.connect();
        peer.authenticate().expect("authenticate");
        peer
    }

    /// Whether a new peer is served, and how long a call of it takes.
    pub(crate) fn answers(&self) -> Duration {
        let start = Instant::now();
        self.peer().ping().expect("an honest peer is answered");
        start.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let panicked = self.thread.take().is_some_and(|thread| thread.join().is_err());
        let _ = fs::remove_dir_all(&self.directory);
        assert!(!panicked || std::thread::panicking(), "the server panicked");
    }
}

/// How many descriptors this process has open.
pub(crate) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// Waits until no more descriptors are open than `before`.
pub(crate) fn no_more_files_than(before: usize) {
    let start = Instant::now();
    while open_files() > before {
        assert!(start.elapsed() < Duration::from_secs(5), "{} > {before} files", open_files());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Resident memory of this process, in KiB.
pub(crate) fn resident() -> i64 {
    let text = fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages: i64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("statm");
    pages * 4
}

/// Runs `work`, which may make this process grow by at most `most` KiB, when looked at every
/// few milliseconds.
pub(crate) fn grows_at_most<T>(most: i64, work: impl FnOnce() -> T) -> T {
    use std::sync::atomic::AtomicBool;
    let before = resident();
    let done = AtomicBool::new(false);
    let (result, peak) = std::thread::scope(|threads| {
        let watch = threads.spawn(|| {
            let mut peak = before;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(resident());
                std::thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        (result, watch.join().expect("the watch"))
    });
    let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert!(peak - before <= most, "grew by {} KiB, at most {most} are allowed", peak - before);
    result
}
