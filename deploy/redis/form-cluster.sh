#!/bin/sh
# Forms a cluster of six empty Redis nodes or more, given as HOST:PORT: three masters, the others their replicas. Of nodes
# that are a cluster already, it introduces each to the first again, because their addresses may have changed.
set -eu

ask() { node=$1; shift; redis-cli -h "${node%:*}" -p "${node#*:}" "$@"; }

addresses=
for node in "$@"; do
    until ask "$node" ping 2>/dev/null | grep -q PONG; do sleep 0.2; done
    addresses="$addresses $(getent ahostsv4 "${node%:*}" | awk '{print $1; exit}'):${node#*:}"
done

if ask "$1" cluster info | grep -q 'cluster_slots_assigned:16384'; then
    for address in $addresses; do ask "$1" cluster meet "${address%:*}" "${address#*:}" >/dev/null; done
else
    # shellcheck disable=SC2086  # several words
    redis-cli --cluster create $addresses --cluster-replicas 1 --cluster-yes
fi

for node in "$@"; do
    until ask "$node" cluster info | grep -q 'cluster_state:ok'; do sleep 0.2; done
done
