//! What one account takes, others do not miss: turns (case 66), and what containers of root's share
//! (case 70).

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use cgroupd_proto::ErrorName;
use cgroupd_tests::client::{Client, refused};
use cgroupd_tests::faults::Fault;
use cgroupd_tests::hierarchies;
use cgroupd_tests::need::{Need, patience, trial};
use cgroupd_tests::peer::{ALICE, Map, OTHER_RANGE, RANGE};
use cgroupd_tests::world::World;
use libtest_mimic::Trial;

/// How long writes are held up: longer than the test takes otherwise.
const HELD_UP: Duration = Duration::from_secs(120);
/// Users that take all turns, and the calls of each.
const USERS: u32 = 12;
const CALLS: usize = 8;

pub(crate) fn trials() -> Vec<Trial> {
    let containers = &[Need::Root, Need::UserNs];
    vec![
        trial("case_66_all_turns_of_others", &[Need::Root, Need::Strace], turns),
        trial("case_70_connections_of_a_container", containers, connections),
        trial("case_70_user_namespaces_of_a_confined_root", containers, user_namespaces),
    ]
}

/// A file that everybody may write, and a value that changes nothing.
fn open_file(world: &World) -> (&'static str, std::path::PathBuf) {
    let (hierarchy, file) = match hierarchies::v1_of("pids") {
        Some(hierarchy) => (hierarchy, "pids.max"),
        None => (hierarchies::v2().expect("a hierarchy"), "cgroup.max.depth"),
    };
    world.root.create("/slow").unwrap();
    let path = world.cgroups.dir(hierarchy, "slow").join(file);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    (file, std::fs::canonicalize(&path).unwrap())
}

fn turns() {
    let world = World::new("attacks");
    let (file, path) = open_file(&world);
    let mut users: Vec<_> = (0..USERS).map(|n| world.user(ALICE + 100 + n)).collect();
    let clients: Vec<Client> = users
        .iter_mut()
        .flat_map(|user| (0..CALLS).map(|_| user.peer.connect(&world.daemon)).collect::<Vec<_>>())
        .collect();
    let honest = world.user(ALICE);
    let fault = Fault::delay_writes(world.daemon.pid(), &path, HELD_UP);
    std::thread::scope(|threads| {
        let calls =
            clients.iter().map(|client| threads.spawn(|| client.write("/slow", file, "max")));
        let calls: Vec<_> = calls.collect();
        let all = u64::from(USERS) * CALLS as u64;
        wait_for(&world, ("others", "calls"), all);
        let began = Instant::now();
        world.root.list("").unwrap();
        world.root.create("/any").unwrap();
        assert!(began.elapsed() < patience(Duration::from_secs(1)), "{:?}", began.elapsed());
        // Who is not host root waits for a turn, and gets one.
        let waiting = threads.spawn(|| honest.list("").map(drop));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        fault.release();
        waiting.join().unwrap().unwrap();
        calls.into_iter().for_each(|call| call.join().unwrap().unwrap());
    });
    drop((clients, users, honest));
    world.finish();
}

/// Waits until so much of a resource is charged.
fn wait_for(world: &World, (who, what): (&str, &str), amount: u64) {
    let end = Instant::now() + patience(Duration::from_secs(20));
    loop {
        let rows = world.root.accounts().unwrap();
        let row =
            rows.iter().find(|(account, resource, ..)| (&**account, &**resource) == (who, what));
        let used = row.map_or(0, |(_, _, used, _)| *used);
        if used == amount {
            break;
        }
        assert!(Instant::now() < end, "{used} of {amount}: {rows:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn connections() {
    let world = World::new("attacks");
    let mut greedy = world.container("box", RANGE);
    let taken: Vec<Client> =
        (0..200).map_while(|_| greedy.peer.try_connect(&world.daemon).ok()).collect();
    assert_eq!(taken.len(), 63, "and the one that it has");
    // The other container, a user, and host root have what they had.
    let mut other = world.container("box2", OTHER_RANGE);
    let others: Vec<Client> = (0..10).map(|_| other.peer.connect(&world.daemon)).collect();
    others.iter().for_each(|client| assert!(client.who_am_i().is_ok()));
    world.user(ALICE).who_am_i().unwrap();
    world.user(0).who_am_i().unwrap();
    drop(taken);
    let end = Instant::now() + patience(Duration::from_secs(5));
    while greedy.peer.try_connect(&world.daemon).is_err() {
        assert!(Instant::now() < end, "its places are free again");
    }
    drop((greedy, other, others));
    world.finish();
}

/// A confined uid 0 may make any number of user namespaces, and root owns all of them.
fn user_namespaces() {
    let world = World::configured("attacks", "[quota]\ncgroups = 5\n");
    world.cgroups.make("box");
    let mut made = 0;
    for namespace in 0..4 {
        let mut peer = world.peer_in("box");
        peer.cgroup_ns();
        peer.drop_sys_admin();
        peer.user_ns(Map::Own);
        let client = world.calls(peer);
        made += (0..5).take_while(|n| client.create(&format!("/{namespace}-{n}")).is_ok()).count();
        if made == 5 {
            refused(client.create("/more"), ErrorName::QuotaExceeded);
        }
    }
    assert_eq!(made, 5);
    let container = world.container("box2", RANGE);
    container.create("/own").expect("another account");
    drop(container);
    world.finish();
}
