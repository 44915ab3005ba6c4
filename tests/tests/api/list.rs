//! List: the tree, in order, in pages.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::refused;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::times;
use cgroupd_tests::peer::ALICE;
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{Sleeper, World};

pub(crate) const TESTS: &[Test] = &tests![
    the_whole_tree_in_order,
    only_so_deep,
    in_pages,
    pages_survive_changes,
    what_a_row_says,
    hierarchies_are_merged,
    a_list_of_what_is_not_there,
    many_in_bounded_pages,
    a_user_sees_what_it_may_list,
    names_that_are_not_utf_8_in_pages,
    case_53_deeper_than_a_stack,
];

const TREE: [&str; 7] = ["/a", "/a/b", "/a/b/c", "/a/d", "/a-", "/ab", "/e"];

fn plant(world: &World) {
    for path in ["e", "ab", "a-", "a/d", "a/b/c"] {
        world.root.create(path).unwrap();
    }
}

/// One page.
fn page(world: &World, path: &str, depth: u32, after: &str, limit: u32) -> (Vec<String>, String) {
    let page = world.root.manager().list(path, depth, after, limit, &[]);
    let (rows, next) = world.root.wait(page).unwrap();
    (rows.into_iter().map(|(path, _)| path).collect(), next)
}

fn the_whole_tree_in_order(world: &World) {
    assert_eq!(world.root.list("").unwrap(), [""; 0]);
    plant(world);
    assert_eq!(world.root.list("").unwrap(), TREE);
    assert_eq!(world.root.list("/a").unwrap(), ["/a/b", "/a/b/c", "/a/d"]);
    assert_eq!(world.root.list("e").unwrap(), [""; 0]);
}

fn only_so_deep(world: &World) {
    plant(world);
    assert_eq!(page(world, "", 1, "", 0).0, ["/a", "/a-", "/ab", "/e"]);
    assert_eq!(page(world, "", 2, "", 0).0, ["/a", "/a/b", "/a/d", "/a-", "/ab", "/e"]);
    assert_eq!(page(world, "", 3, "", 0).0, TREE);
    assert_eq!(page(world, "", u32::MAX, "", 0).0, TREE);
}

fn in_pages(world: &World) {
    plant(world);
    for size in 1..=8 {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let (mut rows, next) = page(world, "", 0, &after, size);
            assert!(rows.len() <= size as usize);
            all.append(&mut rows);
            if next.is_empty() {
                break;
            }
            assert_eq!(all.last(), Some(&next));
            after = next;
        }
        assert_eq!(all, TREE, "pages of {size}");
    }
}

/// What the page before ended with may be gone when the next one is asked for.
fn pages_survive_changes(world: &World) {
    plant(world);
    let (rows, next) = page(world, "", 0, "", 3);
    assert_eq!((rows, next.as_str()), (TREE[..3].iter().map(|p| (*p).into()).collect(), "/a/b/c"));
    world.root.remove("a/b", &["recursive"]).unwrap();
    assert_eq!(page(world, "", 0, &next, 0).0, ["/a/d", "/a-", "/ab", "/e"]);
    world.root.remove("a", &["recursive"]).unwrap();
    world.root.create("b").unwrap();
    assert_eq!(page(world, "", 0, &next, 0).0, ["/a-", "/ab", "/b", "/e"]);
}

fn what_a_row_says(world: &World) {
    world.root.create("a/b").unwrap();
    world.cgroups.give("a/b", ALICE, ALICE);
    let sleeper = Sleeper::start(ALICE);
    world.root.move_pid("a/b", sleeper.pid()).unwrap();
    let rows: HashMap<_, _> = world.root.rows("", 0).unwrap().into_iter().collect();
    let (a, b) = (&rows["/a"], &rows["/a/b"]);
    assert_eq!((a["uid"].as_str(), a["mode"].as_str(), a["children"].as_str()), ("0", "0755", "1"));
    assert_eq!(
        (b["uid"].as_str(), b["gid"].as_str(), b["children"].as_str()),
        ("64101", "64101", "0")
    );
    assert_eq!((a["populated"].as_str(), b["populated"].as_str()), ("1", "1"));
    drop(sleeper);
    let rows: HashMap<_, _> = world.root.rows("", 0).unwrap().into_iter().collect();
    assert_eq!((&rows["/a"]["populated"][..], &rows["/a/b"]["populated"][..]), ("0", "0"));
}

