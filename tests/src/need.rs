//! What a test needs of the machine. Where it is missing the test lists itself as ignored,
//! with the reason; where `CGROUPD_REQUIRE` names it, that is a failure instead.

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Completion, Failed, Trial};

/// The variable: names of [`Need`]s, with commas in between.
pub const VARIABLE: &str = "CGROUPD_REQUIRE";

/// A prerequisite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Uid 0.
    Root,
    /// A dbus-daemon to start.
    Bus,
    /// `SO_PEERPIDFD`, Linux 6.5.
    PeerPidfd,
    /// A kernel that lets root choose the next process number.
    ChosenPids,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Bus => "bus",
            Self::PeerPidfd => "peer-pidfd",
            Self::ChosenPids => "chosen-pids",
        }
    }

    /// Why it is not there.
    fn missing(self) -> Option<&'static str> {
        let (there, why) = match self {
            Self::Root => (nix::unistd::geteuid().is_root(), "not root"),
            Self::Bus => (runs("dbus-daemon"), "dbus-daemon is not installed"),
            Self::ChosenPids => (
                Path::new("/proc/sys/kernel/ns_last_pid").exists(),
                "the kernel is built without CHECKPOINT_RESTORE",
            ),
            Self::PeerPidfd => (linux() >= (6, 5), "SO_PEERPIDFD needs Linux 6.5"),
        };
        (!there).then_some(why)
    }

    fn is_required(self) -> bool {
        std::env::var(VARIABLE).is_ok_and(|list| list.split(',').any(|name| name == self.name()))
    }
}

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn linux() -> (u32, u32) {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_owned());
    let release = release.unwrap_or_default();
    let text = release.to_string_lossy();
    let mut parts = text.split(['.', '-']).map_while(|part| part.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// A test with prerequisites; it fails by panicking.
pub fn trial(name: &str, needs: &'static [Need], test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || {
        for need in needs {
            let Some(why) = need.missing() else { continue };
            return match need.is_required() {
                true => Err(Failed::from(format!("required, but {why}"))),
                false => Ok(Completion::ignored_with(why)),
            };
        }
        test();
        Ok(Completion::Completed)
    })
}
