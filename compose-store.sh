#!/bin/sh
# Back up and restore the sessions of docker-compose.yml's Redis. docs/stores.md explains each step.
#
#   sh compose-store.sh backup FILE     while the services run
#   sh compose-store.sh restore FILE    into an empty volume, while the services are stopped
set -eu
umask 077

fail() {
    echo "compose-store.sh: $*" >&2
    exit 1
}

backup() {
    [ ! -e "$1" ] || fail "$1 already exists, and nothing is overwritten: name another file"
    # Redis writes a consistent snapshot to a temporary file, then renames it.
    docker compose exec -T redis sh -ec '
        rm -f dump.rdb
        redis-cli BGSAVE SCHEDULE >&2
        tries=0
        until [ -e dump.rdb ]; do
            tries=$((tries + 1))
            if [ $tries -gt 3 ] && redis-cli INFO persistence | grep -q "^rdb_bgsave_in_progress:0" &&
                redis-cli INFO persistence | grep -q "^rdb_last_bgsave_status:err"; then
                echo "Redis could not write its snapshot; its log says why" >&2
                exit 1
            fi
            sleep 0.5
        done
        cat dump.rdb
        rm dump.rdb
    ' > "$1.part" || { rm -f "$1.part"; fail "nothing was backed up"; }
    mv "$1.part" "$1"
    sessions=$(docker compose exec -T redis redis-cli --scan --pattern 'optim:{*}:head' | wc -l)
    echo "backed up the sessions of Redis to $1: $(wc -c < "$1") bytes; it holds $((sessions)) sessions now"
}

restore() {
    [ -s "$1" ] || fail "no backup in $1"
    [ -z "$(docker compose ps --quiet --status running redis optim)" ] || fail "stop the services first: docker compose stop"
    # With appendonly, Redis reads only appendonlydir, not dump.rdb. So the snapshot becomes its base file.
    docker compose run --rm --no-deps -T redis sh -ec '
        if [ -e appendonlydir ]; then
            echo "the volume has sessions already, and nothing is overwritten; move them away with" >&2
            echo "docker compose run --rm --no-deps redis mv appendonlydir before" >&2
            exit 1
        fi
        rm -rf restored
        mkdir -m 700 restored
        cat > restored/appendonly.aof.1.base.rdb
        echo "file appendonly.aof.1.base.rdb seq 1 type b" > restored/appendonly.aof.manifest
        sync
        mv restored appendonlydir
    ' < "$1" || fail "nothing was restored"
    echo "restored $1: $(wc -c < "$1") bytes; start the services: docker compose up --detach --wait"
}

docker compose version > /dev/null 2>&1 || fail "\`docker compose\` does not run here: it needs Docker with its compose plugin"
case "${1-} ${2-}" in
    "backup "?*) backup "$2" ;;
    "restore "?*) restore "$2" ;;
    *) fail "say backup FILE or restore FILE" ;;
esac
