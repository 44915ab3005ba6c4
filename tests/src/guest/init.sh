#!/bin/busybox sh
# The first process of a guest: loads the drivers, finds the ports to the machine outside, makes
# the root (the shared / under a layer in memory), lays out the cgroups, and hands over to
# /run/guest/report, or to systemd, which starts it as a service.
# /job, an archive of its own, says what this guest is for: `mode` and `command`.
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
read -r mode </job/mode
while read -r module; do insmod "/modules/$module.ko"; done </modules/order

# Ports and their names appear some time after the driver.
named_port() {
    for port in /sys/class/virtio-ports/*; do
        read -r name <"$port/name" && [ "$name" = "$1" ] && echo "/dev/${port##*/}"
    done 2>/dev/null
}
port() {
    tries=0
    until found=$(named_port "$1"); [ -c "$found" ]; do
        tries=$((tries + 1))
        [ $tries -lt 1500 ] || { echo "no port is called $1" >/dev/console; reboot -f; }
        usleep 10000
    done
    echo "$found"
}
out=$(port out) err=$(port err) status=$(port status)
fail() {
    echo "failed: $*" >"$status"
    reboot -f
}

# Not the initial rootfs: pivot_root(2) is refused there, and containers need it.
mount -t virtiofs -o ro share /lower || fail "the share of / cannot be mounted"
mount -t tmpfs -o mode=755 upper /upper && mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /root ||
    fail "the overlay over / cannot be mounted"
for dir in run tmp; do mount -t tmpfs -o mode=1777 tmpfs "/root/$dir"; done
for disk in /sys/block/vd*; do
    # With weights, where the kernel has the scheduler that knows them.
    echo bfq 2>/dev/null >"$disk/queue/scheduler"
    read -r serial <"$disk/serial"
    [ "$serial" != temporary ] || temporary=/dev/${disk##*/}
done
mke2fs "$temporary" >/dev/null || fail "no file system can be made on the disk for /var/tmp"
mount -t ext2 "$temporary" /root/var/tmp || fail "the disk for /var/tmp cannot be mounted"
chmod 1777 /root/var/tmp
chmod 755 /root/run
for dir in proc sys dev; do mount --move "/$dir" "/root/$dir"; done
mkdir /root/run/guest
cp /report /job/command /bin/busybox /root/run/guest/
echo "$mode" "$out" "$err" "$status" >/root/run/guest/ports
ip link set lo up

if [ "$mode" = systemd ]; then
    units=/root/run/systemd/system
    mkdir -p $units /root/run/systemd/system-generators
    printf '%s\n' '[Unit]' 'Requires=dbus.socket' 'After=basic.target dbus.socket' '[Service]' \
        'Type=exec' 'Delegate=yes' 'TasksMax=infinity' \
        'ExecStart=/run/guest/busybox sh /run/guest/report' >$units/guest.service
    printf '%s\n' '[Unit]' 'Requires=basic.target guest.service' 'After=basic.target' \
        'AllowIsolate=yes' >$units/guest.target
    # What a machine for one command does without; together they take longer than the rest.
    for unit in systemd-udevd.service systemd-udev-trigger.service systemd-random-seed.service \
        systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-remount-fs.service \
        systemd-journal-flush.service systemd-update-utmp.service systemd-timesyncd.service \
        systemd-modules-load.service modprobe@.service kmod-static-nodes.service \
        systemd-sysusers.service systemd-binfmt.service systemd-pstore.service timers.target \
        dev-mqueue.mount dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
        sys-kernel-config.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount
    do
        ln -s /dev/null "$units/$unit"
    done
    for generator in /root/lib/systemd/system-generators/*; do
        ln -s /dev/null "/root/run/systemd/system-generators/${generator##*/}"
    done
    # A container's mark on the machine outside is none on the guest.
    rm -f /root/.dockerenv /root/run/.containerenv
    exec switch_root /root /lib/systemd/systemd --unit=guest.target
fi

mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
ln -s /proc/self/fd /root/dev/fd
ln -s fd/0 /root/dev/stdin && ln -s fd/1 /root/dev/stdout && ln -s fd/2 /root/dev/stderr
hostname guest

cgroups=/root/sys/fs/cgroup
v2() { mount -t cgroup2 -o "nosuid,nodev,noexec,$2" cgroup2 "$1" || fail "no cgroup2"; }
# A controller that the kernel was built without, or that v2 alone has, is left out.
v1() {
    mkdir "$cgroups/$1"
    mount -t cgroup -o "nosuid,nodev,noexec,$2" cgroup "$cgroups/$1" 2>/dev/null ||
        { rmdir "$cgroups/$1"; return 1; }
}
together() { v1 "$1,$2" "$1,$2" && ln -s "$1,$2" "$cgroups/$1" && ln -s "$1,$2" "$cgroups/$2"; }
case $mode in
    unified) v2 $cgroups nsdelegate,memory_recursiveprot ;;
    legacy | hybrid)
        mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs $cgroups
        v1 systemd none,name=systemd,xattr
        together cpu cpuacct
        together net_cls net_prio
        for controller in cpuset blkio memory devices freezer perf_event hugetlb pids rdma misc; do
            grep -q "^$controller	" /root/proc/cgroups && v1 $controller $controller
        done
        # After v1: it has the controllers that v1 does not.
        [ "$mode" = legacy ] || { mkdir $cgroups/unified && v2 $cgroups/unified nsdelegate; }
        mount -o remount,ro $cgroups
        ;;
    *) fail "no layout is called $mode" ;;
esac
exec switch_root /root /run/guest/busybox sh /run/guest/report
