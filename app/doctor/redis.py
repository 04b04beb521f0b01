"""The Redis of the store: what it keeps, what it drops, and its memory."""

from collections.abc import Iterator

from app.doctor.finding import Finding, ok, problem, warning
from app.store.redis_server import RedisServer

FULL = 0.8
"""The share of its memory from which on a Redis is nearly full: at the end of a save, both states are there."""


def examined(server: RedisServer) -> Iterator[Finding]:
    """Yield the findings about a server."""
    info = server.info
    name = "Valkey" if "valkey_version" in info else "Redis"
    yield ok("store server", f"{name} {info.get('valkey_version') or info.get('redis_version', '?')}")
    yield _durability(server)
    if server.may_evict:
        words = f"it drops keys when its memory is full: maxmemory-policy is {info.get('maxmemory_policy')}"
        yield problem("eviction", words, "CONFIG SET maxmemory-policy noeviction, and in its redis.conf")
    yield _memory(server)
    for name in ("aof_last_write_status", "rdb_last_bgsave_status"):
        if info.get(name, "ok") != "ok":
            yield problem("disk", f"its last write failed: {name} is {info[name]}", "Look at its log and its disk")


def _durability(server: RedisServer) -> Finding:
    settings = server.settings
    if not server.appends:
        words = server.durability
        if settings.get("save") == "":
            words = "a crash of Redis loses everything: it has neither an append-only file nor snapshots"
        return problem("durability", words, "CONFIG SET appendonly yes, and in its redis.conf")
    if "appendfsync" not in settings:
        return warning("durability", server.durability, "Look at appendfsync yourself, or let the user +config|get")
    if settings["appendfsync"] != "always":
        return warning("durability", server.durability, "CONFIG SET appendfsync always, and in its redis.conf")
    return ok("durability", server.durability)


def _memory(server: RedisServer) -> Finding:
    used, most = (int(server.info.get(name, 0)) for name in ("used_memory", "maxmemory"))
    if not most:
        return ok("store memory", f"{used / 1e6:,.0f} MB used, no maxmemory")
    words = f"{used / 1e6:,.0f} of {most / 1e6:,.0f} MB used"
    if used > FULL * most:
        return warning("store memory", words, "Raise maxmemory, or delete sessions")
    return ok("store memory", words)
