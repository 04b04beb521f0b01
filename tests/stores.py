"""The stores that tests run on: each one of `app.store.STORES` once, with a URL for an empty one."""

from collections.abc import Callable, Mapping
from pathlib import Path

STORES: Mapping[str, Callable[[Path, Callable[[], str]], str]] = {
    "memory": lambda _folder, _redis: "memory:",
    "lmdb": lambda folder, _redis: f"lmdb:{folder / 'store'}",
    "redis": lambda _folder, redis: redis(),
}
"""By name, the URL of an empty store; it is given an empty folder, and a function that returns an empty Redis's URL."""
DURABLE = [name for name in STORES if name != "memory"]
"""The stores that outlive a process."""
