#!/bin/sh
# The sessions of docker-compose.yml's Redis, in a file and out of it. docs/stores.md says the same step by step.
#
#   sh compose-store.sh backup FILE     while all of it runs
#   sh compose-store.sh restore FILE    into a volume without sessions, while nothing runs
set -eu
umask 077

fail() {
    echo "compose-store.sh: $*" >&2
    exit 1
}

backup() {
    [ ! -e "$1" ] || fail "$1 is there already, and nothing is overwritten: name another file"
    # A snapshot of one moment, which Redis writes aside and moves into place.
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
    [ -s "$1" ] || fail "there is no backup in $1"
    [ -z "$(docker compose ps --quiet --status running redis optim)" ] || fail "stop what runs first: docker compose stop"
    # With appendonly, Redis reads appendonlydir alone, and not dump.rdb: so the snapshot becomes the base in there.
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
    echo "restored $1: $(wc -c < "$1") bytes; start all of it: docker compose up --detach --wait"
}

docker compose version > /dev/null 2>&1 || fail "\`docker compose\` does not run here: it needs Docker with its compose plugin"
case "${1-} ${2-}" in
    "backup "?*) backup "$2" ;;
    "restore "?*) restore "$2" ;;
    *) fail "say backup FILE or restore FILE" ;;
esac
