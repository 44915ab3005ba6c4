# shellcheck shell=sh
# For login shells, as /etc/profile.d/cgroupd.sh: the session of a user to whom a cgroup was delegated
# goes to a leaf of it, so that podman and other runtimes can make theirs beside it, with limits.
# Whatever is wrong with cgroupd, or if nothing is delegated, the session starts as it would without.
if [ "$(id -u)" != 0 ] && command -v cgctl >/dev/null; then
    cgctl --quiet --timeout 3 enter 2>/dev/null || :
fi
