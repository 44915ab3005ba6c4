//! A blocking client of the private socket. Who it is was decided by the process that connected
//! the socket: this one, or a [`crate::peer::Peer`].

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cgroupd_proto::{
    CgroupRow, ErrorName, FileRow, INTERFACE, ManagerProxy, OBJECT_PATH, StatsRow,
};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use zbus::proxy::CacheProperties;
use zbus::zvariant::DynamicType;
use zbus::{Connection, DBusError, Fd, Message};

use crate::need::patience;

/// How long any call may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection and the runtime it lives on.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    manager: ManagerProxy<'static>,
    runtime: Runtime,
}

/// An error reply, or the end of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The D-Bus name; empty when there was no reply.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// What a call answers.
pub type Result<T> = std::result::Result<T, CallError>;

/// What Create answers: the path, the controllers, and whether it is new.
pub type Created = (String, Vec<String>, bool);

impl Client {
    /// Shakes hands over a connected socket.
    ///
    /// # Panics
    /// When the daemon does not take the peer.
    pub fn over(stream: UnixStream) -> Self {
        Self::try_over(stream).expect("the daemon takes the peer")
    }

    /// As [`Self::over`].
    ///
    /// # Errors
    /// When the daemon does not take the peer.
    pub fn try_over(stream: UnixStream) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connect = async {
            stream.set_nonblocking(true)?;
            let stream = tokio::net::UnixStream::from_std(stream)?;
            let builder = zbus::connection::Builder::unix_stream(stream.into_std()?).p2p();
            let connection = builder.method_timeout(patience(PATIENCE)).build().await?;
            let manager = ManagerProxy::builder(&connection)
                .cache_properties(CacheProperties::No)
                .build()
                .await?;
            Ok::<_, zbus::Error>((connection, manager))
        };
        let connected =
            runtime.block_on(async { tokio::time::timeout(patience(PATIENCE), connect).await });
        let silent = |_| zbus::Error::Failure("the handshake takes too long".to_owned());
        let (connection, manager) = connected.map_err(silent)??;
        Ok(Self { connection, manager, runtime })
    }

    /// The proxy, for use with [`Self::wait`].
    pub fn manager(&self) -> &ManagerProxy<'static> {
        &self.manager
    }

    /// The connection, for use with [`Self::wait`].
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs one call to its end.
    ///
    /// # Errors
    /// The error reply.
    pub fn wait<T>(&self, call: impl Future<Output = zbus::Result<T>>) -> Result<T> {
        self.runtime.block_on(call).map_err(CallError::from)
    }

    /// Calls any member of the manager with any body.
    ///
    /// # Errors
    /// The error reply.
    pub fn call<B>(&self, member: &str, body: &B) -> Result<Message>
    where
        B: Serialize + DynamicType,
    {
        self.call_at(OBJECT_PATH, Some(INTERFACE), member, body)
    }

    /// Calls anything.
    ///
    /// # Errors
    /// The error reply.
    pub fn call_at<B>(
        &self,
        path: &str,
        interface: Option<&str>,
        member: &str,
        body: &B,
    ) -> Result<Message>
    where
        B: Serialize + DynamicType,
    {
        let none = None::<&str>;
        self.wait(self.connection.call_method(none, path, interface, member, body))
    }

    /// Create, for the implied hierarchies.
    ///
    /// # Errors
    /// The error reply.
    pub fn create(&self, path: &str) -> Result<Created> {
        self.create_with(path, &[], &[])
    }

    /// Create with controllers and flags.
    ///
    /// # Errors
    /// The error reply.
    pub fn create_with(&self, path: &str, controllers: &[&str], flags: &[&str]) -> Result<Created> {
        self.create_and_attach(path, controllers, &[], flags)
    }

    /// Create with controllers and limits.
    ///
    /// # Errors
    /// The error reply.
    pub fn create_limited(
        &self,
        path: &str,
        controllers: &[&str],
        limits: &[(&str, &str)],
    ) -> Result<Created> {
        let limits: HashMap<&str, &str> = limits.iter().copied().collect();
        self.wait(self.manager.create(path, controllers, &limits, &[], &[]))
    }

    /// Create with everything but limits.
    ///
    /// # Errors
    /// The error reply.
    pub fn create_and_attach(
        &self,
        path: &str,
        controllers: &[&str],
        pidfds: &[BorrowedFd<'_>],
        flags: &[&str],
    ) -> Result<Created> {
        let pidfds: Vec<Fd<'_>> = pidfds.iter().map(|fd| Fd::from(*fd)).collect();
        self.wait(self.manager.create(path, controllers, &HashMap::new(), &pidfds, flags))
    }

    /// Remove.
    ///
    /// # Errors
    /// The error reply.
    pub fn remove(&self, path: &str, flags: &[&str]) -> Result<bool> {
        self.wait(self.manager.remove(path, flags))
    }

    /// Attach.
    ///
    /// # Errors
    /// The error reply.
    pub fn attach(&self, path: &str, pidfds: &[BorrowedFd<'_>], flags: &[&str]) -> Result<()> {
        let pidfds: Vec<Fd<'_>> = pidfds.iter().map(|fd| Fd::from(*fd)).collect();
        self.wait(self.manager.attach(path, &pidfds, flags))
    }

    /// AttachPids.
    ///
    /// # Errors
    /// The error reply.
    pub fn attach_pids(&self, path: &str, pids: &[u32], flags: &[&str]) -> Result<()> {
        self.wait(self.manager.attach_pids(path, pids, flags))
    }

    /// AttachPids with one process.
    ///
    /// # Errors
    /// The error reply.
    pub fn move_pid(&self, path: &str, pid: i32) -> Result<()> {
        self.attach_pids(path, &[pid.cast_unsigned()], &[])
    }

    /// SetLimits.
    ///
    /// # Errors
    /// The error reply.
    pub fn set_limits(
        &self,
        path: &str,
        limits: &[(&str, &str)],
        flags: &[&str],
    ) -> Result<HashMap<String, String>> {
        let limits: HashMap<&str, &str> = limits.iter().copied().collect();
        self.wait(self.manager.set_limits(path, &limits, flags))
    }

    /// ReadFile.
    ///
    /// # Errors
    /// The error reply.
    pub fn read(&self, path: &str, file: &str) -> Result<String> {
        self.wait(self.manager.read_file(path, file))
    }

    /// WriteFile.
    ///
    /// # Errors
    /// The error reply.
    pub fn write(&self, path: &str, file: &str, value: &str) -> Result<()> {
        self.wait(self.manager.write_file(path, file, value, &[]))
    }

    /// ListFiles.
    ///
    /// # Errors
    /// The error reply.
    pub fn files(&self, path: &str) -> Result<Vec<FileRow>> {
        self.wait(self.manager.list_files(path))
    }

    /// All pages of List, as paths.
    ///
    /// # Errors
    /// The error reply.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        let rows = self.rows(path, 0)?;
        Ok(rows.into_iter().map(|(path, _)| path).collect())
    }

    /// All pages of List, down to `depth` levels.
    ///
    /// # Errors
    /// The error reply.
    pub fn rows(&self, path: &str, depth: u32) -> Result<Vec<CgroupRow>> {
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.manager.list(path, depth, &after, 0, &["children"]);
            let (mut page, next) = self.wait(page)?;
            rows.append(&mut page);
            match next.as_str() {
                "" => return Ok(rows),
                _ => after = next,
            }
        }
    }

    /// Processes.
    ///
    /// # Errors
    /// The error reply.
    pub fn processes(&self, path: &str, flags: &[&str]) -> Result<Vec<u32>> {
        self.wait(self.manager.processes(path, flags))
    }

    /// CgroupOf, as a map from hierarchy to path.
    ///
    /// # Errors
    /// The error reply.
    pub fn cgroup_of(&self, pid: u32, flags: &[&str]) -> Result<HashMap<String, String>> {
        self.wait(self.manager.cgroup_of(pid, flags)).map(|rows| rows.into_iter().collect())
    }

    /// Stats.
    ///
    /// # Errors
    /// The error reply.
    pub fn stats(&self, paths: &[&str]) -> Result<Vec<StatsRow>> {
        self.wait(self.manager.stats(paths))
    }

    /// Freeze.
    ///
    /// # Errors
    /// The error reply.
    pub fn freeze(&self, path: &str) -> Result<()> {
        self.wait(self.manager.freeze(path, &[]))
    }

    /// Thaw.
    ///
    /// # Errors
    /// The error reply.
    pub fn thaw(&self, path: &str) -> Result<()> {
        self.wait(self.manager.thaw(path, &[]))
    }

    /// Kill.
    ///
    /// # Errors
    /// The error reply.
    pub fn kill(&self, path: &str, signal: u32) -> Result<u32> {
        self.wait(self.manager.kill(path, signal, &[]))
    }

    /// Chown.
    ///
    /// # Errors
    /// The error reply.
    pub fn chown(&self, path: &str, uid: u32, gid: u32, flags: &[&str]) -> Result<()> {
        self.wait(self.manager.chown(path, uid, gid, flags))
    }

    /// Delegate, without controllers: the path, and what was changed.
    ///
    /// # Errors
    /// The error reply.
    pub fn delegate(
        &self,
        path: &str,
        uid: u32,
        limits: &[(&str, &str)],
    ) -> Result<(String, HashMap<String, String>)> {
        let limits: HashMap<&str, &str> = limits.iter().copied().collect();
        self.wait(self.manager.delegate(path, uid, uid, &[], &limits, &[]))
    }

    /// As [`Self::delegate`], for its owner's processes to enter.
    ///
    /// # Errors
    /// The error reply.
    pub fn delegate_to_enter(&self, path: &str, uid: u32, controllers: &[&str]) -> Result<String> {
        let none = HashMap::new();
        let call = self.manager.delegate(path, uid, uid, controllers, &none, &["enter"]);
        self.wait(call).map(|(path, _)| path)
    }

    /// Undelegate.
    ///
    /// # Errors
    /// The error reply.
    pub fn undelegate(&self, path: &str, uid: u32) -> Result<()> {
        self.wait(self.manager.undelegate(path, uid, &[]))
    }

    /// Chmod.
    ///
    /// # Errors
    /// The error reply.
    pub fn chmod(&self, path: &str, file: &str, mode: u32) -> Result<()> {
        self.wait(self.manager.chmod(path, file, mode, &[]))
    }

    /// Accounts.
    ///
    /// # Errors
    /// The error reply.
    pub fn accounts(&self) -> Result<Vec<(String, String, u64, u64)>> {
        self.wait(self.manager.accounts())
    }

    /// WhoAmI.
    ///
    /// # Errors
    /// The error reply.
    pub fn who_am_i(&self) -> Result<HashMap<String, String>> {
        self.wait(self.manager.who_am_i())
    }

    /// The `class` of WhoAmI.
    ///
    /// # Panics
    /// When the caller cannot be identified.
    pub fn class(&self) -> String {
        self.who_am_i().expect("everybody may ask")["class"].clone()
    }
}

