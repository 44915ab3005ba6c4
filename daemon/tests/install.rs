//! `packaging/install.sh`, below a directory of the test's own: what it makes has the mode that it
//! needs, whatever the umask, and is gone after `uninstall`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Files and directories below a directory, and their modes; links have none.
type Tree = BTreeMap<String, Option<u32>>;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/install.sh");
/// What `install.sh uninstall` leaves: the administrator's configuration.
const CONFIGURATION: &str = "/etc/cgroupd/cgroupd.toml";

fn tree(top: &Path) -> Tree {
    let mut found = Tree::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            let mode = (!meta.is_symlink()).then(|| meta.permissions().mode());
            found.insert(format!("/{name}"), mode);
            if meta.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

fn run(umask: &str, action: &str, inits: &str, build: &Path, target: &Path) {
    let output = Command::new("sh")
        .args(["-c", "umask $1; exec sh \"$2\" \"$3\"", "sh", umask, SCRIPT, action])
        .env("BUILD", build)
        .env("DESTDIR", target)
        .env("INITS", inits)
        .env_remove("PREFIX")
        .env_remove("SYSCONFDIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Programs and scripts are for everybody to run, all else for everybody to read.
fn expected(path: &str, is_directory: bool) -> u32 {
    let programs = ["/usr/local/bin/", "/etc/init.d/", "/etc/sv/"];
    let is_program = programs.iter().any(|above| path.starts_with(above));
    match (is_directory, is_program) {
        (true, _) => 0o040_755,
        (false, true) => 0o100_755,
        (false, false) => 0o100_644,
    }
}

fn check_modes(umask: &str, found: &Tree, target: &Path) {
    for (path, mode) in found {
        let Some(mode) = mode else { continue };
        let is_directory = target.join(&path[1..]).is_dir();
        let wanted = expected(path, is_directory);
        assert_eq!(*mode, wanted, "umask {umask}: {path} has {mode:o} and not {wanted:o}");
    }
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    let mut trees = Vec::new();
    for umask in ["000", "022", "077"] {
        let place = tempfile::tempdir().unwrap();
        let (build, target) = (place.path().join("build"), place.path().join("target"));
        fs::create_dir(&build).unwrap();
        fs::create_dir(&target).unwrap();
        for program in ["cgroupd", "cgctl"] {
            fs::write(build.join(program), "#!/bin/sh\n").unwrap();
            fs::set_permissions(build.join(program), fs::Permissions::from_mode(0o700)).unwrap();
        }
        for inits in ["systemd runit openrc", "sysvinit"] {
            run(umask, "install", inits, &build, &target);
            let found = tree(&target);
            assert!(found.len() > 30, "{found:?}");
            assert_eq!(found["/usr/local/bin/cgm"], None, "it is a link");
            check_modes(umask, &found, &target);
            trees.push(found.clone());
            run(umask, "uninstall", inits, &build, &target);
            let left = tree(&target);
            check_modes(umask, &left, &target);
            let is_file = |path: &&String| !target.join(&path[1..]).is_dir();
            assert_eq!(left.keys().filter(is_file).collect::<Vec<_>>(), [CONFIGURATION]);
        }
    }
    assert!(trees[2..].chunks(2).all(|pair| pair == &trees[..2]), "all umasks give the same");
}
