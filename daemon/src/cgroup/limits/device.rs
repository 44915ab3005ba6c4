//! From what somebody calls a block device to its number, which is what the kernel takes.

use cgroupd_proto::ErrorName;
use cgroupd_proto::limit::Device;
use nix::sys::stat::{SFlag, major, minor, stat};

use crate::cgroup::Actor;
use crate::{Error, Result};

/// The device's number, `254:0`. Paths are the daemon's host's, looked up as the caller.
///
/// # Errors
/// InvalidLimit when there is no such block device.
pub(super) fn number(device: &Device, actor: &Actor) -> Result<String> {
    let number = match device {
        Device::Number { major, minor } => Some(format!("{major}:{minor}")),
        Device::Path(path) => actor.run(|| number_of_file(path)),
        Device::Name(name) => actor.run(|| number_of_name(name)),
    };
    number.ok_or_else(|| {
        Error::new(ErrorName::InvalidLimit, format!("{device} is not a block device of this host"))
            .hint("`lsblk` lists them; the number works everywhere, for example 254:0")
    })
}

fn number_of_file(path: &str) -> Option<String> {
    let stat = stat(path).ok()?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    (kind == SFlag::S_IFBLK).then(|| format!("{}:{}", major(stat.st_rdev), minor(stat.st_rdev)))
}

fn number_of_name(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/sys/class/block/{name}/dev")).ok()?;
    Some(text.trim().to_owned())
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
        let given = Device::Number { major: 254, minor: 0 };
        assert_eq!(number(&given, &Actor::Root).unwrap(), "254:0");
    }
}
