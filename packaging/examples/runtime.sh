#!/bin/bash
# What a container runtime asks of cgroupd, with busctl: a cgroup with limits, a process in it,
# what the kernel made of the limits, and its end.
#
#   runtime.sh [NAME]        CGROUPD_ADDRESS names another socket
set -euo pipefail

name=${1:-runtime-example}
address=${CGROUPD_ADDRESS:-unix:path=/run/cgroupd/cgroupd.sock}

cgroupd() {
	busctl --address="$address" call org.cgroupd1 /org/cgroupd1 org.cgroupd1.Manager "$@"
}

# Ends the payload and removes the cgroup whatever happens.
payload=
cleanup() {
	if [ -n "$payload" ]; then
		kill "$payload" 2>/dev/null || true
		wait "$payload" 2>/dev/null || true
	fi
	cgroupd Remove sas "$name" 0 >/dev/null 2>&1 || true
}
trap cleanup EXIT

# path, controllers (none named: all there are), limits, descriptors (busctl cannot send any), flags
cgroupd Create 'sasa{ss}ahas' "$name" 0 2 memory.max 64M pids.max 32 0 0

# The payload waits for a line, so that it runs nothing before it is limited.
exec {go}> >(read -r _ && exec sleep 60)
payload=$!
cgroupd AttachPids sauas "$name" 1 "$payload" 0
echo >&"$go"

cgroupd GetLimits sas "$name" 2 memory.max pids.max
cgroupd Processes sas "$name" 0

kill "$payload"
wait "$payload" 2>/dev/null || true
payload=
cgroupd Remove sas "$name" 0
trap - EXIT
