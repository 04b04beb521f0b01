"""The store of the settings: whether it can be used, its format, its speed, and what it loses."""

import time
from itertools import chain
from statistics import median

from app.doctor import lmdb, redis
from app.doctor.finding import Finding, away, ok, problem, warning
from app.errors import ServiceError
from app.settings import Settings
from app.store import open_store, source_of
from app.store.base import IncompatibleStore, Store
from app.store.formats import STORE_FORMAT
from app.store.lmdb import LmdbStore
from app.store.redis import RedisStore, found_format
from app.store.redis_client import Refused
from app.store.redis_server import SETTINGS

WRITES = 20
SLOW_MS = 25.0
"""The time of a write from which on most training steps wait for the store rather than for anything else."""
SKEW_SECONDS = 2.0
MOST_SECONDS = 5.0
"""The longest wait for an answer of Redis: a person waits."""


async def examined(settings: Settings, shown: str) -> list[Finding]:
    """Return the findings about the store. None is made in a folder, and an older one keeps its format."""
    settings = settings.model_copy(update={"store_timeout_seconds": min(settings.store_timeout_seconds, MOST_SECONDS)})
    if settings.store == "memory:":
        return [warning("store", "memory: nothing outlives the process", "OPTIM_STORE=lmdb:PATH keeps the sessions")]
    try:
        found = await _format(settings)
    except FileNotFoundError:
        return [ok("store", f"{shown}: none yet, `optim serve` makes it"), *lmdb.place(settings)]
    except IncompatibleStore as error:
        return [problem("store", str(error), "Run the version that it names, or name another store: OPTIM_STORE")]
    except ServiceError as error:
        return [away("store", error, "Look into its log, and see docs/stores.md")]
    if found is not None and found < STORE_FORMAT:
        words = f"{shown}: format {found}. This version makes it {STORE_FORMAT}, and earlier ones cannot read it then"
        return [warning("store", words, "Back it up before this version starts: optim backup FOLDER")]
    return await _used(settings, shown)


async def _format(settings: Settings) -> int | None:
    """Return the format of the store as it is, `None` for an empty Redis. Raises `FileNotFoundError` without one."""
    if not settings.store.startswith("lmdb:"):
        return await found_format(settings)
    async with source_of(settings) as source:
        return source.format


async def _used(settings: Settings, shown: str) -> list[Finding]:
    """Return the findings about a store that this version can use."""
    try:
        async with open_store(settings) as store:
            return [
                ok("store", f"{shown}: format {STORE_FORMAT}"),
                await _writes(store),
                *await _own(store, settings),
            ]
    except ServiceError as error:
        return [away("store", error, "Look into its log, and see docs/stores.md")]


async def _own(store: Store, settings: Settings) -> list[Finding]:
    """Return the findings that a store of this kind alone has."""
    if isinstance(store, LmdbStore):
        return list(lmdb.examined(store, settings))
    if isinstance(store, RedisStore):
        try:
            servers = await store.servers(SETTINGS)
        except Refused as refusal:
            return [warning("durability", f"it cannot be asked: {refusal.detail}", "Let this user +info")]
        return [_clock(await store.now()), *chain.from_iterable(map(redis.examined, servers))]
    return []


async def _writes(store: Store) -> Finding:
    """Return how long a write takes that is as durable as a step."""
    times = []
    for _ in range(WRITES):
        started = time.perf_counter()
        await store.ping()
        times.append((time.perf_counter() - started) * 1e3)
    words = f"{median(times):.2g} ms for a write, {max(times):.2g} ms for the slowest of {WRITES}"
    if median(times) > SLOW_MS:
        return warning("store write", words, "Each step waits so long: use a faster disk, or a Redis that is nearer")
    return ok("store write", words)


def _clock(there: float) -> Finding:
    """Return how far the store's clock is from this one's. Sessions expire by it."""
    skew = there - time.time()
    if abs(skew) > SKEW_SECONDS:
        return warning("store clock", f"the store's clock is {skew:+.1f} s from this one's", "Set both by NTP")
    return ok("store clock", f"{skew * 1e3:+.0f} ms from the store's")
