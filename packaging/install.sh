#!/bin/sh
# Installs what `cargo build --release --workspace` built, or removes it again.
#
#   packaging/install.sh [install|uninstall]
#
# Environment:
#   DESTDIR     put everything below this directory (packagers)
#   PREFIX      /usr/local
#   SYSCONFDIR  /etc
#   BUILD       where the binaries are: target/release
#   INITS       whose files to install, of: systemd openrc runit sysvinit; those of the init
#               systems that are here. OpenRC's script and sysvinit's have the same name
#
# A configuration that is there already is neither replaced nor removed, nor is a program called cgm,
# as which cgctl is installed, too, for scripts that were written for cgmanager.
set -eu
# What is made gets the mode that it needs, whatever the caller's umask is: with 0 others could write
# to it before that, with 077 nobody but root could read it.
umask 022

here=$(cd "$(dirname "$0")" && pwd)
DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr/local}
SYSCONFDIR=${SYSCONFDIR:-/etc}
BUILD=${BUILD:-$here/../target/release}

bin=$PREFIX/bin
doc=$PREFIX/share/doc/cgroupd
units=$PREFIX/lib/systemd/system
tmpfiles=$PREFIX/lib/tmpfiles.d
init=$SYSCONFDIR/init.d
sv=$SYSCONFDIR/sv/cgroupd
config=$SYSCONFDIR/cgroupd
# dbus-daemon and dbus-broker do not look below /usr/local.
case $PREFIX in
/usr) policy=$PREFIX/share/dbus-1/system.d ;;
*) policy=$SYSCONFDIR/dbus-1/system.d ;;
esac

# The init systems that are here.
find_inits() {
	! has systemctl || echo systemd
	! has runsv || echo runit
	if has openrc-run; then
		echo openrc
	elif has start-stop-daemon && ! has systemctl && ! has runsv; then
		echo sysvinit
	fi
}

# has PROGRAM: also where only root looks
has() {
	PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null
}

# put MODE FILE TARGET
put() {
	mkdir -p "$DESTDIR$(dirname "$3")"
	# To a name beside it and then over it: a running binary cannot be written to, and an
	# interrupted installation leaves no half file.
	cp "$2" "$DESTDIR$3.new"
	chmod "$1" "$DESTDIR$3.new"
	mv -f "$DESTDIR$3.new" "$DESTDIR$3"
	echo "$DESTDIR$3"
}

# put_script MODE FILE TARGET: with the binaries' directory filled in
put_script() {
	filled=$(mktemp)
	sed "s|/usr/bin/cg|$bin/cg|" "$2" >"$filled"
	put "$1" "$filled" "$3"
	rm -f "$filled"
}

install_init() {
	case $1 in
	systemd)
		for unit in "$here"/systemd/*.service; do
			put_script 644 "$unit" "$units/$(basename "$unit")"
		done
		put 644 "$here/tmpfiles/cgroupd.conf" "$tmpfiles/cgroupd.conf"
		;;
	openrc | sysvinit) put_script 755 "$here/$1/cgroupd" "$init/cgroupd" ;;
	runit)
		for script in run finish check log/run; do
			put_script 755 "$here/runit/$script" "$sv/$script"
		done
		;;
	*)
		echo "install.sh: INITS: there is nothing for \"$1\"" >&2
		exit 2
		;;
	esac
}

install_all() {
	for binary in cgroupd cgctl; do
		if [ ! -x "$BUILD/$binary" ]; then
			echo "install.sh: $BUILD/$binary is missing; run: cargo build --release --workspace" >&2
			exit 1
		fi
		put 755 "$BUILD/$binary" "$bin/$binary"
	done
	# For scripts that call cgmanager's client; what has that name here is not replaced.
	if [ ! -e "$DESTDIR$bin/cgm" ] && [ ! -L "$DESTDIR$bin/cgm" ]; then
		ln -s cgctl "$DESTDIR$bin/cgm"
		echo "$DESTDIR$bin/cgm"
	fi
	for name in ${INITS-$(find_inits)}; do
		install_init "$name"
	done
	for file in "$here"/dbus/*.conf; do
		[ ! -e "$file" ] || put 644 "$file" "$policy/$(basename "$file")"
	done
	for file in LICENSE-MIT LICENSE-APACHE CHANGELOG.md SECURITY.md packaging/examples/runtime.sh; do
		put 644 "$here/../$file" "$doc/$(basename "$file")"
	done
	# What other programs read is the administrator's to put there.
	for file in profile.d/cgroupd.sh lxc/cgroupd.conf cdi/cgroupd.json; do
		put 644 "$here/$file" "$doc/$file"
	done
	put 644 "$here/cgroupd.toml" "$doc/cgroupd.toml"
	[ -e "$DESTDIR$config/cgroupd.toml" ] || put 644 "$here/cgroupd.toml" "$config/cgroupd.toml"
	mkdir -p "$DESTDIR$config/conf.d"
}

uninstall_all() {
	[ "$(readlink "$DESTDIR$bin/cgm")" != cgctl ] || rm -f "$DESTDIR$bin/cgm"
	rm -f "$DESTDIR$bin/cgroupd" "$DESTDIR$bin/cgctl"
	for unit in "$here"/systemd/*.service; do
		rm -f "$DESTDIR$units/$(basename "$unit")"
	done
	rm -f "$DESTDIR$tmpfiles/cgroupd.conf" "$DESTDIR$init/cgroupd"
	for script in run finish check log/run; do
		rm -f "$DESTDIR$sv/$script"
	done
	# What a supervisor made there is its own.
	rmdir "$DESTDIR$sv/log" "$DESTDIR$sv" 2>/dev/null || true
	for file in "$here"/dbus/*.conf; do
		rm -f "$DESTDIR$policy/$(basename "$file")"
	done
	rm -rf "$DESTDIR$doc"
	if [ -e "$DESTDIR$config" ]; then
		echo "left alone: $DESTDIR$config"
	fi
}

case ${1:-install} in
install) install_all ;;
uninstall) uninstall_all ;;
*)
	echo "usage: $0 [install|uninstall]" >&2
	exit 2
	;;
esac
