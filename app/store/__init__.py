"""Where sessions are kept: one interface (`base.py`), three stores."""

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
"""Every store by the scheme of its URL."""


def open_store(settings: Settings) -> Store:
    """The store that `OPTIM_STORE` names, not opened yet. Raises `ValueError` for a URL that names none."""
    scheme = settings.store.partition(":")[0]
    if scheme not in STORES:
        raise ValueError(f"OPTIM_STORE: {scheme} is none of {', '.join(STORES)}")
    return STORES[scheme](settings)
