"""The stores that tests run on: each of `app.store.STORES`, with a function that returns an empty one's URL."""

from collections.abc import Callable, Mapping
from pathlib import Path

STORES: Mapping[str, Callable[[Path, Callable[[], str]], str]] = {
    "memory": lambda _folder, _redis: "memory:",
    "lmdb": lambda folder, _redis: f"lmdb:{folder / 'store'}",
    "redis": lambda _folder, redis: redis(),
}
"""Functions that return an empty store's URL, from an empty folder and a function for an empty Redis's URL."""
DURABLE = [name for name in STORES if name != "memory"]
"""The stores that outlive a process."""
