//! I/O: rows by device, of which a write changes only what it names.

use cgroupd::cgroup::Version;
use cgroupd_proto::ErrorName;
use libtest_mimic::Trial;

use crate::cgroup::{Cgroup, version_of};
use crate::{Prerequisite, has, root, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("io_max_changes_only_what_it_names", disks, only_named),
        test("io_max_takes_paths_names_and_numbers", disks, spellings),
        test("io_max_is_restored_device_by_device", disks, restores),
        test("v1_io_max_is_four_files", v1_disks, four_files),
        test("io_weight_has_a_default_and_rows", weights, weight),
    ]
}

/// A whole disk, by name and number.
fn disk(index: usize) -> Option<(String, String)> {
    let entries = std::fs::read_dir("/sys/block").ok()?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let name = names.into_iter().nth(index)?;
    let number = std::fs::read_to_string(format!("/sys/block/{name}/dev")).ok()?;
    Some((name, number.trim().to_owned()))
}

fn number(index: usize) -> String {
    disk(index).expect("a disk").1
}

fn disks() -> Prerequisite {
    root()?;
    match version_of("blkio").or_else(|| version_of("io")) {
        None => Err("needs the io controller".to_owned()),
        Some(_) if disk(1).is_none() => Err("needs two disks".to_owned()),
        Some(_) => Ok(()),
    }
}

fn v1_disks() -> Prerequisite {
    disks()?;
    has("blkio", Version::V1)
}

fn weights() -> Prerequisite {
    disks()?;
    let cgroup = Cgroup::new();
    let is_there = |(controller, file): &(&str, &str)| {
        version_of(controller).is_some() && cgroup.dir_of(controller).stat_at(file).is_ok()
    };
    let files =
        [("blkio", "blkio.bfq.weight_device"), ("io", "io.weight"), ("io", "io.bfq.weight")];
    match files.iter().any(is_there) {
        true => Ok(()),
        false => Err("needs io.weight or the BFQ scheduler".to_owned()),
    }
}

fn only_named() {
    let cgroup = Cgroup::new();
    let (one, two) = (number(0), number(1));
    let set = cgroup.set(&[("io.max", &format!("{one} rbps=10M wiops=100"))]).unwrap();
    assert_eq!(set["io.max"], format!("{one} rbps=10485760 wbps=max riops=max wiops=100"));
    let value = format!("{one} rbps=max wbps=1K; {two} riops=7");
    let limits = [("io.max", value.as_str())];
    let expected = cgroup.expected(&limits);
    let set = cgroup.set(&limits).unwrap();
    assert_eq!(
        set["io.max"],
        format!(
            "{one} rbps=max wbps=1024 riops=max wiops=100; {two} rbps=max wbps=max riops=7 wiops=max"
        )
    );
    assert_eq!(set, expected);
    // What is read can be set again.
    assert_eq!(cgroup.set(&[("io.max", &set["io.max"])]).unwrap(), set);
    let none = format!("{one} wbps=max wiops=max; {two} riops=max");
    assert_eq!(cgroup.set(&[("io.max", &none)]).unwrap()["io.max"], "");
    assert!(cgroup.all_set().is_empty());
}

fn four_files() {
    let cgroup = Cgroup::new();
    let one = number(0);
    cgroup.set(&[("io.max", &format!("{one} rbps=10M wiops=100"))]).unwrap();
    let raw = |file: &str| cgroup.raw("blkio", &format!("blkio.throttle.{file}_device"));
    assert_eq!(raw("read_bps"), format!("{one} 10485760"));
    assert_eq!(raw("write_iops"), format!("{one} 100"));
    assert_eq!(raw("write_bps"), "");
}

fn spellings() {
    let cgroup = Cgroup::new();
    let (name, number) = disk(0).unwrap();
    for device in [format!("/dev/{name}"), name, number.clone()] {
        let set = cgroup.set(&[("io.max", &format!("{device} rbps=1M"))]).expect(&device);
        assert!(set["io.max"].starts_with(&format!("{number} rbps=1048576 ")), "{device}");
    }
    for device in ["/dev/null", "nosuch"] {
        let error = cgroup.refused(&[("io.max", &format!("{device} rbps=1M"))]);
        assert_eq!(error.name, ErrorName::InvalidLimit);
        let start = format!("io.max: {device} is not a block device");
        assert!(error.text.starts_with(&start), "{error}");
    }
}

fn restores() {
    let cgroup = Cgroup::new();
    let (one, two) = (number(0), number(1));
    cgroup.set(&[("io.max", &format!("{one} rbps=1M wbps=2M"))]).unwrap();
    let before = cgroup.get("io.max");
    let value = format!("{one} rbps=3M; {two} rbps=4M; 4000:9999 rbps=5M");
    let error = cgroup.refused(&[("io.max", &value)]);
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
