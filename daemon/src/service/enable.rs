//! Controllers on cgroup v2: a cgroup has a controller's files only when its parent enables it
//! for its children. They are enabled on the way down, with the caller's identity, so that the
//! files that appear belong to it; never above its scope.

use cgroupd_proto::ErrorName;
use nix::errno::Errno;

use super::Request;
use super::target::{Cgroup, Target, shown};
use crate::cgroup::{Dir, Version};
use crate::{Error, Result};

const ENABLED: &str = "cgroup.subtree_control";
const AVAILABLE: &str = "cgroup.controllers";

impl Request<'_> {
    /// Whether the top of the caller's scope has the controllers, so that they can be enabled
    /// on the way down.
    ///
    /// # Errors
    /// NotSupported, with the controller that is missing.
    pub(super) fn check_available(&self, target: &Target, controllers: &[String]) -> Result<()> {
        if self.hierarchy(target.hierarchy).version == Version::V1 || controllers.is_empty() {
            return Ok(());
        }
        let available = words_of(&target.scope.dir, AVAILABLE)?;
        match controllers.iter().find(|controller| !available.contains(controller)) {
            None => Ok(()),
            Some(missing) => Err(not_available(missing)),
        }
    }

    /// Enables the controllers in every cgroup from the scope's top to the target's parent.
    ///
    /// # Errors
    /// Busy while one of them has processes of its own; Denied where the caller may not.
    pub(super) fn enable(&self, target: &Target, controllers: &[String]) -> Result<()> {
        if self.hierarchy(target.hierarchy).version == Version::V1 || controllers.is_empty() {
            return Ok(());
        }
        for depth in 0..target.names.len() {
            let names = &target.names[..depth];
            let dir = self
                .open(&target.scope.dir, names)
                .map_err(|errno| Error::kernel(format_args!("open {}", shown(names)), errno))?;
            let target = Target { names: names.to_vec(), ..target.clone() };
            self.enable_in(&Cgroup { target, dir }, controllers)?;
        }
        Ok(())
    }

    fn enable_in(&self, parent: &Cgroup, controllers: &[String]) -> Result<()> {
        let enabled = words_of(&parent.dir, ENABLED)?;
        let missing: Vec<String> = controllers
            .iter()
            .filter(|controller| !enabled.contains(controller))
            .map(|controller| format!("+{controller}"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let actor = self.may_set(parent, ENABLED)?;
        let line = missing.join(" ");
        let path = parent.target.shown();
        actor.run(|| parent.dir.write(ENABLED, &line)).map_err(|errno| {
            let what = format!("enable {line} in {path}");
            match errno {
                Errno::EBUSY => Error::kernel(what, errno).hint(format!(
                    "{path} has processes of its own: move them to a cgroup below it first"
                )),
                Errno::ENOENT => not_available(&line[1..]),
                errno => Error::kernel(what, errno),
            }
        })
    }
}

fn words_of(dir: &Dir, file: &str) -> Result<Vec<String>> {
    let text = dir.read(file).map_err(|errno| Error::kernel(format_args!("read {file}"), errno))?;
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

fn not_available(controller: &str) -> Error {
    let text = format!("the controller {controller} is not available in the caller's scope");
    Error::new(ErrorName::NotSupported, text)
        .hint("whoever set up the scope enables it in cgroup.subtree_control above it")
}
