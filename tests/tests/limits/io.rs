//! I/O: rows by device, of which a write changes only what it names.

use cgroupd::cgroup::Version;
use cgroupd_proto::ErrorName;
use libtest_mimic::Trial;

use crate::cgroup::Cgroup;
use crate::{Prerequisite, has, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("v1_io_max_is_four_files", disks, four_files),
        test("v1_io_max_takes_paths_names_and_numbers", disks, spellings),
        test("v1_io_max_is_restored_device_by_device", disks, restores),
        test("v1_io_weight_has_a_default_and_rows", weights, weight),
    ]
}

/// Two devices with throttling; the loop devices have it even when nothing is behind them.
fn disks() -> Prerequisite {
    has("blkio", Version::V1)?;
    let has = |name: &str| std::path::Path::new("/dev").join(name).exists();
    if has("loop0") && has("loop1") { Ok(()) } else { Err("needs loop0 and loop1".to_owned()) }
}

fn weights() -> Prerequisite {
    has("blkio", Version::V1)?;
    match Cgroup::new().dir_of("blkio").stat_at("blkio.bfq.weight_device") {
        Ok(_) => Ok(()),
        Err(_) => Err("needs the BFQ scheduler".to_owned()),
    }
}

fn four_files() {
    let cgroup = Cgroup::new();
    let set = cgroup.set(&[("io.max", "7:0 rbps=10M wiops=100")]).unwrap();
    assert_eq!(set["io.max"], "7:0 rbps=10485760 wbps=max riops=max wiops=100");
    assert_eq!(cgroup.raw("blkio", "blkio.throttle.read_bps_device"), "7:0 10485760");
    let limits = [("io.max", "7:0 rbps=max wbps=1K; 7:1 riops=7")];
    let expected = cgroup.expected(&limits);
    let set = cgroup.set(&limits).unwrap();
    assert_eq!(
        set["io.max"],
        "7:0 rbps=max wbps=1024 riops=max wiops=100; 7:1 rbps=max wbps=max riops=7 wiops=max"
    );
    assert_eq!(set, expected);
    // What is read can be set again.
    assert_eq!(cgroup.set(&[("io.max", &set["io.max"])]).unwrap(), set);
    let none = "7:0 wbps=max wiops=max; 7:1 riops=max";
    assert_eq!(cgroup.set(&[("io.max", none)]).unwrap()["io.max"], "");
    assert!(cgroup.all_set().is_empty());
}

fn spellings() {
    let cgroup = Cgroup::new();
    for device in ["/dev/loop0", "loop0", "7:0"] {
        let set = cgroup.set(&[("io.max", &format!("{device} rbps=1M"))]).expect(device);
        assert!(set["io.max"].starts_with("7:0 rbps=1048576 "), "{device}");
    }
    for (device, what) in [("/dev/null", "is not a block device"), ("nosuch", "is not a block")] {
        let error = cgroup.refused(&[("io.max", &format!("{device} rbps=1M"))]);
        assert_eq!(error.name, ErrorName::InvalidLimit);
        assert!(error.text.starts_with(&format!("io.max: {device} {what}")), "{error}");
    }
}

fn restores() {
    let cgroup = Cgroup::new();
    cgroup.set(&[("io.max", "7:0 rbps=1M wbps=2M")]).unwrap();
    let before = cgroup.get("io.max");
    let error = cgroup.refused(&[("io.max", "7:0 rbps=3M; 7:1 rbps=4M; 7:9999 rbps=5M")]);
    assert_eq!(error.name, ErrorName::InvalidLimit, "{error}");
    assert!(error.text.ends_with("; restored: io.max"), "{error}");
    assert_eq!(cgroup.get("io.max"), before);
}

fn weight() {
    let cgroup = Cgroup::new();
    assert_eq!(cgroup.get("io.weight"), "default 100");
    assert_eq!(cgroup.set(&[("io.weight", "50")]).unwrap()["io.weight"], "default 50");
    assert_eq!(cgroup.all_set()["io.weight"], "default 50");
    let limits = [("io.weight", "default 10000")];
    let expected = cgroup.expected(&limits);
    assert_eq!(cgroup.set(&limits).unwrap(), expected);
    assert_eq!(expected["io.weight"], "default 10000");
    cgroup.set(&[("io.weight", "100")]).unwrap();
    assert!(cgroup.all_set().is_empty());
}
