//! What the play needs: a daemon on a socket, and everything taken down at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cgroupd_proto::ManagerProxy;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use zbus::Connection;
use zbus::connection::Builder;

use super::say::Result;
use crate::api::Dispatcher;
use crate::caller::Host;
use crate::cgroup::{Hierarchy, Layout};
use crate::service::{Quota, Service};
use crate::transport::{Limits, Peers, PrivateSocket, SocketFile};

/// A running service and where it is.
pub(super) struct Stage {
    pub(super) runtime: Runtime,
    pub(super) service: Arc<Service>,
    pub(super) socket: PathBuf,
    /// The managed root, made for the play; without a leading `/`.
    pub(super) root: String,
    directory: PathBuf,
    _file: SocketFile,
    curtain: oneshot::Sender<()>,
}

impl Stage {
    /// Below the cgroup `above`.
    pub(super) fn set(above: &str) -> Result<Self> {
        let name = format!("cgroupd-demo-{}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        let above = above.trim_matches('/');
        let root = if above.is_empty() { name } else { format!("{above}/{name}") };
        let layout = Layout::detect(&format!("/{root}"))?;
        std::fs::create_dir(&directory)?;
        let socket = directory.join("cgroupd.sock");
        let host = Host::read()?;
        let service = Arc::new(Service::new(layout, host, Quota::default()));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (curtain, falls) = oneshot::channel::<()>();
        let (file, listening) = {
            let _in = runtime.enter();
            PrivateSocket::bind(&socket, 0o666, None)?
        };
        let limits = Limits::default();
        let id = zbus::Guid::generate().to_string();
        let dispatcher = Dispatcher::new(Arc::clone(&service), id);
        let (_, fixed) = watch::channel(limits);
        let peers = Arc::new(Peers::new(Arc::new(dispatcher), host, fixed));
        runtime.spawn(listening.serve(peers, async {
            let _ = falls.await;
        }));
        Ok(Self { runtime, service, socket, root, directory, _file: file, curtain })
    }

    /// A hierarchy that has `controller`, or any.
    pub(super) fn hierarchy(&self, controller: &str) -> &Hierarchy {
        let layout = &self.service.layout;
        &layout.hierarchies[layout.find(controller).unwrap_or(0)]
    }

    /// Where a cgroup of the play lies in a hierarchy's file system.
    pub(super) fn place(&self, hierarchy: &Hierarchy, path: &str) -> PathBuf {
        hierarchy.mount.join(&self.root).join(path)
    }

    /// Ends the service and removes the managed root, in every hierarchy.
    pub(super) fn clear(self) -> Result<()> {
        let _ = self.curtain.send(());
        self.runtime.shutdown_timeout(Duration::from_secs(2));
        for hierarchy in &self.service.layout.hierarchies {
            remove_tree(&hierarchy.mount.join(&self.root));
        }
        std::fs::remove_dir_all(&self.directory)?;
        Ok(())
    }
}

/// A client of the service, without a bus.
pub(super) async fn connect(socket: &Path) -> Result<(Connection, ManagerProxy<'static>)> {
    let stream = std::os::unix::net::UnixStream::connect(socket)?;
    let connection = Builder::unix_stream(stream).p2p().build().await?;
    let manager = ManagerProxy::builder(&connection)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await?;
    Ok((connection, manager))
}

/// Removes an empty cgroup and its children; processes that are ending are waited for.
fn remove_tree(path: &Path) {
    let children = std::fs::read_dir(path).into_iter().flatten().flatten();
    for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&child.path());
    }
    for _ in 0..50 {
        match std::fs::remove_dir(path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => return,
        }
    }
}
