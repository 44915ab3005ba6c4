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
#
# A configuration that is there already is neither replaced nor removed.
set -eu

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
config=$SYSCONFDIR/cgroupd
# dbus-daemon and dbus-broker do not look below /usr/local.
case $PREFIX in
/usr) policy=$PREFIX/share/dbus-1/system.d ;;
*) policy=$SYSCONFDIR/dbus-1/system.d ;;
esac

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
	sed "s|/usr/bin/cgroupd|$bin/cgroupd|" "$2" >"$filled"
	put "$1" "$filled" "$3"
	rm -f "$filled"
}

install_all() {
	for binary in cgroupd cgctl; do
		if [ ! -x "$BUILD/$binary" ]; then
			echo "install.sh: $BUILD/$binary is missing; run: cargo build --release --workspace" >&2
			exit 1
		fi
		put 755 "$BUILD/$binary" "$bin/$binary"
	done
	for unit in "$here"/systemd/*.service; do
		put_script 644 "$unit" "$units/$(basename "$unit")"
	done
	put 644 "$here/tmpfiles/cgroupd.conf" "$tmpfiles/cgroupd.conf"
	put_script 755 "$here/openrc/cgroupd" "$init/cgroupd"
	for file in "$here"/dbus/*.conf; do
		[ ! -e "$file" ] || put 644 "$file" "$policy/$(basename "$file")"
	done
	for file in LICENSE-MIT LICENSE-APACHE CHANGELOG.md SECURITY.md packaging/examples/runtime.sh; do
		put 644 "$here/../$file" "$doc/$(basename "$file")"
	done
	put 644 "$here/cgroupd.toml" "$doc/cgroupd.toml"
	[ -e "$DESTDIR$config/cgroupd.toml" ] || put 644 "$here/cgroupd.toml" "$config/cgroupd.toml"
	mkdir -p "$DESTDIR$config/conf.d"
}

uninstall_all() {
	rm -f "$DESTDIR$bin/cgroupd" "$DESTDIR$bin/cgctl"
	for unit in "$here"/systemd/*.service; do
		rm -f "$DESTDIR$units/$(basename "$unit")"
	done
	rm -f "$DESTDIR$tmpfiles/cgroupd.conf" "$DESTDIR$init/cgroupd"
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
