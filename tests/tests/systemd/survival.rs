//! What is in the tree outlasts everything that happens to systemd and to the daemon.

use std::path::Path;

use cgroupd_tests::world::Sleeper;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::host::{Host, TREE, cgroup, holder, read};

/// A cgroup with limits and a process, and one with a limit and none.
struct Tree<'a> {
    host: &'a Host,
    sleeper: Sleeper,
}

impl<'a> Tree<'a> {
    fn grow(host: &'a Host) -> Self {
        let sleeper = Sleeper::start(0);
        host.ok("cgctl create full -m 64M --pids 20");
        host.ok("cgctl create empty/inner --pids 7");
        host.ok(&format!("cgctl move full {}", sleeper.pid()));
        let tree = Self { host, sleeper };
        tree.check();
        tree
    }

    /// Everything is as it was, for the kernel and for the daemon, and more can be made.
    fn check(&self) {
        self.check_kernel();
        self.host.wait_for_answers();
        assert_eq!(self.host.ok("cgctl get full"), "memory.max=64M\npids.max=20");
        assert_eq!(self.host.ok("cgctl get empty/inner"), "pids.max=7");
        self.host.ok("cgctl create more --pids 3");
        assert_eq!(read(&format!("{TREE}/more"), "pids.max"), "3");
        self.host.ok("cgctl rm more");
    }

    fn check_kernel(&self) {
        let (full, inner) = (format!("{TREE}/full"), format!("{TREE}/empty/inner"));
        assert_eq!(read(&full, "memory.max"), "67108864");
        assert_eq!(read(&full, "pids.max"), "20");
        assert_eq!(read(&full, "cgroup.procs"), self.sleeper.pid().to_string());
        assert_eq!(read(&inner, "pids.max"), "7");
        assert_eq!(read(&inner, "cgroup.procs"), "");
    }
}

/// Runs `command` with a tree in place; the holder and what it holds stay as they were.
fn survives(host: &Host, command: &str) {
    let tree = Tree::grow(host);
    let before = holder();
    host.ok(command);
    tree.check();
    assert_eq!(holder(), before);
}

pub(crate) fn of_a_reload(host: &Host) {
    survives(host, "systemctl daemon-reload");
}

pub(crate) fn of_a_reexecution(host: &Host) {
    survives(host, "systemctl daemon-reexec");
}

pub(crate) fn of_a_restart(host: &Host) {
    let before = host.main_pid("cgroupd.service");
    survives(host, "systemctl restart cgroupd.service");
    assert_ne!(host.main_pid("cgroupd.service"), before);
}

/// systemd starts it again, on its own.
pub(crate) fn of_a_kill(host: &Host) {
    let tree = Tree::grow(host);
    let before = host.main_pid("cgroupd.service");
    end(before);
    host.wait_until("the daemon is started again", || {
        ![0, before].contains(&host.main_pid("cgroupd.service"))
    });
    tree.check();
}

pub(crate) fn of_a_stop(host: &Host) {
    let tree = Tree::grow(host);
    host.ok("systemctl stop cgroupd.service");
    host.ok("systemctl daemon-reload");
    tree.check_kernel();
    assert_eq!(host.ok("systemctl is-active cgroupd-tree.service"), "active");
    host.ok("systemctl start cgroupd.service");
    tree.check();
}

/// The processes stay, with their limits; a new holder comes when the last of them has gone.
pub(crate) fn of_the_holders_death(host: &Host) {
    let tree = Tree::grow(host);
    let before = holder();
    end(before);
    host.wait_until("the holder is gone", || !Path::new(&format!("/proc/{before}")).exists());
    host.ok("systemctl daemon-reload");
    tree.check();
    assert_eq!(host.ok("systemctl is-active cgroupd-tree.service"), "active");
    drop(tree);
    host.wait_until("a new holder comes", || {
        ![0, before].contains(&host.main_pid("cgroupd-tree.service"))
            && host.run("cgctl create again --pids 7").code == Some(0)
    });
    assert_eq!(holder(), host.main_pid("cgroupd-tree.service"));
    assert_eq!(read(&format!("{TREE}/again"), "pids.max"), "7");
}

/// Stopping the tree is how everything in it is ended; the daemon's handles end with it.
pub(crate) fn a_new_tree(host: &Host) {
    let _tree = Tree::grow(host);
    let before = host.main_pid("cgroupd.service");
    host.ok("systemctl restart cgroupd-tree.service");
    assert!(!cgroup(TREE).join("full").exists(), "its processes are ended");
    host.wait_until("the daemon is started again", || {
        ![0, before].contains(&host.main_pid("cgroupd.service"))
    });
    host.wait_for_answers();
    host.ok("cgctl create full --pids 5");
    assert_eq!(read(&format!("{TREE}/full"), "pids.max"), "5");
}

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
}
