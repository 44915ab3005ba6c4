# Alice with subordinate ids, podman without network, systemd or a bus, and an image of busybox.
# shellcheck shell=sh disable=SC2154
set -eu
echo "alice:x:$uid:$uid::$home:/bin/sh" >>/etc/passwd
echo "alice:x:$uid:" >>/etc/group
for file in subuid subgid; do printf '%s\n' "alice:$first:65536" "root:$first:65536" >/etc/$file; done
config=$home/.config/containers
mkdir -p "$config" "/run/user/$uid" "$home/rootfs"
cat >"$config/containers.conf" <<'END'
[containers]
netns = "none"
log_driver = "k8s-file"
default_sysctls = []
keyring = false
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
[engine.runtimes]
crun = ["/usr/bin/crun"]
runc = ["/usr/sbin/runc"]
END
cat >"$config/storage.conf" <<END
[storage]
driver = "vfs"
runroot = "/run/user/$uid/containers"
graphroot = "$home/storage"
END
echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$config/policy.json"
: >"$config/registries.conf"
cd "$home/rootfs"
mkdir -p bin clients dev etc lib lib64 proc run sbin sys tmp usr/bin
cp /bin/busybox bin/
for name in sh sleep cat dd ls mkdir true id echo; do ln -s busybox "bin/$name"; done
echo root:x:0:0:root:/:/bin/sh >etc/passwd
tar -c . >"$home/busybox.tar"
chown -R "$uid:$uid" "$home" "/run/user/$uid"
chmod 700 "/run/user/$uid"
chmod 755 "$home"
# podman warns where nothing is shared.
mount --make-rshared /
mkdir /sys/fs/cgroup/login
