"""The stores that keep sessions: one interface (`base.py`), three implementations. Each is imported when it is opened,
because nobody needs the libraries of the others.
"""

from collections.abc import Callable, Mapping

from app.settings import Settings
from app.store.base import Store
from app.store.snapshot import Source, Target


def _lmdb(settings: Settings) -> Store:
    from app.store.lmdb import LmdbStore

    return LmdbStore.from_settings(settings)


def _redis(settings: Settings) -> Store:
    from app.store.redis import RedisStore

    return RedisStore.from_settings(settings)


def _memory(settings: Settings) -> Store:
    from app.store.memory import MemoryStore

    return MemoryStore.from_settings(settings)


STORES: Mapping[str, Callable[[Settings], Store]] = {
    "lmdb": _lmdb,
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
    "redis+cluster": _redis,
    "rediss+cluster": _redis,
    "redis+sentinel": _redis,
    "rediss+sentinel": _redis,
    "memory": _memory,
}
"""Every store, by the scheme of its URL."""


def open_store(settings: Settings) -> Store:
    """Return the store that `OPTIM_STORE` names, not open yet. Raises `ValueError` for a URL that names none."""
    scheme = settings.store.partition(":")[0]
    if scheme not in STORES:
        raise ValueError(f"OPTIM_STORE: unknown scheme {scheme!r}; expected one of {', '.join(STORES)}")
    return STORES[scheme](settings)


def source_of(settings: Settings) -> Source:
    """Return the store that `OPTIM_STORE` names, for a backup, not open yet. Raises `ValueError` for one in memory."""
    kind = _kind(settings, "backed up")
    if kind == "lmdb":
        from app.store.lmdb_source import LmdbSource

        return LmdbSource.from_settings(settings)
    from app.store.redis_source import RedisSource

    return RedisSource.from_settings(settings)


def target_of(settings: Settings) -> Target:
    """Return the store that `OPTIM_STORE` names, for a restore, not open yet. Raises `ValueError` for one in memory."""
    kind = _kind(settings, "restored into")
    if kind == "lmdb":
        from app.store.lmdb_target import LmdbTarget

        return LmdbTarget.from_settings(settings)
    from app.store.redis_target import RedisTarget

    return RedisTarget.from_settings(settings)


def _kind(settings: Settings, done: str) -> str:
    """Return the kind of the store: `lmdb` or `redis`."""
    scheme = settings.store.partition(":")[0]
    if scheme == "memory":
        raise ValueError(f"memory: is in one process, and cannot be {done}: name another store")
    return "lmdb" if scheme == "lmdb" else "redis"
