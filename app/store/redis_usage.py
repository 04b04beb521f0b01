"""The room that sessions take in Redis, and the connections to it."""

from contextlib import suppress

from app.metrics.families import Gauge, Labels
from app.store import redis_server
from app.store.redis_client import Refused
from app.store.redis_commands import Commands
from app.store.redis_index import Index
from app.store.redis_server import RedisServer
from app.store.usage import Usage


async def usage(commands: Commands, index: Index) -> Usage:
    """Return the room that is taken, as far as this user may know it: that takes `+info` and `+zcard`."""
    sessions, servers = None, list[RedisServer]()
    with suppress(Refused):
        servers = await redis_server.asked(commands)
        sessions = await index.count()
    limits = [server.limit_bytes for server in servers]
    limit = None if None in limits else sum(filter(None, limits))
    return Usage(sessions, sum(server.used_bytes for server in servers) or None, limit or None)


def connections(commands: Commands) -> Gauge:
    """Return the metric of the connections to all servers."""

    def count() -> dict[Labels, float]:
        pools = [server.pool for server in commands.servers]
        return {("used",): sum(pool.lent for pool in pools), ("idle",): sum(pool.idle for pool in pools)}

    return Gauge("optim_redis_connections", "Connections to Redis.", count, ("state",))