impl CallError {
    /// Which of the service's errors it is, if any.
    pub fn service(&self) -> Option<ErrorName> {
        ErrorName::from_wire(&self.name)
    }

    /// Whether it is `org.freedesktop.DBus.Error.` and `name`.
    pub fn is_fault(&self, name: &str) -> bool {
        self.name.strip_prefix("org.freedesktop.DBus.Error.") == Some(name)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}

impl From<zbus::Error> for CallError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                Self { name: name.to_string(), text: text.unwrap_or_default() }
            }
            zbus::Error::FDO(error) => Self {
                name: error.name().to_string(),
                text: error.description().unwrap_or_default().to_owned(),
            },
            error => Self { name: String::new(), text: error.to_string() },
        }
    }
}

/// Asserts that a call was refused with this name, and returns the text.
///
/// # Panics
/// When it was not.
#[track_caller]
pub fn refused<T: fmt::Debug>(result: Result<T>, name: ErrorName) -> String {
    let error = result.expect_err(&format!("{name:?} is expected"));
    assert_eq!(error.service(), Some(name), "{error}");
    error.text
}

/// Asserts that a call was refused with one of the uniform refusals: Denied, or NotFound for
/// what does not exist for the caller.
///
/// # Panics
/// When it was not.
#[track_caller]
pub fn denied<T: fmt::Debug>(result: Result<T>) -> String {
    let error = result.expect_err("a refusal is expected");
    let uniform = [Some(ErrorName::Denied), Some(ErrorName::NotFound)];
    assert!(uniform.contains(&error.service()), "{error}");
    error.text
}

/// Asserts that a call failed with a fault of D-Bus itself, and returns the text.
///
/// # Panics
/// When it did not.
#[track_caller]
pub fn fault<T: fmt::Debug>(result: Result<T>, name: &str) -> String {
    let error = result.expect_err(&format!("{name} is expected"));
    assert!(error.is_fault(name), "{error}");
    error.text
}
