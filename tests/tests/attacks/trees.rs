//! Trees that somebody made without the daemon so that looking at them is dear (case 63).

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cgroupd_proto::cgmanager::{INTERFACE, OBJECT_PATH};
use cgroupd_tests::client::{CallError, Client};
use cgroupd_tests::hierarchies::{self, Hierarchy};
use cgroupd_tests::need::{patience, times};
use cgroupd_tests::peer::{ALICE, BOB};
use cgroupd_tests::suite::Test;
use cgroupd_tests::tests;
use cgroupd_tests::world::{MOST_MEMORY, World};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

pub(crate) const TESTS: &[Test] = &tests![
    case_63_long_names_in_300_levels,
    case_63_two_children_in_each_of_300_levels,
    case_63_many_siblings,
];

/// A page of List: its rows, and where the next one starts.
type Page = (Vec<(String, HashMap<String, String>)>, String);

/// What half of the calls of an uninvolved user may take, where nothing else runs beside the test.
const LATE: Duration = Duration::from_millis(50);
/// Files that it has open at most: what it has anyway, and some for each of the calls.
const MOST_FILES: usize = 64 + 8 * 40;

/// A directory below which a tree is made, level by level: its paths are longer than any that the
/// kernel takes.
struct Tree {
    name: &'static str,
    levels: Vec<(OwnedFd, Vec<String>)>,
}

impl Tree {
    fn new(world: &World, hierarchy: &Hierarchy, name: &'static str) -> Self {
        world.cgroups.make_in(hierarchy, name);
        let top = world.cgroups.dir(hierarchy, name);
        std::os::unix::fs::chown(&top, Some(ALICE), Some(ALICE)).unwrap();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let top = open(&top, flags, Mode::empty()).unwrap();
        Self { name, levels: vec![(top, Vec::new())] }
    }

    /// Makes these children of the deepest level, and goes down to the first.
    fn deepen(&mut self, names: Vec<String>) {
        let (parent, made) = self.levels.last_mut().unwrap();
        let mut first = None;
        for name in &names {
            mkdirat(&*parent, name.as_str(), Mode::from_bits_truncate(0o755)).unwrap();
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let child = openat(&*parent, name.as_str(), flags, Mode::empty()).unwrap();
            fchown(&child, Some(Uid::from_raw(ALICE)), Some(Gid::from_raw(ALICE))).unwrap();
            first = first.or(Some(child));
        }
        *made = names;
        self.levels.push((first.unwrap(), Vec::new()));
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for (parent, made) in self.levels.iter().rev() {
            for name in made {
                let _ = unlinkat(parent, name.as_str(), UnlinkatFlags::RemoveDir);
            }
        }
    }
}

/// Whether a call was answered, and not by the end of the connection.
fn answered<T>(result: Result<T, CallError>) {
    if let Err(error) = result {
        assert!(error.name.contains(".Error."), "{error}");
        assert!(!error.is_fault("Disconnected"), "{error}");
    }
}

/// All that looks at a tree, by eight clients of one user at once, while host root and another user
/// are served; then its removal.
fn look(world: &World, tree: &Tree) {
    let mut alice = world.user(ALICE);
    let clients: Vec<Client> = (0..8).map(|_| alice.peer.connect(&world.daemon)).collect();
    let honest = world.user(BOB);
    let is_over = AtomicBool::new(false);
    let mut times = std::thread::scope(|threads| {
        let looking: Vec<_> =
            clients.iter().map(|client| threads.spawn(|| look_once(client, tree.name))).collect();
        let watching = threads.spawn(|| {
            let mut times = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                honest.who_am_i().expect("another user is served");
                times.push(began.elapsed());
                world.root.accounts().expect("host root is served");
                let (memory, files) =
                    (world.daemon.memory("VmRSS"), world.daemon.open_files().len());
                assert!(memory < MOST_MEMORY, "{memory} KiB");
                assert!(files < MOST_FILES, "{files} files");
                std::thread::sleep(Duration::from_millis(10));
            }
            times
        });
        let looked: Vec<_> = looking.into_iter().map(|thread| thread.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        looked.into_iter().for_each(|looked| looked.unwrap());
        watching.join().unwrap()
    });
    times.sort_unstable();
    let half = times[times.len() / 2];
    println!(
        "the daemon had {} KiB at most; of {} calls of another user half took {half:?} at most, one in \
         a hundred more than {:?}",
        world.daemon.memory("VmHWM"),
        times.len(),
        times[times.len() * 99 / 100],
    );
    assert!(half < patience(LATE), "{half:?}");
    let path = format!("/{}", tree.name);
    alice.remove(&path, &["recursive"]).expect_err("the top is in a directory of root's");
    world.root.remove(&path, &["recursive"]).unwrap();
    assert!(world.cgroups.is_nowhere(tree.name));
}

fn look_once(client: &Client, name: &str) {
    let path = format!("/{name}");
    let mut after = String::new();
    loop {
        let call = client.call("List", &(&path, 0_u32, &after, 0_u32, ["children"].as_slice()));
        let page = call.expect("answered");
        let (rows, next): Page = page.body().deserialize().expect("a page");
        assert!(!rows.is_empty());
        if next.is_empty() {
            break;
        }
        after = next;
    }
    answered(client.stats(&[&path]));
    answered(client.processes(&path, &["recursive"]));
    answered(client.freeze(&path));
    answered(client.thaw(&path));
    let controller = hierarchies::implied().next().unwrap().label.clone();
    let arguments = (controller.split(',').next().unwrap(), path.as_str());
    answered(client.call_at(OBJECT_PATH, Some(INTERFACE), "ListChildren", &arguments));
}

fn case_63_long_names_in_300_levels(world: &World) {
    let hierarchy = hierarchies::implied().next().unwrap();
    let mut tree = Tree::new(world, hierarchy, "long");
    for level in 0..300 {
        tree.deepen(vec![format!("{level:03}{}", "x".repeat(3997))]);
    }
    // Its names are in no path, and that is said.
    let rows = world.root.rows("/long", 0).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].0.as_str(), rows[0].1["left-out"].as_str()), ("/long", "1"));
    look(world, &tree);
}

fn case_63_two_children_in_each_of_300_levels(world: &World) {
    let hierarchy = hierarchies::implied().next().unwrap();
    let mut tree = Tree::new(world, hierarchy, "deep");
    for _ in 0..times(300) {
        tree.deepen(vec!["a".to_owned(), "b".to_owned()]);
    }
    let rows = world.root.rows("/deep", 0).unwrap();
    let deepest = rows.iter().find(|(_, facts)| facts.contains_key("left-out"));
    assert_eq!(deepest.unwrap().1["left-out"], "2", "more levels than a path has");
    look(world, &tree);
}

fn case_63_many_siblings(world: &World) {
    let hierarchy = hierarchies::implied().next().unwrap();
    let mut tree = Tree::new(world, hierarchy, "wide");
    tree.deepen((0..times(5000)).map(|n| format!("{n:05}-{}", "y".repeat(60))).collect());
    assert_eq!(world.root.list("/wide").unwrap().len(), times(5000) as usize);
    look(world, &tree);
}
