# On the guest's own root, as its first process or as a service of systemd: runs the command,
# reports its exit status, and ends the machine.
read -r mode out err status </run/guest/ports
if [ "$mode" = systemd ]; then
    # The service's own cgroup stays without processes, so that it can have children with
    # controllers.
    own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
    mkdir "$own/main" && echo $$ >"$own/main/cgroup.procs"
    export CGROUPD_TEST_ROOT="${own#/sys/fs/cgroup}"
fi
echo started >"$status"
# The root's own shell: busybox' prefers its own tools to the root's.
/bin/sh /run/guest/command </dev/null >"$out" 2>"$err"
echo "exit $?" >"$status"
/run/guest/busybox reboot -f
