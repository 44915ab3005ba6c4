//! The client's side of the interface.

use std::collections::HashMap;

use zbus::Fd;

/// A cgroup in a listing: its path in the caller's view, and what is known of it.
pub type CgroupRow = (String, HashMap<String, String>);
/// An interface file: its name and its owner and mode.
pub type FileRow = (String, HashMap<String, String>);
/// What a cgroup uses: its path in the caller's view, and numbers by name.
pub type StatsRow = (String, HashMap<String, u64>);
/// A controller: its name, and `version`, `hierarchy` and `mount`.
pub type ControllerRow = (String, HashMap<String, String>);

/// `org.cgroupd1.Manager`. What each method does, and its flags, is in the README.
#[zbus::proxy(
    interface = "org.cgroupd1.Manager",
    default_service = "org.cgroupd1",
    default_path = "/org/cgroupd1"
)]
pub trait Manager {
    /// Makes a cgroup and its parents, sets limits, attaches processes. Answers its path,
    /// the controllers it exists for, and whether it is new.
    fn create(
        &self,
        path: &str,
        controllers: &[&str],
        limits: &HashMap<&str, &str>,
        pidfds: &[Fd<'_>],
        flags: &[&str],
    ) -> zbus::Result<(String, Vec<String>, bool)>;

    /// Removes a cgroup from every hierarchy it exists in.
    fn remove(&self, path: &str, flags: &[&str]) -> zbus::Result<bool>;

    /// Moves processes, named by pidfds, into a cgroup.
    fn attach(&self, path: &str, pidfds: &[Fd<'_>], flags: &[&str]) -> zbus::Result<()>;

    /// Moves processes, named by numbers of the caller's pid namespace, into a cgroup.
    fn attach_pids(&self, path: &str, pids: &[u32], flags: &[&str]) -> zbus::Result<()>;

    /// Sets limits, all or none. Answers what the kernel made of them.
    fn set_limits(
        &self,
        path: &str,
        limits: &HashMap<&str, &str>,
        flags: &[&str],
    ) -> zbus::Result<HashMap<String, String>>;

    /// Reads limits; no names: every one that is set.
    fn get_limits(&self, path: &str, names: &[&str]) -> zbus::Result<HashMap<String, String>>;

    /// Reads one interface file, up to 1 MiB.
    fn read_file(&self, path: &str, file: &str) -> zbus::Result<String>;

    /// Writes one line, up to 4 KiB, to one interface file.
    fn write_file(&self, path: &str, file: &str, value: &str, flags: &[&str]) -> zbus::Result<()>;

    /// The interface files of a cgroup.
    fn list_files(&self, path: &str) -> zbus::Result<Vec<FileRow>>;

    /// The cgroups below `path`, down to `depth` levels (0: all), at most `limit` (0: a
    /// thousand), after the one called `after`. The second value starts the next page.
    fn list(
        &self,
        path: &str,
        depth: u32,
        after: &str,
        limit: u32,
        flags: &[&str],
    ) -> zbus::Result<(Vec<CgroupRow>, String)>;

    /// The processes in a cgroup that the caller's pid namespace can see.
    fn processes(&self, path: &str, flags: &[&str]) -> zbus::Result<Vec<u32>>;

    /// The cgroups of a process: hierarchy and path.
    fn cgroup_of(&self, pid: u32, flags: &[&str]) -> zbus::Result<Vec<(String, String)>>;

    /// What cgroups use, as numbers: bytes, microseconds, counts. Those that are not there are left
    /// out.
    fn stats(&self, paths: &[&str]) -> zbus::Result<Vec<StatsRow>>;

    /// Stops all processes of a cgroup; done when it answers, or not at all.
    fn freeze(&self, path: &str, flags: &[&str]) -> zbus::Result<()>;

    /// Lets them run again.
    fn thaw(&self, path: &str, flags: &[&str]) -> zbus::Result<()>;

    /// Signals all processes of a cgroup and those below it, with SIGKILL until none is left.
    /// Answers how many.
    fn kill(&self, path: &str, signal: u32, flags: &[&str]) -> zbus::Result<u32>;

    /// Gives a cgroup to ids of the caller's user namespace.
    fn chown(&self, path: &str, uid: u32, gid: u32, flags: &[&str]) -> zbus::Result<()>;

    /// Makes a cgroup or takes one, enables the controllers for it, sets limits, and hands it over.
    /// Answers its path and what was changed.
    fn delegate(
        &self,
        path: &str,
        uid: u32,
        gid: u32,
        controllers: &[&str],
        limits: &HashMap<&str, &str>,
        flags: &[&str],
    ) -> zbus::Result<(String, HashMap<String, String>)>;

    /// Takes back a user's cgroup without processes, and removes it.
    fn undelegate(&self, path: &str, uid: u32, flags: &[&str]) -> zbus::Result<()>;

    /// Changes the mode of a file, or of the directory when `file` is empty.
    fn chmod(&self, path: &str, file: &str, mode: u32, flags: &[&str]) -> zbus::Result<()>;

    /// Has signals `Event` sent for what happens in a cgroup; no names: all that can be told.
    fn watch(&self, path: &str, events: &[&str], flags: &[&str]) -> zbus::Result<u32>;

    /// Ends a watch of this client.
    fn unwatch(&self, id: u32) -> zbus::Result<()>;

    /// Something happened; `count` is the kernel's, or 0.
    #[zbus(signal)]
    fn event(&self, id: u32, path: &str, event: &str, count: u64) -> zbus::Result<()>;

    /// What peers hold and cause at present, for host root: an account or several together, a
    /// resource, how much of it is charged, and how much may be.
    fn accounts(&self) -> zbus::Result<Vec<(String, String, u64, u64)>>;

    /// What the daemon thinks of the caller.
    #[zbus(name = "WhoAmI")]
    fn who_am_i(&self) -> zbus::Result<HashMap<String, String>>;

    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;

    /// `legacy`, `hybrid` or `unified`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn layout(&self) -> zbus::Result<String>;

    /// The controllers and where they are.
    #[zbus(property(emits_changed_signal = "const"))]
    fn controllers(&self) -> zbus::Result<Vec<ControllerRow>>;

    /// What this kernel offers that the daemon uses.
    #[zbus(property(emits_changed_signal = "const"))]
    fn features(&self) -> zbus::Result<Vec<String>>;
}
