"""The stores that keep sessions: one interface (`base.py`), three implementations."""

from collections.abc import Callable, Mapping

from app.settings import Settings
from app.store.base import Store
from app.store.lmdb import LmdbStore
from app.store.memory import MemoryStore
from app.store.redis import RedisStore

STORES: Mapping[str, Callable[[Settings], Store]] = {
    "lmdb": LmdbStore.from_settings,
    "redis": RedisStore.from_settings,
    "rediss": RedisStore.from_settings,
    "unix": RedisStore.from_settings,
    "memory": MemoryStore.from_settings,
}
"""Every store, by the scheme of its URL."""


def open_store(settings: Settings) -> Store:
    """Return the store that `OPTIM_STORE` names, not open yet. Raises `ValueError` for a URL that names none."""
    scheme = settings.store.partition(":")[0]
    if scheme not in STORES:
        raise ValueError(f"OPTIM_STORE: unknown scheme {scheme!r}; expected one of {', '.join(STORES)}")
    return STORES[scheme](settings)