fn hierarchies_are_merged(world: &World) {
    let all: Vec<_> = hierarchies::implied().collect();
    let (first, last) = (all[0], all[all.len() - 1]);
    world.cgroups.make_in(last, "a");
    world.cgroups.make_in(first, "b");
    world.root.create("c").unwrap();
    let rows = world.root.rows("", 0).unwrap();
    let places: Vec<_> =
        rows.iter().map(|(path, row)| (&path[..], &row["controllers"][..])).collect();
    let every: Vec<_> = all.iter().map(|hierarchy| hierarchy.label.as_str()).collect();
    let expected = [("/a", &last.label[..]), ("/b", &first.label[..]), ("/c", &every.join(","))];
    assert_eq!(places, expected);
}

fn a_list_of_what_is_not_there(world: &World) {
    refused(world.root.list("a"), ErrorName::NotFound);
    world.root.create("a").unwrap();
    assert_eq!(world.root.list("a").unwrap(), [""; 0]);
    // A start that never was is only a place in the order.
    assert_eq!(page(world, "", 0, "/0", 0).0, ["/a"]);
    assert_eq!(page(world, "", 0, "/zzz", 0).0, [""; 0]);
}

fn many_in_bounded_pages(world: &World) {
    let hierarchy = hierarchies::implied().next().unwrap();
    for number in 0..1200 {
        world.cgroups.make_in(hierarchy, &format!("n{number:04}"));
    }
    let (rows, next) = page(world, "", 0, "", 0);
    assert_eq!((rows.len(), next.as_str()), (1000, "/n0999"));
    assert_eq!(page(world, "", 0, "", 5000).0.len(), 1000, "asking for more gives no more");
    assert_eq!(world.root.list("").unwrap().len(), 1200);
}

fn a_user_sees_what_it_may_list(world: &World) {
    world.root.create("open/a").unwrap();
    world.root.create("closed/b").unwrap();
    world.cgroups.chmod("closed", 0o700);
    let alice = world.user(ALICE);
    assert_eq!(alice.list("/").unwrap(), ["/closed", "/open", "/open/a"]);
    refused(alice.list("/closed"), ErrorName::Denied);
    world.cgroups.chmod("closed", 0o755);
    assert_eq!(alice.list("/closed").unwrap(), ["/closed/b"]);
}

/// They are found again by what is shown of them.
fn names_that_are_not_utf_8_in_pages(world: &World) {
    let hierarchy = hierarchies::implied().next().expect("some hierarchy");
    let top = world.cgroups.dir(hierarchy, "");
    for name in [&b"a"[..], b"\xff", b"]", b"\xfe\xff", b"Z"] {
        std::fs::create_dir(top.join(OsStr::from_bytes(name))).unwrap();
    }
    let (mut all, mut after) = (Vec::new(), String::new());
    for _ in 0..10 {
        let (rows, next) = page(world, "", 1, &after, 1);
        all.extend(rows);
        after = next;
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(all, ["/Z", "/\\xfe\\xff", "/\\xff", "/]", "/a"]);
}

/// Removed from the deepest up, whatever becomes of the test.
struct Deep(Vec<PathBuf>);

impl Drop for Deep {
    fn drop(&mut self) {
        for level in self.0.iter().rev() {
            let _ = std::fs::remove_dir(level);
        }
    }
}

/// v1 does not say whether something below a cgroup has processes: they are looked for.
fn case_53_deeper_than_a_stack(world: &World) {
    const DEPTH: u32 = 1900;
    let hierarchy = hierarchies::implied().next().expect("some hierarchy");
    let mut path = world.cgroups.dir(hierarchy, "").join("deep");
    let mut deep = Deep(Vec::new());
    for _ in 0..times(DEPTH) {
        std::fs::create_dir(&path).unwrap();
        deep.0.push(path.clone());
        path.push("d");
    }
    assert_eq!(page(world, "", 1, "", 0).0, ["/deep"]);
    // Its last paths are longer than any that can be named. However this ends, the daemon lives.
    let _ = world.root.list("");
    let _ = world.root.list("/deep/d");
    world.root.create("beside").unwrap();
}
