//! Kernel modules in the order in which they can be loaded. An unpacked package has no
//! `modules.dep`, which is made when it is installed: the order comes from what each module says
//! it depends on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::packages::run;

/// A module, uncompressed.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// The wanted modules and all they need, each after what it needs. One that is not there is
/// built into the kernel.
pub(super) fn in_order(modules: &Path, wanted: &[&str]) -> io::Result<Vec<Module>> {
    let files = files(modules)?;
    let mut ordered = Vec::new();
    for name in wanted {
        add(&mut ordered, &files, name)?;
    }
    Ok(ordered)
}

fn add(ordered: &mut Vec<Module>, files: &[PathBuf], name: &str) -> io::Result<()> {
    let known = ordered.iter().any(|module| module.name == name);
    let file = files.iter().find(|file| module_name(file).as_deref() == Some(name));
    let (false, Some(file)) = (known, file) else { return Ok(()) };
    let content = uncompressed(file)?;
    for needed in depends(&content) {
        add(ordered, files, &needed)?;
    }
    ordered.push(Module { name: name.to_owned(), content });
    Ok(())
}

/// All files below a directory.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let into = if entry.file_type()?.is_dir() { &mut directories } else { &mut found };
            into.push(entry.path());
        }
    }
    Ok(found)
}

/// `virtio_pci` of `virtio-pci.ko.xz`: to the kernel `-` and `_` are the same.
fn module_name(file: &Path) -> Option<String> {
    let (name, rest) = file.file_name()?.to_str()?.split_once(".ko")?;
    ["", ".xz", ".zst"].contains(&rest).then(|| name.replace('-', "_"))
}

fn uncompressed(file: &Path) -> io::Result<Vec<u8>> {
    let tool = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(file),
    };
    Ok(run(Command::new(tool).args(["-dcq"]).arg(file))?.stdout)
}

/// The names in the module's `depends=` line, one of the strings of its `.modinfo` section.
fn depends(content: &[u8]) -> Vec<String> {
    let line = content.split(|byte| *byte == 0).find_map(|text| text.strip_prefix(b"depends="));
    let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
    line.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(directory: &Path, file: &str, depends: &str) {
        fs::write(directory.join(file), format!("ELF\0author=x\0depends={depends}\0")).unwrap();
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let directory = tempfile::tempdir().unwrap();
        module(directory.path(), "virtio-pci.ko", "virtio_ring,virtio");
        module(directory.path(), "virtio_ring.ko", "virtio");
        module(directory.path(), "virtio.ko", "");
        module(directory.path(), "unwanted.ko", "virtio");
        let wanted = ["virtio_pci", "built_in", "virtio"];
        let names = in_order(directory.path(), &wanted).unwrap();
        let names: Vec<String> = names.into_iter().map(|module| module.name).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_pci"]);
    }

    #[test]
    fn names_of_files() {
        assert_eq!(module_name(Path::new("/a/b-c.ko.xz")).as_deref(), Some("b_c"));
        assert_eq!(module_name(Path::new("/a/b.ko.sig")), None);
        assert_eq!(module_name(Path::new("/a/modules.order")), None);
    }
}
