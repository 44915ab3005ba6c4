//! From what somebody calls a block device to its number, which is what the kernel takes.

use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::Device;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat, major, minor};

use crate::cgroup::Actor;
use crate::cgroup::handle::errno_of;
use crate::{Error, Result, known};

/// The device's number, `254:0`. Paths are the daemon's host's, looked up as the caller, and on
/// the file system of `/dev` alone: `/dev/shm` is anybody's, and a link there may lead to a file
/// system that never answers.
///
/// # Errors
/// InvalidLimit when there is no such block device.
pub(super) fn number(device: &Device, actor: &Actor) -> Result<String> {
    let number = match device {
        Device::Number { major, minor } => Ok(Some(format!("{major}:{minor}"))),
        Device::Path(path) => actor.run(|| number_of_file(path)),
        Device::Name(name) => actor.run(|| number_of_name(name)),
    };
    // Whatever else the kernel answers says that the caller reaches no such device.
    let number = known(number).map_err(|errno| Error::kernel(format_args!("open {device}"), errno));
    number?.flatten().ok_or_else(|| {
        Error::new(ErrorName::InvalidLimit, format!("{device} is not a block device of this host"))
            .hint("`lsblk` lists them; the number works everywhere, for example 254:0")
    })
}

fn number_of_file(path: &str) -> nix::Result<Option<String>> {
    let Some(below) = path.strip_prefix("/dev/") else { return Ok(None) };
    let dev = open("/dev", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_XDEV
            | ResolveFlag::RESOLVE_NO_MAGICLINKS,
    );
    let stat = fstat(openat2(&dev, below, how)?)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    let is_block = kind == SFlag::S_IFBLK;
    Ok(is_block.then(|| format!("{}:{}", major(stat.st_rdev), minor(stat.st_rdev))))
}

fn number_of_name(name: &str) -> nix::Result<Option<String>> {
    let text = std::fs::read_to_string(format!("/sys/class/block/{name}/dev")).map_err(errno_of)?;
    Ok(Some(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_block_devices_have_numbers() {
        let path = |path: &str| number(&Device::Path(path.to_owned()), &Actor::Root);
        let error = path("/dev/null").unwrap_err();
        assert_eq!(error.name, ErrorName::InvalidLimit);
        assert!(error.text.starts_with("/dev/null is not a block device"));
        assert!(path("/dev/cgroupd-no-such").is_err());
        for block in std::fs::read_dir("/sys/class/block").unwrap() {
            let device = format!("/dev/{}", block.unwrap().file_name().display());
            if std::path::Path::new(&device).exists() {
                assert!(path(&device).is_ok(), "{device}");
            }
        }
        let given = Device::Number { major: 254, minor: 0 };
        assert_eq!(number(&given, &Actor::Root).unwrap(), "254:0");
    }

    #[test]
    fn no_other_file_system_is_asked() {
        let of = |path: &str| number_of_file(path).ok().flatten();
        let shm = std::path::Path::new("/dev/shm/cgroupd-test-device");
        let block = std::fs::read_dir("/dev").unwrap().flatten().map(|entry| entry.path());
        let block = block.filter(|path| path.to_str().is_some_and(|path| of(path).is_some()));
        let Some(block) = block.last() else { return };
        if std::os::unix::fs::symlink(&block, shm).is_err() {
            return;
        }
        let found = of(shm.to_str().unwrap());
        std::fs::remove_file(shm).unwrap();
        assert_eq!(found, None);
        let open = std::fs::File::open(&block);
        let magic = open.map(|file| {
            use std::os::fd::AsRawFd;
            of(&format!("/dev/fd/{}", file.as_raw_fd()))
        });
        assert!(matches!(magic, Err(_) | Ok(None)));
    }
}
