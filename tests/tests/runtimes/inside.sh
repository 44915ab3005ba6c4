# As root of the container. A second mount of one file system on the same place is refused: a tmpfs
# is put between. `runtime` is set by whoever starts this.
# shellcheck shell=sh disable=SC2154
set -eu
mount -t proc proc /proc
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /tmp/nest
# The daemon moves what is in the container's root out of the way, and enables controllers.
cgctl -q create ready -m 64M --cpus 1 --pids 100
cgctl -q rm ready
run() { timeout 60 "$runtime" --root /tmp/nest/state "$@"; }
run run -d --bundle /tmp/nest box </dev/null >/tmp/nest/out 2>&1 || { cat /tmp/nest/out; exit 1; }
: >/tmp/nest/limited
until [ -e /tmp/nest/go ]; do sleep 0.1; done
echo "exec: $(run exec box cat /proc/self/cgroup)"
run update --memory 33554432 box
echo "updated: $(cat /sys/fs/cgroup/box/memory.max)"
run delete -f box
