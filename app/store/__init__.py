"""The stores that keep sessions: one interface (`base.py`), three implementations. Each is imported when it is opened,
because nobody needs the libraries of the others.
"""

from collections.abc import Callable, Mapping

from app.settings import Settings
from app.store.base import Store


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
    "memory": _memory,
}
"""Every store, by the scheme of its URL."""


def open_store(settings: Settings) -> Store:
    """Return the store that `OPTIM_STORE` names, not open yet. Raises `ValueError` for a URL that names none."""
    scheme = settings.store.partition(":")[0]
    if scheme not in STORES:
        raise ValueError(f"OPTIM_STORE: unknown scheme {scheme!r}; expected one of {', '.join(STORES)}")
    return STORES[scheme](settings)
