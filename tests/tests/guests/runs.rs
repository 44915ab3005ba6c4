//! What a command in a guest gets and gives.

use cgroupd_tests::guest::{Guest, Kernel, Mode};
use libtest_mimic::Trial;

use crate::{run, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("output_and_exit_status_come_back", comes_back),
        test("all_of_a_long_output_comes_back", long_output),
        test("what_a_guest_writes_stays_in_it", stays_inside),
        test("the_scratch_disk_can_be_throttled", throttled_disk),
    ]
}

fn guest() -> Guest {
    Guest::new(Mode::Unified, Kernel::V6_1)
}

fn comes_back() {
    let mut guest = guest();
    guest.env.push(("WORD".to_owned(), "it's".to_owned()));
    guest.directory = "/usr/bin".into();
    let ran = run(&guest, r#"echo "$WORD" in $PWD; echo trouble >&2; exit 7"#);
    assert_eq!(ran.out, "it's in /usr/bin\n");
    assert_eq!(ran.err, "trouble\n");
    assert!(matches!(ran.ended.status, Ok(7)), "{:?}", ran.ended.status);
    assert!(ran.ended.cost.cpu.as_millis() > 100, "{:?}", ran.ended.cost);
}

fn long_output() {
    let out = run(&guest(), "seq 200000").success();
    assert_eq!(out.lines().count(), 200_000);
    assert!(out.ends_with("200000\n"));
}

fn stays_inside() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("our directory");
    let path = directory.path().join("here");
    std::fs::write(&path, "outside").expect("our directory");
    let script = format!(
        "cd {}; cat here; echo inside >here; cat here; touch new; ls",
        path.parent().expect("a directory").display()
    );
    assert_eq!(run(&guest(), &script).success(), "outsideinside\nhere\nnew\n");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "outside");
    assert_eq!(std::fs::read_dir(directory.path()).expect("still there").count(), 1);
}

/// 2 MiB at 1 MiB a second.
fn throttled_disk() {
    let script = r#"
        disk=$(grep -l '^scratch$' /sys/block/*/serial | cut -d/ -f4)
        cat /sys/block/$disk/size
        cd /sys/fs/cgroup
        echo +io >cgroup.subtree_control
        mkdir slow
        echo "$(cat /sys/block/$disk/dev) wbps=1048576" >slow/io.max
        echo $$ >slow/cgroup.procs
        begin=$(date +%s%N)
        dd if=/dev/zero of=/dev/$disk bs=64k count=32 oflag=direct status=none
        echo $((($(date +%s%N) - begin) / 1000000))
    "#;
    let out = run(&guest(), script).success();
    let numbers: Vec<u64> = out.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(numbers[0], 64 << 11, "sectors of 512 bytes");
    assert!((1500..20_000).contains(&numbers[1]), "{} ms", numbers[1]);
}
