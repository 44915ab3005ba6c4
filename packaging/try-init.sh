#!/bin/sh
# Installs cgroupd for an init system, and has it start, serve, reload, restart and stop there.
# It changes the machine: run it in a guest or another one that may be thrown away.
#
#   packaging/try-init.sh openrc|runit|sysvinit
#
# Environment:
#   BUILD     where the binaries are, as for install.sh
#   PACKAGES  a directory of Debian packages that are unpacked first, where the init system is
#             not installed
set -eu

init=$1
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin

fail() {
	echo "try-init.sh: $init: $*" >&2
	exit 1
}

# does COMMAND...: and says that it did
does() {
	"$@" || fail "$* fails ($?)"
	echo "ok   $*"
}

# refuses CODE COMMAND...
refuses() {
	code=$1
	shift
	"$@" >/dev/null 2>&1 && fail "$* succeeds"
	[ "$code" = any ] || "$@" >/dev/null 2>&1 || [ $? = "$code" ] || fail "$* does not exit with $code"
	echo "ok   not: $*"
}

# soon COMMAND...: within ten seconds
soon() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		if "$@" >/dev/null 2>&1; then
			echo "ok   $*"
			return
		fi
		sleep 1
	done
	fail "$* fails, again and again"
}

# The cgroup of the test, as the kernel shows it.
is_there() {
	find /sys/fs/cgroup -maxdepth 2 -type d -name "$1" | grep -q .
}

daemon() {
	pidof cgroupd | tr ' ' '\n' | while read -r pid; do
		[ "$(cat "/proc/$pid/comm")" = cgroupd ] && echo "$pid"
	done | head -n 1
}

is_another() {
	[ -n "$(daemon)" ] && [ "$(daemon)" != "$1" ]
}

# What follows is called by the name of the init system.

openrc_prepare() {
	# As its init does at boot.
	openrc sysinit
	openrc boot
	openrc default
}
openrc_do() { rc-service cgroupd "$1"; }
openrc_enable() { rc-update add cgroupd default; }

runit_prepare() {
	mkdir -p /run/services
	runsvdir -P /run/services &
	supervisor=$!
	export SVDIR=/run/services
}
runit_do() {
	case $1 in
	# It succeeds for one that is down, too.
	status) sv status cgroupd | grep '^run: ' ;;
	stop) sv -w 20 down cgroupd ;;
	*) sv -w 20 "$1" cgroupd ;;
	esac
}
runit_enable() {
	ln -s /etc/sv/cgroupd /run/services/cgroupd
	soon test -p /run/services/cgroupd/supervise/ok
}

sysvinit_prepare() { :; }
sysvinit_do() { /etc/init.d/cgroupd "$1"; }
sysvinit_enable() {
	mkdir -p /etc/rc0.d /etc/rc1.d /etc/rc2.d /etc/rc3.d /etc/rc4.d /etc/rc5.d /etc/rc6.d
	update-rc.d cgroupd defaults
	find /etc/rc2.d -name 'S*cgroupd' | grep -q .
}

for package in ${PACKAGES:+"$PACKAGES"/*.deb}; do
	# Where /lib is a link into /usr it stays one.
	dpkg --fsys-tarfile "$package" | tar -x -C / --keep-directory-symlink
done
INITS=$init PREFIX=/usr "$here/install.sh" >/dev/null
"${init}_prepare"
does "${init}_enable"
does "${init}_do" start
soon "${init}_do" status
soon cgctl whoami
does cgctl create init-test --pids 20
does is_there init-test
before=$(daemon)
does "${init}_do" reload
does [ "$(daemon)" = "$before" ]
does "${init}_do" restart
soon is_another "$before"
soon cgctl get init-test
if [ "$init" != sysvinit ]; then
	before=$(daemon)
	does kill -KILL "$before"
	soon is_another "$before"
	soon cgctl get init-test
fi
does "${init}_do" stop
refuses any "${init}_do" status
refuses 6 cgctl whoami
does is_there init-test
does "${init}_do" start
soon cgctl rm init-test
does "${init}_do" stop
[ -z "${supervisor:-}" ] || kill "$supervisor"
echo "$init: all is well"
